/* SPDX-License-Identifier: GPL-2.0-only
 *
 * raw tracepoint sock:inet_sock_set_state (sk, oldstate, newstate)
 *
 * Fires at every change of a socket's state, before the state is stored. pid
 * means something at CLOSE->SYN_SENT only (connect() called it), later it is
 * whoever was interrupted. SYN_RECV appears when the handshake's *last* ACK
 * is there, TIME_WAIT never: the socket goes to CLOSE and a small timewait
 * object stays. Yields, for a client and its server on one machine:
 *
 *   handshake client 127.0.0.1:53020 -> 127.0.0.1:80  syn_sent 42 us
 *   handshake server 127.0.0.1:80 <- 127.0.0.1:53020  srtt 33 us
 *   close     client from FIN_WAIT2, 1000 bytes sent
 *   close     server from LAST_ACK, 1000 bytes received
 */

static __always_inline void emit_state(const void *sk, const struct conn *conn,
				       const struct tuple *t, u8 from, u8 to,
				       u64 now_ns)
{
	struct event *e = reserve(EVENT_STATE, now_ns, t);

	if (!e)
		return;
	fill_identity(e, conn);
	e->from_state = from;
	e->to_state = to;
	__builtin_memcpy(e->state_ns, conn->state_ns, sizeof(e->state_ns));
	fill_position(e, sk, conn);
	submit(e);
}

/* The end is told at once; a reset that follows corrects it, see reset.c. */
static __always_inline void closed(const void *sk, u64 socket,
				   struct conn *conn, struct tuple *t, u8 from,
				   u64 now_ns)
{
	u16 ending;

	/* by way of memory, of which the verifier forgets what it was */
	conn->ending = ending_of(sk, from, conn->flags);
	ending = *(volatile u16 *)&conn->ending;
	if (WITH_TALLIES)
		tally_end(sk, conn, ending, now_ns);
	if (!WITH_TALLIES || !is_counted(conn, TALLIED_END)) {
		if (!EMIT_STATES) /* else it was */
			locate(sk, t, STATE_CLOSE);
		emit_end(sk, conn, t, from, ending, now_ns);
		remember_end(sk, conn, t, from, ending);
	}
	delete_conn(socket, conn);
}

/* The record of a beginning that waited for its peer. */
static __always_inline void emit_beginning(const void *sk, struct conn *conn,
					   struct tuple *t)
{
	conn->peer = PEER_KNOWN;
	locate(sk, t, STATE_SYN_RECV);
	if (EMIT_STATES)
		emit_state(sk, conn, t, STATE_LISTEN, STATE_SYN_RECV,
			   conn->start_ns);
}

/*
 * What a change of state says when it has a record, or else is counted as. A
 * socket that TCP_REPAIR restores is ESTABLISHED without a handshake.
 */
static __always_inline u8 milestone(const void *sk, u8 from, u8 to)
{
	if (to == STATE_ESTABLISHED)
		return READ_BITS(sk, tcp_sock, repair) ? UNRECORDED_NOTHING :
							 UNRECORDED_HANDSHAKE;
	if (to != STATE_CLOSE)
		return UNRECORDED_NOTHING;
	return from == STATE_SYN_SENT || from == STATE_SYN_RECV ?
		       UNRECORDED_FAILURE :
		       UNRECORDED_CLOSE;
}

/*
 * The record of the change of state, if it was asked for or says that a
 * restored connection is open, then those of milestones.
 */
static __always_inline void emit_step(const void *sk, u64 socket,
				      struct conn *conn, struct tuple *t,
				      u8 from, u8 to, u64 now_ns)
{
	bool resumes = to == STATE_ESTABLISHED && conn->flags & FLAG_REPAIR;
	bool opens = !resumes &&
		     (to == STATE_ESTABLISHED || opened_late(sk, conn, from));

	if (!EMIT_STATES && !resumes && !opens && to != STATE_CLOSE)
		return;
	if (EMIT_STATES || resumes)
		locate(sk, t, to);
	if ((EMIT_STATES && conn->peer != PEER_UNKNOWN) || resumes)
		emit_state(sk, conn, t, from, to, now_ns);
	if (resumes)
		conn->flags &= ~FLAG_REPAIR;
	if (opens)
		established(sk, conn, t, from, to, now_ns);
	if (to == STATE_CLOSE)
		closed(sk, socket, conn, t, from, now_ns);
}

/*
 * The entry of a connection that begins, or that is not simply there. conn: what
 * usual_conn() has found.
 */
static __always_inline struct conn *meet_changing(
	struct bpf_raw_tracepoint_args *ctx, const void *sk, u64 socket,
	struct conn *conn, struct tuple *t, u64 *now_ns)
{
	u8 from = state_left(ctx), to = state_entered(ctx);
	u8 role = opening_role(from, to);

	/* a listener that is destroyed from outside (tcp_abort) closes twice */
	if (from == STATE_CLOSE && to == STATE_CLOSE)
		return NULL;
	if (WITH_SLOTS)
		conn = lookup_conn(socket);
	if (goes_on(conn, role)) {
		*now_ns = time_of_step(sk, conn, from, to);
		count(transition_cell(from, to), 1);
	} else {
		*now_ns = bpf_ktime_get_ns();
		locate(sk, t, to);
		conn = meet(sk, socket, conn, t, role, *now_ns,
			    transition_cell(from, to), milestone(sk, from, to),
			    1);
	}
	if (!conn)
		return NULL;
	if (conn->peer == PEER_LEARNT)
		emit_beginning(sk, conn, t);
	note_gap(conn, state_left(ctx));
	return conn;
}

/* Returns the listening socket that another process owns now, mostly 0. */
static __always_inline u64 change_connection(
	struct bpf_raw_tracepoint_args *ctx, const void *sk, u64 socket,
	struct conn *conn, struct tuple *t, s32 descriptor, u64 now_ns)
{
	u8 from = state_left(ctx), to = state_entered(ctx);
	u64 owned;

	step(conn, from, to, now_ns);
	note_beginning(sk, conn, from, to);
	if (to == STATE_SYN_SENT)
		note_opening(sk, conn, descriptor);
	owned = note_closer(conn, from, to, now_ns);
	emit_step(sk, socket, conn, t, from, to, now_ns);
	return owned;
}

/*
 * listen(), in its caller's context, which has set the backlog before. Of a
 * socket without a port the kernel chooses one afterwards.
 */
static __always_inline void emit_listening(const void *sk,
					   const struct tuple *t)
{
	struct event *e = reserve(EVENT_STATE, bpf_ktime_get_ns(), t);
	struct process caller = {};
	u64 key = (u64)sk;
	struct owner *owner;

	if (!e)
		return;
	e->role = ROLE_SERVER;
	e->netns = read_netns(sk);
	e->from_state = STATE_CLOSE;
	e->to_state = STATE_LISTEN;
	e->error = READ(u32, sk, sock, sk_max_ack_backlog);
	if (WITH_OWNERS) {
		e->cgroup = read_cgroup(sk);
		owner = listeners.lookup(&key);
		if (owner)
			e->descriptor = owner->descriptor;
		if (read_caller(&caller)) {
			e->pid = caller.pid;
			__builtin_memcpy(e->process, caller.name, 16);
		}
	}
	submit(e);
}

/* What every change of state ends with. owned: see change_connection(). */
static __always_inline void finish_change(struct bpf_raw_tracepoint_args *ctx,
					  const void *sk, const struct tuple *t,
					  u64 owned)
{
	u8 from = state_left(ctx), to = state_entered(ctx);

	audit_transition(sk, from, to);
	if (owned)
		note_descriptor(owned);
	if (EMIT_STATES && to == STATE_LISTEN &&
	    wanted(sk, t, ROLE_SERVER, read_netns(sk), false))
		emit_listening(sk, t);
}

/* sk: tcp_socket() */
static __always_inline void change_state(struct bpf_raw_tracepoint_args *ctx,
					 const void *sk, u64 socket)
{
	u8 from = state_left(ctx), to = state_entered(ctx);
	u64 owned = 0, now_ns = 0;
	struct conn *conn;
	s32 descriptor = -1;
	struct tuple tuple;

	if (passes_on(ctx, sk, socket))
		return;
	if (begins(ctx, sk, socket))
		return;
	/* connect() is in its caller's context at this change, and at no other */
	if (EMIT_FOLLOW && to == STATE_SYN_SENT)
		descriptor = find_descriptor(sk);
	/* else the compiler takes what a register has, maybe a pointer */
	if (EMIT_STATES)
		__builtin_memset(&tuple, 0, sizeof(tuple));
	conn = usual_conn(socket);
	if (MOSTLY(continues(conn, from, to))) {
		now_ns = time_of_step(sk, conn, from, to);
		count(transition_cell(from, to), 1);
	} else if (is_listener(from, to)) {
		locate(sk, &tuple, to);
		owned = listener(sk, &tuple, from, to);
		conn = NULL;
	} else {
		conn = meet_changing(ctx, sk, socket, conn, &tuple, &now_ns);
	}
	if (conn)
		owned = change_connection(ctx, sk, socket, conn, &tuple,
					  descriptor, now_ns);
	finish_change(ctx, sk, &tuple, owned);
}

/* MPTCP's and SCTP's own sockets come through here too */
static __always_inline bool is_tcp(struct bpf_raw_tracepoint_args *ctx)
{
	const void *sk = (const void *)ctx->args[0];

	return READ(u16, sk, sock, sk_protocol) == IPPROTO_TCP;
}

PROGRAM(inet_sock_set_state)
{
	const void *sk;

	if (IS_SECOND) {
		if (was_handled(ctx))
			return 0;
		count(COUNTER_RESCUED, 1);
	}
	if (is_tcp(ctx)) {
		sk = tcp_socket((const void *)ctx->args[0]);
		if (MOSTLY(sk))
			change_state(ctx, sk, ADDRESS(sk));
	}
	if (!IS_SECOND && !DISTANCE)
		note_handled(ctx);
	return 0;
}
