/* SPDX-License-Identifier: GPL-2.0-only
 *
 * A handshake that is done: how long it took, where that is known at all, and
 * the initial sequence numbers. Read when the socket becomes ESTABLISHED, the
 * only moment at which the kernel's first sample stands alone.
 */

/*
 * A SYN cookie keeps the options in the low bits of the timestamp that the ACK
 * brings back, and nothing else is left of the SYN: its sample comes from that
 * timestamp, in whole milliseconds, and is wrong by up to 64 of them. Any other
 * sample is in microseconds unless the SYN-ACK was retransmitted; one of 32,000
 * looks like a cookie's by chance.
 */
static __always_inline bool is_cookie(const void *sk, u32 srtt_us)
{
	u32 options = 0xf;

	if (srtt_us % 1000 || READ(u32, sk, tcp_sock, total_retrans) ||
	    !READ_BITS(sk, tcp_sock, rx_opt__saw_tstamp))
		return false;
	if (READ_BITS(sk, tcp_sock, rx_opt__wscale_ok))
		options = READ_BITS(sk, tcp_sock, rx_opt__snd_wscale);
	if (READ_BITS(sk, tcp_sock, rx_opt__sack_ok))
		options |= 0x10;
	return (READ(u32, sk, tcp_sock, rx_opt__rcv_tsecr) & 0x1f) == options;
}

/*
 * What is to be known when a connection begins. A listener with
 * TCP_DEFER_ACCEPT drops the handshake's last ACK and waits for data: no sample
 * of the kernel's says when that ACK came. (An option that is taken back while
 * a request waits leaves no trace.) A socket that connects once more keeps the
 * minimum round trip of its last connection (tcp_disconnect).
 */
static __always_inline void note_beginning(const void *sk, struct conn *conn,
					   u8 from, u8 to)
{
	u32 min_rtt_us;

	if (from == STATE_LISTEN && to == STATE_SYN_RECV) {
		if (may_have_deferred(sk))
			conn->flags |= FLAG_HANDSHAKE_UNKNOWN;
	} else if (to == STATE_SYN_SENT) {
		min_rtt_us = READ(u32, sk, tcp_sock, rtt_min__s__v);
		conn->foreign_rtt_us = min_rtt_us == NO_RTT ? 0 : min_rtt_us;
	}
}

/*
 * A connect() that returned at once left the SYN to the first send(), at which
 * nothing fires. The kernel's first sample says when it left, or else its first
 * retransmission (retransmit.c): from there on the connection is timed.
 */
static __always_inline void start_at_syn(const void *sk, struct conn *conn,
					 u64 now_ns)
{
	u64 sample_ns = (READ(u32, sk, tcp_sock, srtt_us) >> 3) * 1000ULL;

	if (conn->began & BEGAN_TIMED)
		return;
	if (!sample_ns || READ(u32, sk, tcp_sock, total_retrans))
		conn->flags |= FLAG_HANDSHAKE_UNKNOWN;
	else if (sample_ns < now_ns - conn->start_ns)
		conn->start_ns = now_ns - sample_ns;
}

/*
 * A server's two transitions come within microseconds whatever the network
 * does; its handshake time is the kernel's first round-trip sample, SYN-ACK
 * sent to ACK received. A Fast Open child began at the SYN, so that for it the
 * interval is the truth. No honest sample (SYN cookies, or no timestamps after
 * a retransmission, TCP_DEFER_ACCEPT) is no time, not zero; and where there is a
 * dishonest one, the smoothed round-trip time has it in it until the end, and
 * the minimum until there is a lower one.
 */
static __always_inline void time_handshake(const void *sk, struct conn *conn,
					   u64 now_ns)
{
	u32 srtt_us = READ(u32, sk, tcp_sock, srtt_us) >> 3;

	if (conn->flags & FLAG_PARTIAL)
		return;
	if (conn->began & BEGAN_OPEN) { /* it was done some time before */
		conn->flags |= FLAG_HANDSHAKE_UNKNOWN;
		return;
	}
	if (conn->role == ROLE_CLIENT || (conn->flags & FLAG_FAST_OPEN)) {
		conn->flags &= ~FLAG_HANDSHAKE_UNKNOWN;
		if (conn->flags & FLAG_DEFERRED)
			start_at_syn(sk, conn, now_ns);
		if (conn->flags & FLAG_HANDSHAKE_UNKNOWN)
			return;
		conn->handshake_ns = now_ns - conn->start_ns;
	} else if (conn->flags & FLAG_HANDSHAKE_UNKNOWN || !srtt_us ||
		   is_cookie(sk, srtt_us)) {
		conn->flags |= FLAG_HANDSHAKE_UNKNOWN;
		conn->foreign_rtt_us = srtt_us;
	} else {
		conn->handshake_ns = srtt_us * 1000ULL;
	}
}

/*
 * The initial numbers, from what was acknowledged so far: a client's
 * bytes_acked counts its SYN, a server's begins behind it.
 */
static __always_inline void read_sequences(const void *sk, struct conn *conn)
{
	u32 acked = READ(u64, sk, tcp_sock, bytes_acked);
	u32 received = READ(u64, sk, tcp_sock, bytes_received);

	conn->initial_sequence = READ(u32, sk, tcp_sock, snd_una) - acked -
				 (conn->role == ROLE_SERVER);
	conn->peer_initial_sequence = READ(u32, sk, tcp_sock, rcv_nxt) -
				      received - 1;
}

/* A client's syn_data_acked is set later; more than the SYN is acknowledged. */
static __always_inline bool opened_fast(const void *sk, const struct conn *conn)
{
	if (conn->role == ROLE_CLIENT)
		return READ(u64, sk, tcp_sock, bytes_acked) > 1;
	return READ_BITS(sk, tcp_sock, syn_fastopen_child) ||
	       READ_BITS(sk, tcp_sock, syn_data_acked);
}

/*
 * close() in SYN_RECV, of a Fast Open child or when both sides opened at once:
 * the handshake is done while our FIN waits already, and the next change of
 * state says so.
 */
static __always_inline bool opened_late(const void *sk, struct conn *conn,
					u8 from)
{
	if (conn->visited & (1 << STATE_ESTABLISHED) ||
	    conn->flags & FLAG_PARTIAL || conn->began & BEGAN_OPEN ||
	    from == STATE_CLOSE || from == STATE_LISTEN ||
	    !was_open(sk, conn, from))
		return false;
	conn->began |= BEGAN_OPEN;
	return true;
}

static __always_inline void established(const void *sk, struct conn *conn,
					struct tuple *t, u8 from, u8 to,
					u64 now_ns)
{
	struct event *e;

	/* a reset before answered something else, and did not end this */
	if (to == STATE_ESTABLISHED) {
		conn->flags &= ~(FLAG_RESET_SENT | FLAG_RESET_RECEIVED |
				 FLAG_RESET_REASON);
		conn->reset_reason = 0;
	}
	if (opened_fast(sk, conn))
		conn->flags |= FLAG_FAST_OPEN;
	/* a SYN-ACK is retransmitted when there is a request, but no socket yet */
	if (conn->role == ROLE_SERVER)
		conn->retransmitted_segments = READ(u32, sk, tcp_sock,
						    total_retrans);
	time_handshake(sk, conn, now_ns);
	if (WITH_TALLIES)
		tally_handshake(sk, conn, now_ns);
	if (WITH_TALLIES && is_counted(conn, TALLIED_HANDSHAKE))
		return;
	if (!EMIT_STATES) /* else it was */
		locate(sk, t, to);
	if (WHOLE_RECORDS)
		read_sequences(sk, conn);
	e = reserve(EVENT_HANDSHAKE, now_ns, t);
	if (!e) {
		count_unrecorded(UNRECORDED_HANDSHAKE, conn->role, 1);
		return;
	}
	fill_identity(e, conn);
	e->from_state = from;
	e->to_state = to;
	fill_round_trips(e, sk, conn);
	fill_position(e, sk, conn);
	submit(e);
}
