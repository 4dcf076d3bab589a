/* SPDX-License-Identifier: GPL-2.0-only
 *
 * raw tracepoint tcp:tcp_send_reset (sk, skb [, reason])
 * raw tracepoint tcp:tcp_receive_reset (sk)
 *
 * A reset leaves because the application aborted (sk, no skb), or in answer to
 * a segment (skb) that fits no connection: sk is then NULL, a listener or a
 * timewait object. Kernels that pass reason tell why. Yields:
 *
 *   reset sent     server 127.0.0.1:80 -> 127.0.0.1:40312  abort on close
 *   reset received client 127.0.0.1:40312 <- 127.0.0.1:80
 */

/* Where a segment that arrived wanted to go: its sender is our remote. */
static __always_inline bool read_segment_tuple(const void *skb, struct tuple *t)
{
	const void *head = (const void *)READ(u64, skb, sk_buff, head);
	const void *ip = head + READ(u16, skb, sk_buff, network_header);
	const void *tcp = head + READ(u16, skb, sk_buff, transport_header);
	u8 version = 0;
	u16 ports[2] = {};
	u32 address;

	bpf_probe_read_kernel(&version, 1, ip);
	bpf_probe_read_kernel(ports, 4, tcp);
	t->remote_port = bpf_ntohs(ports[0]);
	t->local_port = bpf_ntohs(ports[1]);
	if (version >> 4 == 6) {
		bpf_probe_read_kernel(t->remote, 16, ip + 8);
		bpf_probe_read_kernel(t->local, 16, ip + 24);
		t->family = 6;
		return true;
	}
	if (version >> 4 != 4)
		return false;
	bpf_probe_read_kernel(&address, 4, ip + 12);
	map_ipv4(t->remote, address);
	bpf_probe_read_kernel(&address, 4, ip + 16);
	map_ipv4(t->local, address);
	t->family = 4;
	return true;
}

/* A SYN without ACK is a client's, so that we are the server here. */
static __always_inline bool answers_syn(const void *skb)
{
	const void *head = (const void *)READ(u64, skb, sk_buff, head);
	u8 flags = 0;

	bpf_probe_read_kernel(&flags, 1,
			      head + READ(u16, skb, sk_buff, transport_header) +
				      13);
	return (flags & (TCPHDR_SYN | TCPHDR_ACK)) == TCPHDR_SYN;
}

static __always_inline u32 read_device_netns(const void *skb)
{
	const void *dev = (const void *)READ(u64, skb, sk_buff, dev);
	const void *net = (const void *)READ(u64, dev, net_device, nd_net);

	return READ(u32, net, net, ns__inum);
}

static __always_inline void fill_reason(struct event *e, u32 reason)
{
	e->flags |= FLAG_RESET_SENT;
	if (HAVE_tcp_send_reset_reason) {
		e->flags |= FLAG_RESET_REASON;
		e->reset_reason = reason;
	}
}

/* A reset that belongs to no connection of ours: a closed port, old segments. */
static __always_inline void stray_reset(const void *sk, const void *skb,
					u32 reason, u64 now_ns)
{
	struct tuple tuple = {};
	struct event *e;
	u32 netns;
	u8 role;

	if (skb) {
		if (!read_segment_tuple(skb, &tuple))
			return;
		netns = sk ? read_netns(sk) : read_device_netns(skb);
		role = answers_syn(skb) ? ROLE_SERVER :
					  guess_role(&tuple, netns);
	} else if (sk) {
		read_tuple(sk, &tuple);
		netns = read_netns(sk);
		role = guess_role(&tuple, netns);
	} else {
		return;
	}
	if (sk ? !wanted(sk, &tuple, role, netns, false) :
		 FILTER_NEEDS_SOCKET || !stray_wanted(&tuple, role, netns))
		return;
	count(COUNTER_RESETS_SENT, 1);
	e = reserve(EVENT_RESET, now_ns, &tuple);
	if (!e) {
		count_unrecorded(UNRECORDED_RESET_SENT, role, 1);
		return;
	}
	e->netns = netns;
	e->role = role;
	fill_reason(e, reason);
	submit(e);
}

/*
 * The cause of an end that has been told: its record, the only one of a reset
 * with a state left for CLOSE, lets the reader know better.
 */
static __always_inline bool late_reset(const void *sk, u32 reason, u64 now_ns)
{
	struct tuple tuple = {};
	u64 key = (u64)sk;
	struct conn *conn = NULL;
	struct event *e;
	u8 from;

	if (sk)
		conn = ended.lookup(&key);
	if (!conn || !conn->ended_from)
		return false;
	read_tuple(sk, &tuple);
	if (conn->local_port != tuple.local_port ||
	    conn->remote_port != tuple.remote_port)
		return false;
	from = conn->ended_from;
	conn->ended_from = 0;
	count(COUNTER_RESETS_SENT, 1);
	if (conn->flags & FLAG_RESET_RECEIVED)
		count(COUNTER_RESETS_NEVER, 1);
	e = reserve(EVENT_RESET, now_ns, &tuple);
	if (!e) {
		count_unrecorded(UNRECORDED_RESET_SENT, conn->role, 1);
		return true;
	}
	fill_identity(e, conn);
	e->flags &= ~FLAG_RESET_RECEIVED;
	e->from_state = from;
	e->to_state = STATE_CLOSE;
	fill_reason(e, reason);
	fill_position(e, sk, conn);
	submit(e);
	return true;
}

#if HAVE_tcp_send_reset
PROGRAM(tcp_send_reset)
{
	const void *sk = (const void *)ctx->args[0];
	const void *skb = (const void *)ctx->args[1];
	u32 reason = HAVE_tcp_send_reset_reason ? ctx->args[2] : 0;
	u64 now_ns = bpf_ktime_get_ns();
	struct tuple tuple = {};
	struct conn *conn = NULL;
	struct event *e;

	if (sk)
		conn = lookup_conn((u64)sk);
	if (!conn) {
		if (!late_reset(sk, reason, now_ns))
			stray_reset(sk, skb, reason, now_ns);
		return 0;
	}
	conn->flags |= FLAG_RESET_SENT;
	if (HAVE_tcp_send_reset_reason) {
		conn->flags |= FLAG_RESET_REASON;
		conn->reset_reason = reason;
	}
	count(COUNTER_RESETS_SENT, 1);
	read_tuple(sk, &tuple);
	e = reserve(EVENT_RESET, now_ns, &tuple);
	if (e) {
		fill_identity(e, conn);
		e->flags &= ~FLAG_RESET_RECEIVED;
		fill_position(e, sk, conn);
		submit(e);
	} else {
		count_unrecorded(UNRECORDED_RESET_SENT, conn->role, 1);
	}
	return 0;
}
#endif

#if HAVE_tcp_receive_reset
PROGRAM(tcp_receive_reset)
{
	const void *sk = (const void *)ctx->args[0];
	u8 state = READ(u8, sk, sock_common, skc_state);
	bool seeming = may_be_own_reset(sk, state);
	u64 now_ns = bpf_ktime_get_ns();
	struct tuple tuple = {};
	struct conn *conn;
	struct event *e;

	/* of a socket that has ended the kernel takes no notice */
	if (state == STATE_CLOSE)
		return 0;
	read_tuple(sk, &tuple);
	conn = find(sk, &tuple, now_ns,
		    seeming ? COUNTER_RESETS_SEEMING : COUNTER_RESETS_RECEIVED,
		    UNRECORDED_RESET_RECEIVED, 1);
	if (!conn)
		return 0;
	conn->flags |= FLAG_RESET_RECEIVED;
	e = reserve(EVENT_RESET, now_ns, &tuple);
	if (!e) {
		count_unrecorded(UNRECORDED_RESET_RECEIVED, conn->role, 1);
		return 0;
	}
	fill_identity(e, conn);
	e->flags &= ~FLAG_RESET_SENT;
	if (seeming) /* its end and the reset of ours that explains it follow */
		e->flags |= FLAG_UNEXPLAINED;
	e->from_state = state;
	e->to_state = state;
	fill_position(e, sk, conn);
	submit(e);
	return 0;
}
#endif
