/* SPDX-License-Identifier: GPL-2.0-only
 *
 * How a connection gets from one state to the next, and when.
 */

/*
 * The states are read anew after what was decided by them: else the verifier
 * goes through the rest once for each pair that it has told apart before.
 */
static __always_inline u8 state_left(struct bpf_raw_tracepoint_args *ctx)
{
	return *(volatile u64 *)&ctx->args[1];
}

static __always_inline u8 state_entered(struct bpf_raw_tracepoint_args *ctx)
{
	return *(volatile u64 *)&ctx->args[2];
}

/*
 * A kernel may run no program for some hits of a tracepoint. What was left
 * differs from what was entered last then, and the times of the states are
 * not known; nor is that of the handshake, if that was it.
 */
static __always_inline void note_gap(struct conn *conn, u8 from)
{
	if (!conn->state || conn->state == from)
		return;
	count(COUNTER_UNREACHED, 1);
	conn->flags |= FLAG_GAP;
	if (!(conn->visited & 1 << STATE_ESTABLISHED))
		conn->flags |= FLAG_HANDSHAKE_UNKNOWN;
}

static __always_inline void enter(struct conn *conn, u8 from, u8 to, u64 now_ns)
{
	conn->since_ns = now_ns;
	conn->state = to;
	conn->visited |= 1 << (from & 15) | 1 << (to & 15);
}

static __always_inline void step(struct conn *conn, u8 from, u8 to, u64 now_ns)
{
	u32 left = from & 15; /* so that the verifier sees its limit */

	if (left < 12)
		conn->state_ns[left] += now_ns - conn->since_ns;
	enter(conn, from, to, now_ns);
}

/*
 * A change of state that a segment brings comes while the kernel works on it:
 * tcp_mstamp_refresh() has read the clock as it began, and to read it again
 * takes a tenth of all. An orderly end comes with the other side's FIN or with
 * the ACK of ours. Of a socket that TCP_REPAIR restores an older time stands
 * there, or none.
 */
#define WITH_SEGMENT                                                           \
	(1 << STATE_ESTABLISHED | 1 << STATE_FIN_WAIT2 |                       \
	 1 << STATE_CLOSE_WAIT | 1 << STATE_CLOSING)

static __always_inline u64 time_of_step(const void *sk, const struct conn *conn,
					u8 from, u8 to)
{
	u64 segment_ns;

	if (WHOLE_RECORDS || /* which are put in order by their times */
	    !HAVE(tcp_sock, tcp_clock_cache) ||
	    !(WITH_SEGMENT & 1 << (to & 15) ||
	      (to == STATE_CLOSE && is_orderly(sk, from))))
		return bpf_ktime_get_ns();
	segment_ns = READ(u64, sk, tcp_sock, tcp_clock_cache);
	return segment_ns > conn->since_ns ? segment_ns : bpf_ktime_get_ns();
}

/* Whether an entry needs no more than to be used, and no change was missed. */
static __always_inline bool continues(const struct conn *conn, u8 from, u8 to)
{
	return conn && conn->state == from && conn->peer == PEER_KNOWN &&
	       to != STATE_SYN_SENT;
}

/*
 * Half of all changes are steps from an open connection to its end of which
 * nothing is told but their time: what they need lies close together.
 */
#define PASSED_FROM                                                            \
	(1 << STATE_ESTABLISHED | 1 << STATE_FIN_WAIT1 | 1 << STATE_CLOSE_WAIT)
#define PASSED_TO                                                              \
	(1 << STATE_FIN_WAIT1 | 1 << STATE_FIN_WAIT2 | 1 << STATE_CLOSE_WAIT | \
	 1 << STATE_LAST_ACK | 1 << STATE_CLOSING)

static __always_inline bool passes_on(struct bpf_raw_tracepoint_args *ctx,
				      const void *sk, u64 socket)
{
	u8 from = state_left(ctx), to = state_entered(ctx);
	struct conn *conn;

	if (EMIT_STATES || WITH_OWNERS || !(PASSED_FROM >> (from & 15) & 1) ||
	    !(PASSED_TO >> (to & 15) & 1))
		return false;
	conn = usual_conn(socket);
	if (!conn || conn->state != from ||
	    !(conn->visited & 1 << STATE_ESTABLISHED))
		return false;
	step(conn, from, to, time_of_step(sk, conn, from, to));
	count(transition_cell(from, to), 1);
	return true;
}
