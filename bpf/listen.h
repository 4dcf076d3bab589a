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

static __always_inline void note_owner(const void *sk, u8 to)
{
	struct owner fresh = { .evidence = OWNER_LISTENED,
			       .since_ns = bpf_ktime_get_ns() };
	u64 key = (u64)sk;

	if (to == STATE_CLOSE) {
		listeners.delete(&key);
	} else if (read_caller(&fresh.process)) {
		fresh.descriptor = find_descriptor(sk);
		listeners.update(&key, &fresh);
		watch_process(&fresh.process);
	}
}

static __always_inline void listener(const void *sk, const struct tuple *t,
				     u8 from, u8 to)
{
	u32 netns = read_netns(sk);

	if (to == STATE_LISTEN) {
		count_listener(netns, t->local_port, to);
		note_owner(sk, to);
	}
	if (wanted(sk, t, ROLE_SERVER, netns, false))
		count(transition_cell(from, to), 1);
	if (to == STATE_CLOSE) {
		count_listener(netns, t->local_port, to);
		note_owner(sk, to);
	}
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

static __always_inline void note_server(struct owner *owner, u64 listener,
					const struct process *p, u64 now_ns)
{
	if (same_process(&owner->process, p))
		return;
	if (owner->evidence == OWNER_SEVERAL ||
	    (owner->evidence == OWNER_SERVED && is_alive(&owner->process))) {
		owner->evidence = OWNER_SEVERAL;
		keep_common_name(&owner->process, p);
		return;
	}
	owner->process = *p;
	owner->since_ns = now_ns;
	owner->descriptor = find_descriptor((const void *)listener);
	owner->evidence = OWNER_SERVED;
	watch_process(p);
}

/* Who closes a connection that was accepted has served it. */
static __always_inline void note_closer(struct conn *conn, u8 from, u8 to,
					u64 now_ns)
{
	struct process caller = {};
	struct owner *owner;

	if (conn->role != ROLE_SERVER || !is_closed_by_caller(from, to) ||
	    !read_caller(&caller))
		return;
	conn->pid = caller.pid;
	__builtin_memcpy(conn->process, caller.name, 16);
	owner = listeners.lookup(&conn->listener);
	if (owner)
		note_server(owner, conn->listener, &caller, now_ns);
}
