/* SPDX-License-Identifier: GPL-2.0-only
 *
 * The connection table: how an entry begins, and what becomes of a socket that
 * has none.
 */

/* A client is who called connect(), a server who serves its listener. */
static __always_inline void name_process(struct conn *conn, const void *sk)
{
	struct process caller = {};

	if (!WITH_OWNERS || conn->flags & FLAG_PARTIAL)
		return;
	if (conn->role == ROLE_SERVER) {
		name_server(conn, sk);
	} else if (read_caller(&caller)) {
		conn->pid = caller.pid;
		__builtin_memcpy(conn->process, caller.name, 16);
	}
}

/* Unique for half a year on one host, and no kernel address. */
static __always_inline u64 new_id(u64 now_ns)
{
	return now_ns << 10 | (bpf_get_smp_processor_id() & 1023);
}

/* Filled in its place, since a copy takes half of a program's stack. */
static __always_inline struct conn *begin(const void *sk, u64 socket,
					  struct conn *conn, u8 role, u16 flags,
					  u32 netns, u64 now_ns)
{
	if (!conn)
		conn = new_entry(socket);
	if (!conn)
		return NULL;
	__builtin_memset(&conn->since_ns, 0, CONN_HEAD - CONN_SLOT);
	if (WHOLE_RECORDS)
		__builtin_memset(&conn->listener, 0, sizeof(*conn) - CONN_HEAD);
	conn->id = new_id(now_ns);
	conn->start_ns = now_ns;
	conn->since_ns = now_ns;
	conn->netns = netns;
	conn->role = role;
	conn->flags = flags;
	if (WHOLE_RECORDS)
		conn->descriptor = -1;
	conn->began = flags & FLAG_REPAIR ? BEGAN_BY_REPAIR : 0;
	conn->cgroup = WITH_OWNERS ? read_cgroup(sk) : 0;
	name_process(conn, sk);
	return conn;
}

/*
 * The table is full. A connection is counted when it finds no room for the
 * first time, and not again at each of its later steps.
 */
static __always_inline void note_untracked(const void *sk, bool begins, u8 role,
					   u8 what, u64 n)
{
	u64 key = (u64)sk;
	u8 one = 1;

	if (begins || !untracked.lookup(&key))
		count(COUNTER_UNTRACKED, 1);
	if (what == UNRECORDED_CLOSE || what == UNRECORDED_FAILURE)
		untracked.delete(&key);
	else
		untracked.update(&key, &one);
	count_unrecorded(what, role, n);
}

/* One that found no room at first, and was counted as such, is not older. */
static __always_inline void note_partial(const void *sk)
{
	u64 key = (u64)sk;

	if (untracked.delete(&key))
		count(COUNTER_PARTIAL, 1);
}

/* Where there is no socket: who has a listener on the port is the server. */
static __always_inline u8 guess_role(const struct tuple *t, u32 netns)
{
	u64 key = listener_key(netns, t->local_port);

	return listening.lookup(&key) ? ROLE_SERVER : ROLE_CLIENT;
}

/*
 * Who opened a connection that began unseen, or when nobody asked for it: what
 * accept() gave has its listener's backlog, what connect() opened has none. A
 * listener with a backlog of 0 is found in the table.
 */
static __always_inline u8 role_of(const void *sk, const struct tuple *t,
				  u32 netns)
{
	if (READ(u32, sk, sock, sk_max_ack_backlog))
		return ROLE_SERVER;
	return guess_role(t, netns);
}

/* Whether an entry needs no more than to be used: its connection goes on. */
static __always_inline bool goes_on(const struct conn *conn, u8 role)
{
	return conn && !role && conn->peer != PEER_UNKNOWN;
}

/*
 * The entry of a socket, NULL for one that nobody asked for or that finds no
 * room; conn is what the table has for it, if anything. role is given when the
 * connection begins here, else ROLE_UNKNOWN: an existing connection gets a
 * partial entry, and so does one that TCP_REPAIR restores: it passes from CLOSE
 * to ESTABLISHED within connect() and exchanges no segment. What was asked for
 * is counted in cell, whether there is room or not; without room also, n times,
 * as what. A beginning without a peer (enum peer) is counted when the peer is
 * known.
 */
static __always_inline struct conn *meet(const void *sk, u64 socket,
					 struct conn *conn,
					 const struct tuple *t, u8 role,
					 u64 now_ns, u32 cell, u8 what, u64 n)
{
	u16 flags = role ? 0 : FLAG_PARTIAL | FLAG_HANDSHAKE_UNKNOWN;
	bool peerless = role == ROLE_SERVER && !t->remote_port;
	bool learns = conn && !role && conn->peer == PEER_UNKNOWN;
	u32 netns;

	if (role)
		forget_ended(sk);
	/* the socket's next life, and the end of the last one was not seen */
	if (conn && conn->state != READ(u8, sk, sock_common, skc_state))
		count(COUNTER_UNREACHED, 1);
	if (role == ROLE_CLIENT && READ_BITS(sk, tcp_sock, repair)) {
		flags = FLAG_PARTIAL | FLAG_HANDSHAKE_UNKNOWN | FLAG_REPAIR;
		role = ROLE_UNKNOWN;
	}
	netns = read_netns(sk);
	if (!role)
		role = learns ? ROLE_SERVER : role_of(sk, t, netns);
	if (!peerless && !wanted(sk, t, role, netns, !flags)) {
		/* what is left of one whose end was missed is not this one */
		if (conn)
			delete_conn(socket, conn);
		return NULL;
	}
	if (!peerless)
		count(cell, 1);
	if (learns) {
		count(transition_cell(STATE_LISTEN, STATE_SYN_RECV), 1);
		conn->peer = PEER_LEARNT;
		return conn;
	}
	/* the search for a slot is long, and does not depend on these */
	role = FORGET(role, now_ns);
	flags = FORGET(flags, now_ns);
	what = FORGET(what, now_ns);
	peerless = FORGET(peerless, now_ns);
	conn = begin(sk, socket, conn, role, flags, netns, now_ns);
	if (!conn) {
		/* at its next change it is known whether it was asked for */
		if (peerless && (FILTERED || !FILTER_NETNS(netns)))
			return NULL;
		if (peerless)
			count(cell, 1);
		note_untracked(sk, !flags, role, what, n);
	} else if (flags) {
		note_partial(sk);
	} else if (peerless) {
		conn->peer = PEER_UNKNOWN;
	}
	return conn;
}

/* The entry of a socket that is in the middle of its life, as meet() has it. */
static __always_inline struct conn *find(const void *sk, const struct tuple *t,
					 u64 now_ns, u32 cell, u8 what, u64 n)
{
	struct conn *conn = lookup_conn((u64)sk);

	if (!goes_on(conn, ROLE_UNKNOWN))
		return meet(sk, (u64)sk, conn, t, ROLE_UNKNOWN, now_ns, cell,
			    what, n);
	count(cell, 1);
	return conn;
}
