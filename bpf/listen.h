/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Listeners are no connections, but tell whose connections come.
 *
 * Owners are kept by listening socket, never by port: several processes can
 * listen on one, each on an address or (SO_REUSEPORT) on the same. Who calls
 * listen() need not be who serves: systemd listens for others, servers fork
 * workers or hand their sockets on at a reload. So there are three sources.
 *
 *   listen()  runs in its caller's context. It serves unless it gave the
 *             socket away, or somebody else holds it too.
 *   holders   of sockets that listened before the start: owners.c.
 *   close     of an accepted connection runs in the context of who served it.
 *             Where it is not who listened, the socket is from then on its.
 *
 * A process is named when it is known to be the only one, or else its name
 * when all that have served have the same; the number then is 0. One that has
 * ended is forgotten (process.c).
 *
 * None of this is done where nobody asked for processes (WITH_OWNERS, a
 * constant of the run).
 */

static __always_inline bool is_listener(u8 from, u8 to)
{
	return to == STATE_LISTEN ||
	       (from == STATE_LISTEN && to == STATE_CLOSE);
}

/* Several sockets can listen on a port. */
static __always_inline void count_listener(u32 netns, u16 local_port, u8 to)
{
	u64 key = listener_key(netns, local_port);
	u32 *sockets = listening.lookup(&key);
	u32 one = 1;

	if (to == STATE_LISTEN && sockets)
		__sync_fetch_and_add(sockets, 1);
	else if (to == STATE_LISTEN)
		listening.update(&key, &one);
	else if (sockets && *sockets > 1)
		__sync_fetch_and_add(sockets, -1);
	else if (sockets)
		listening.delete(&key);
}

static __always_inline void note_owner(const void *sk)
{
	struct owner fresh = { .evidence = OWNER_LISTENED,
			       .descriptor = -1,
			       .since_ns = bpf_ktime_get_ns() };
	u64 key = (u64)sk;

	if (!read_caller(&fresh.process))
		return;
	listeners.update(&key, &fresh);
	watch_process(&fresh.process);
}

/* Returns the socket that listens from now on, 0 when it does so no more. */
static __always_inline u64 listener(const void *sk, const struct tuple *t,
				    u8 from, u8 to)
{
	u32 netns = read_netns(sk);
	u64 key = (u64)sk;

	/* whose it is has to be known while it is asked whether it is wanted */
	if (WITH_OWNERS && to == STATE_LISTEN)
		note_owner(sk);
	if (wanted(sk, t, ROLE_SERVER, netns, false))
		count(transition_cell(from, to), 1);
	if (to == STATE_CLOSE)
		listeners.delete(&key);
	count_listener(netns, t->local_port, to);
	return WITH_OWNERS && to == STATE_LISTEN ? key : 0;
}

/* These two changes run in the context of close() or shutdown(), always. */
static __always_inline bool is_closed_by_caller(u8 from, u8 to)
{
	return to == STATE_FIN_WAIT1 || to == STATE_LAST_ACK;
}

/* The name that two processes share, or none. */
static __always_inline void keep_common_name(struct process *p,
					     const struct process *other)
{
	const u64 *a = (const u64 *)p->name, *b = (const u64 *)other->name;

	if (a[0] != b[0] || a[1] != b[1])
		__builtin_memset(p->name, 0, sizeof(p->name));
	p->tgid = 0;
	p->pid = 0;
}

/* Whether another process serves now, whose descriptor is to be found. */
static __always_inline bool note_server(struct owner *owner,
					const struct process *p, u64 now_ns)
{
	if (same_process(&owner->process, p))
		return false;
	if (owner->evidence == OWNER_SEVERAL ||
	    (owner->evidence == OWNER_SERVED && is_alive(&owner->process))) {
		owner->evidence = OWNER_SEVERAL;
		keep_common_name(&owner->process, p);
		return false;
	}
	owner->process = *p;
	owner->since_ns = now_ns;
	owner->descriptor = -1;
	owner->evidence = OWNER_SERVED;
	watch_process(p);
	return true;
}

/*
 * Who closes a connection that was accepted has served it. Returns the
 * listening socket if it is that process's from now on, else 0.
 */
static __always_inline u64 note_closer(struct conn *conn, u8 from, u8 to,
				       u64 now_ns)
{
	struct process caller = {};
	struct owner *owner;

	if (!WITH_OWNERS || conn->role != ROLE_SERVER ||
	    !is_closed_by_caller(from, to) || !read_caller(&caller))
		return 0;
	conn->pid = caller.pid;
	__builtin_memcpy(conn->process, caller.name, 16);
	owner = listeners.lookup(&conn->listener);
	if (owner && note_server(owner, &caller, now_ns))
		return conn->listener;
	return 0;
}

/* Apart from all else, so that the verifier goes through the search once. */
static __always_inline void note_descriptor(u64 listener)
{
	s32 descriptor = find_descriptor((const void *)listener);
	struct owner *owner = listeners.lookup(&listener);

	if (owner)
		owner->descriptor = descriptor;
}
