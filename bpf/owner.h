/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Whose connection it is that came to a listening socket: the process that
 * serves, or nobody. listen.h says how that becomes known.
 */

/* *listener becomes the socket by which it was found, 0 for none. */
static __always_inline struct owner *find_owner(const void *sk, u64 *listener)
{
	struct owner *owner;

	*listener = (u64)read_listener(sk);
	owner = listeners.lookup(listener);
	if (owner)
		return owner;
	*listener = (u64)sk; /* one that is about to listen, or to stop */
	owner = listeners.lookup(listener);
	if (!owner)
		*listener = 0;
	return owner;
}

/* How often a file is held, by tables of descriptors and by waiting threads. */
static __always_inline u64 count_holders(u64 file)
{
	if (HAVE(file, f_ref__refcnt)) /* since Linux 6.13; one less */
		return READ_AT(u64, file, file, f_ref__refcnt) + 1;
	return READ_AT(u64, file, file, f_count);
}

static __always_inline bool has_forked_since(const struct owner *owner,
					     const struct server *server)
{
	return server->forked_ns > owner->since_ns;
}

/*
 * Only this process can accept from the socket: it lives, holds the socket,
 * and nobody else does. A thread that waits in accept() holds it once more;
 * of a process with threads that has not forked, these are taken for its own.
 */
static __always_inline bool is_only_server(const struct owner *owner,
					   u64 listener)
{
	u64 file = read_file((const void *)listener);
	u64 files = owner->process.files;
	u32 tgid = owner->process.tgid;
	struct server *server = servers.lookup(&tgid);

	if (!server || !is_alive(&owner->process) ||
	    !holds_file(files, owner->descriptor, file))
		return false;
	if (count_holders(file) <= 1)
		return true;
	return owner->evidence != OWNER_SERVED &&
	       !has_forked_since(owner, server) &&
	       READ_AT(u32, files, files_struct, count) > 1;
}

/* The name can be known when the number is not. */
static __always_inline void name_server(struct conn *conn, const void *sk)
{
	struct owner *owner = find_owner(sk, &conn->listener);
	bool only;

	if (!owner)
		return;
	only = is_only_server(owner, conn->listener);
	if (only)
		conn->pid = owner->process.pid;
	if (only || owner->evidence >= OWNER_SHARED)
		__builtin_memcpy(conn->process, owner->process.name, 16);
}
