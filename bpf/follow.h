/* SPDX-License-Identifier: GPL-2.0-only
 *
 * What records carry for `follow` beyond the others, gone when nobody asked.
 *
 * Every record that has a connection then says where it is at that moment:
 * descriptor, SND.UNA, SND.NXT, RCV.NXT, both windows, cwnd, ssthresh, data
 * segments, srtt, payload so far, and both initial sequence numbers, also of a
 * partial connection. So that at any moment, modulo 2^32,
 *
 *   send_next    = initial_sequence + 1 + bytes sent on the wire + FIN sent
 *   receive_next = peer_initial_sequence + 1 + received_bytes + FIN received
 *   send_unacknowledged + unacknowledged_bytes + (a FIN of ours not yet
 *     acknowledged) = initial_sequence + 1 + sent_bytes + (a FIN of ours)
 *
 * sent_bytes is what the application handed over, on the wire or not; windows
 * are in bytes, scaled; receive_window as last advertised, send_window as last
 * heard; congestion_window in segments; an ssthresh of 0x7fffffff is none.
 *
 * A state record comes before the state is stored, and the kernel changes the
 * numbers partly before and partly behind it:
 *
 *   CLOSE->SYN_SENT         none is set yet: zeros, in all of them
 *   LISTEN->SYN_RECV        likewise: the new socket is still its listener's copy
 *   SYN_SENT->ESTABLISHED   both SYNs are counted, ours is acknowledged
 *   SYN_SENT->SYN_RECV      both opened at once: the peer's SYN is not counted
 *   SYN_SENT->CLOSE         SND.UNA is our initial number, SND.NXT behind it,
 *                           unless no SYN was sent: zeros
 *   SYN_RECV->ESTABLISHED   both SYNs are counted, ours is acknowledged
 *   ...->FIN_WAIT1          our FIN is not queued: SND.NXT is without it
 *   CLOSE_WAIT->LAST_ACK    likewise
 *   FIN_WAIT1->FIN_WAIT2    our FIN is counted and acknowledged
 *   FIN_WAIT1->CLOSING      the peer's FIN is counted, ours not acknowledged
 *   CLOSING->CLOSE          both are counted and acknowledged
 *   ESTABLISHED->CLOSE_WAIT the peer's FIN is counted
 *   FIN_WAIT2->CLOSE        the peer's FIN is counted, unless close() has come
 *                           first: then TIME_WAIT begins out of sight
 *   LAST_ACK->CLOSE         our FIN is counted and acknowledged
 */

/*
 * Numbers of an opening socket are what its last connection, or the listener,
 * left there; and so they stay when no port was free.
 */
static __always_inline bool has_position(const void *sk, u8 from, u8 to)
{
	if (from != to && (from == STATE_CLOSE || from == STATE_LISTEN))
		return false;
	return from != STATE_SYN_SENT || READ(u32, sk, tcp_sock, segs_out);
}

/* At the change of state with which it begins, our FIN is not queued yet. */
static __always_inline bool fin_queued(const struct conn *conn, u8 from, u8 to)
{
	if (from != to && (to == STATE_FIN_WAIT1 || to == STATE_LAST_ACK))
		return false;
	return has_sent_fin(conn);
}

/* Those that the handshake left, or else from all that has been counted since. */
static __always_inline void fill_initial(struct event *e, const void *sk)
{
	u32 acked = READ(u64, sk, tcp_sock, bytes_acked);
	u32 received = READ(u64, sk, tcp_sock, bytes_received);

	if (!e->initial_sequence)
		e->initial_sequence = e->send_unacknowledged - acked -
				      (e->role == ROLE_SERVER);
	if (!e->peer_initial_sequence && e->receive_next)
		e->peer_initial_sequence = e->receive_next - received - 1;
}

/* To be called when the record has its identity and its states. */
static __always_inline void fill_position(struct event *e, const void *sk,
					  const struct conn *conn)
{
	u8 from = e->from_state, to = e->to_state;
	struct traffic traffic;

	if (!EMIT_FOLLOW)
		return;
	e->descriptor = conn->descriptor;
	if (!has_position(sk, from, to))
		return;
	e->send_unacknowledged = READ(u32, sk, tcp_sock, snd_una);
	e->send_next = READ(u32, sk, tcp_sock, snd_nxt);
	e->receive_next = READ(u32, sk, tcp_sock, rcv_nxt);
	e->send_window = READ(u32, sk, tcp_sock, snd_wnd);
	e->receive_window = READ(u32, sk, tcp_sock, rcv_wnd);
	e->congestion_window = READ(u32, sk, tcp_sock, snd_cwnd);
	e->slow_start_threshold = READ(u32, sk, tcp_sock, snd_ssthresh);
	e->sent_data_segments = READ(u32, sk, tcp_sock, data_segs_out);
	e->received_data_segments = READ(u32, sk, tcp_sock, data_segs_in);
	e->srtt_us = read_srtt(sk, conn);
	fill_initial(e, sk);
	read_traffic(sk, conn, fin_queued(conn, from, to), &traffic);
	e->sent_bytes = traffic.sent;
	e->received_bytes = traffic.received;
	e->unacknowledged_bytes = traffic.unacknowledged;
}

#if EMIT_FOLLOW
/*
 * What the application gets from its next call, when the connection has ended
 * but not its socket, is still the connection's: ECONNRESET, or the end of the
 * stream.
 */
static __always_inline bool outlives(const void *sk)
{
	return !has_flag(sk, SOCK_DEAD);
}

/* The socket is another's, or connects once more. */
static __always_inline void forget_ended(const void *sk)
{
	u64 key = (u64)sk;

	if (ended.lookup(&key))
		ended.delete(&key);
}
#else
#define outlives(sk) false
#define forget_ended(sk) ((void)0)
#endif
