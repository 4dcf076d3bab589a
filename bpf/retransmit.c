/* SPDX-License-Identifier: GPL-2.0-only
 *
 * raw tracepoint tcp:tcp_retransmit_skb (sk, skb [, err])
 * raw tracepoint tcp:tcp_retransmit_synack (sk, req)
 *
 * The first fires when a segment was retransmitted, and on kernels that pass err
 * also when sending failed: such a one never left, and is counted apart. The
 * second is a server's SYN-ACK, for which there is no socket yet, only a
 * request. Both run in timers or softirqs; pid means nothing. Yields:
 *
 *   retransmit client 10.0.0.1:40312 -> 10.0.0.2:80  timeout, 1 segment
 *   retransmit server 10.0.0.2:80 <- 10.0.0.1:40312  syn_ack, 1 segment
 */

/* enum tcp_ca_state in include/uapi/linux/tcp.h */
#define CA_RECOVERY 3
#define CA_LOSS 4
#define TCPHDR_FIN 0x01
#define TCPHDR_SYN 0x02
#define TCPHDR_ACK 0x10

/* include/uapi/asm-generic/errno.h */
#define EAGAIN 11
#define ENOMEM 12
#define EBUSY 16
#define EINVAL 22
#define EHOSTUNREACH 113

struct segment {
	u32 sequence;
	u32 end_sequence;
	u32 segments; /* one skb can be several */
	u8 flags;
};

static __always_inline void read_segment(const void *skb, struct segment *s)
{
	const void *cb = skb + OFFSET(sk_buff, cb);

	s->sequence = READ(u32, cb, tcp_skb_cb, seq);
	s->end_sequence = READ(u32, cb, tcp_skb_cb, end_seq);
	s->segments = READ(u16, cb, tcp_skb_cb, tcp_gso_segs);
	s->segments = s->segments ? s->segments : 1;
	s->flags = READ(TCP_FLAGS_TYPE, cb, tcp_skb_cb, tcp_flags);
}

/*
 * A timer notes where the loss began (tcp_enter_loss). Without a timer the
 * kernel enters CA_Loss with no such mark: for segments that are too large for
 * the path (tcp_simple_retransmit), or for the data of a Fast Open SYN.
 */
static __always_inline bool timer_ran_out(const void *sk)
{
	return !HAVE(tcp_sock, undo_marker) ||
	       READ(u32, sk, tcp_sock, undo_marker);
}

/*
 * Whether the server took the SYN and left its data. Some kernels retransmit
 * these in CA_Loss, others in CA_Open (tcp_rcv_fastopen_synack).
 */
static __always_inline bool fast_open_refused(const void *sk)
{
	return READ_BITS(sk, tcp_sock, syn_data) &&
	       !READ_BITS(sk, tcp_sock, syn_data_acked) &&
	       READ(u64, sk, tcp_sock, bytes_acked) <= 1 && !timer_ran_out(sk);
}

/*
 * In neither recovery nor loss, a retransmission probes the tail. A SYN-ACK
 * comes this way only after both sides opened at once.
 */
static __always_inline u8 retransmit_kind(const void *sk,
					  const struct segment *s)
{
	u8 ca_state = READ_BITS(sk, inet_connection_sock, icsk_ca_state);

	if (s->flags & TCPHDR_SYN)
		return s->flags & TCPHDR_ACK ? RETRANSMIT_SYN_ACK :
					       RETRANSMIT_SYN;
	if ((s->flags & TCPHDR_FIN) && s->end_sequence - s->sequence == 1)
		return RETRANSMIT_FIN;
	if (ca_state == CA_RECOVERY || fast_open_refused(sk))
		return RETRANSMIT_FAST;
	if (ca_state == CA_LOSS)
		return timer_ran_out(sk) ? RETRANSMIT_TIMEOUT : RETRANSMIT_MTU;
	return RETRANSMIT_TAIL_LOSS_PROBE;
}

/*
 * RetransSegs is counted before the segment is sent, and stands when that is
 * refused (by a firewall, say); these errors come sooner, or later from below
 * so rarely that it does not matter (__tcp_retransmit_skb).
 */
static __always_inline bool is_in_kernel_counter(s32 err)
{
	return err != -EAGAIN && err != -ENOMEM && err != -EBUSY &&
	       err != -EINVAL && err != -EHOSTUNREACH;
}

static __always_inline void note_retransmission(struct conn *conn,
						const struct segment *s)
{
	bool again = conn->attempt && conn->retransmit_sequence == s->sequence;

	conn->attempt = again ? conn->attempt + 1 : 1;
	conn->retransmit_sequence = s->sequence;
	conn->retransmitted_segments += s->segments;
}

/* In the unit of the kernel's timestamps: mostly milliseconds. */
static __always_inline u64 since_first_syn(const void *sk, u64 now_ns)
{
	u32 sent = READ(u32, sk, tcp_sock, retrans_stamp);

	if (READ_BITS(sk, tcp_sock, tcp_usec_ts))
		return ((u32)(now_ns / 1000) - sent) * 1000ULL;
	return ((u32)(now_ns / 1000000) - sent) * 1000000ULL;
}

/*
 * What is retransmitted was sent before: a SYN that waited has left, and the
 * kernel keeps its time until there is an answer.
 */
static __always_inline void note_deferred(const void *sk, struct conn *conn,
					  u8 kind, u64 now_ns)
{
	u64 since_ns;

	if (kind != RETRANSMIT_SYN || !(conn->flags & FLAG_DEFERRED) ||
	    conn->began & BEGAN_TIMED)
		return;
	conn->began |= BEGAN_TIMED;
	since_ns = since_first_syn(sk, now_ns);
	if (since_ns < now_ns - conn->start_ns)
		conn->start_ns = now_ns - since_ns;
}

#if HAVE_tcp_retransmit_skb
PROGRAM(tcp_retransmit_skb)
{
	const void *sk = (const void *)ctx->args[0];
	const void *skb = (const void *)ctx->args[1];
	s32 err = HAVE_tcp_retransmit_skb_err ? (s32)ctx->args[2] : 0;
	u8 state = READ(u8, sk, sock_common, skc_state);
	u64 now_ns = bpf_ktime_get_ns();
	struct tuple tuple = {};
	struct segment segment;
	struct conn *conn;
	struct event *e;
	u8 kind, what;

	/* read the segment */
	read_segment(skb, &segment);
	kind = retransmit_kind(sk, &segment);
	if (is_in_kernel_counter(err) && read_netns(sk) == OWN_NETNS)
		count(COUNTER_RETRANS_SEGS, segment.segments);

	/* update the connection */
	read_tuple(sk, &tuple);
	what = err < 0 ? UNRECORDED_RETRANSMIT_FAILED :
			 UNRECORDED_RETRANSMITTED + kind;
	conn = find(sk, &tuple, now_ns,
		    err < 0 ? COUNTER_RETRANSMIT_FAILED :
			      COUNTER_RETRANSMITTED + kind,
		    what, segment.segments);
	if (!conn)
		return 0;
	note_deferred(sk, conn, kind, now_ns);
	if (err >= 0) {
		note_retransmission(conn, &segment);
		count(COUNTER_RETRANSMITTED + kind, segment.segments - 1);
	}

	/* emit the record */
	e = reserve(EVENT_RETRANSMIT, now_ns, &tuple);
	if (!e) {
		count_unrecorded(what, conn->role, segment.segments);
		return 0;
	}
	fill_identity(e, conn);
	e->from_state = state;
	e->to_state = state;
	e->retransmit_kind = kind;
	e->segments = segment.segments;
	e->attempt = conn->attempt;
	e->error = err;
	if (err < 0)
		e->flags |= FLAG_FAILED;
	if (WHOLE_RECORDS)
		e->sequence = segment.sequence;
	fill_position(e, sk, conn);
	submit(e);
	return 0;
}
#endif

/* A request's tuple is in its common part, like a socket's. */
#if HAVE_tcp_retransmit_synack
PROGRAM(tcp_retransmit_synack)
{
	const void *sk = (const void *)ctx->args[0];
	const void *req = (const void *)ctx->args[1];
	struct tuple tuple = {};
	u64 now_ns = bpf_ktime_get_ns();
	u32 netns = read_netns(sk);
	struct event *e;

	if (netns == OWN_NETNS)
		count(COUNTER_RETRANS_SEGS, 1);
	read_tuple(req, &tuple);
	if (!wanted(sk, &tuple, ROLE_SERVER, netns, false))
		return 0;
	count(COUNTER_RETRANSMITTED + RETRANSMIT_SYN_ACK, 1);
	e = reserve(EVENT_RETRANSMIT, now_ns, &tuple);
	if (!e) {
		count_unrecorded(UNRECORDED_RETRANSMITTED + RETRANSMIT_SYN_ACK,
				 ROLE_SERVER, 1);
		return 0;
	}
	e->role = ROLE_SERVER;
	e->netns = netns;
	e->from_state = STATE_SYN_RECV;
	e->to_state = STATE_SYN_RECV;
	e->retransmit_kind = RETRANSMIT_SYN_ACK;
	e->segments = 1;
	e->attempt = READ(u8, req, request_sock, num_retrans) + 1;
	if (WHOLE_RECORDS) {
		e->cgroup = read_cgroup(sk);
		e->sequence = READ(u32, req, tcp_request_sock, snt_isn);
	}
	submit(e);
	return 0;
}
#endif
