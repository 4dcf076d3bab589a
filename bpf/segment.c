/* SPDX-License-Identifier: GPL-2.0-only
 *
 * raw tracepoint tcp:tcp_probe (sk, skb)
 *
 * Fires for each segment that reaches an ESTABLISHED socket (and in no other
 * state), before anything in it is looked at: the position is the one before
 * it, only received_data_segments has counted it. What the kernel has joined on
 * its way up (GRO) is one segment here. Runs in softirqs, or in whoever held
 * the socket when it came; pid means nothing. Only when asked for. Yields:
 *
 *   segment client 127.0.0.1:53020 <- 127.0.0.1:80  ACK PSH, 1448 bytes
 */

static __always_inline void emit_arrival(const void *sk, const void *skb,
					 const struct conn *conn)
{
	const void *cb = skb + OFFSET(sk_buff, cb);
	struct segment segment;
	struct tuple tuple = {};
	struct event *e;

	read_segment(skb, &segment);
	read_tuple(sk, &tuple);
	e = reserve(EVENT_SEGMENT, bpf_ktime_get_ns(), &tuple);
	if (!e)
		return;
	fill_identity(e, conn);
	e->from_state = STATE_ESTABLISHED;
	e->to_state = STATE_ESTABLISHED;
	e->sequence = segment.sequence;
	e->acknowledgement = READ(u32, cb, tcp_skb_cb, ack_seq);
	e->control_bits = segment.flags;
	e->payload_bytes = segment.end_sequence - segment.sequence -
			   !!(segment.flags & TCPHDR_SYN) -
			   !!(segment.flags & TCPHDR_FIN);
	fill_position(e, sk, conn);
	submit(e);
}

#if HAVE_tcp_probe
PROGRAM(tcp_probe)
{
	const void *sk = (const void *)ctx->args[0];
	struct conn *conn = lookup_conn((u64)sk);

	if (conn)
		emit_arrival(sk, (const void *)ctx->args[1], conn);
	return 0;
}
#endif
