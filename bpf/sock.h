/* SPDX-License-Identifier: GPL-2.0-only
 *
 * What there is to know of a socket, from struct sock and its kin.
 */

/* a byte until Linux 6.14 */
#if SIZE_tcp_skb_cb__tcp_flags == 1
#define TCP_FLAGS_TYPE u8
#else
#define TCP_FLAGS_TYPE u16
#endif

#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6

/* enum sock_flags in include/net/sock.h */
#define SOCK_DEAD 0
#define SOCK_DONE 1

/* enum socket_state in include/uapi/linux/net.h */
#define SS_UNCONNECTED 1

struct tuple {
	u32 local[4]; /* IPv4 as ::ffff:a.b.c.d */
	u32 remote[4];
	u16 local_port;
	u16 remote_port;
	u8 family;     /* 4 or 6 */
	u32 interface; /* of link-local addresses */
};

static __always_inline void map_ipv4(u32 *to, u32 address)
{
	to[0] = 0;
	to[1] = 0;
	to[2] = bpf_htonl(0xffff);
	to[3] = address;
}

static __always_inline bool is_mapped(const u32 *address)
{
	return !address[0] && !address[1] && address[2] == bpf_htonl(0xffff);
}

/*
 * The port comes from inet_sport: skc_num is 0 again at ->CLOSE. In a time
 * wait or request socket, which is no inet_sock, skc_num stands.
 */
static __always_inline u16 read_local_port(const void *sk, u8 state)
{
	if (state == STATE_TIME_WAIT || state == STATE_NEW_SYN_RECV)
		return READ(u16, sk, sock_common, skc_num);
	return bpf_ntohs(READ(u16, sk, inet_sock, inet_sport));
}

/* fe80::/10 */
static __always_inline bool is_link_local(const u32 *address)
{
	return (address[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

/*
 * The interface of a link-local address stands in its second word, which is 0
 * on the wire, so that it is in every key that has the address.
 */
static __always_inline void add_interface(u8 *to, const struct tuple *t,
					  const u32 *address)
{
	u32 interface = bpf_htonl(t->interface);

	if (is_link_local(address) && !address[1])
		__builtin_memcpy(to + 4, &interface, 4);
}

static __always_inline void read_tuple(const void *sk, struct tuple *t)
{
	u16 family = READ(u16, sk, sock_common, skc_family);
	u8 state = READ(u8, sk, sock_common, skc_state);

	t->local_port = read_local_port(sk, state);
	t->remote_port = bpf_ntohs(READ(u16, sk, sock_common, skc_dport));
	if (family == AF_INET6 && HAVE(sock_common, skc_v6_daddr)) {
		COPY_16(t->local, sk, sock_common, skc_v6_rcv_saddr);
		COPY_16(t->remote, sk, sock_common, skc_v6_daddr);
		t->family = is_mapped(t->remote) ? 4 : 6;
		if (is_link_local(t->remote))
			t->interface = READ(u32, sk, sock_common,
					    skc_bound_dev_if);
		return;
	}
	map_ipv4(t->local, READ(u32, sk, sock_common, skc_rcv_saddr));
	map_ipv4(t->remote, READ(u32, sk, sock_common, skc_daddr));
	t->family = 4;
}

/*
 * Addresses and ports, which are needed where something is told or begins. Read
 * once more where it is both: a condition would have the verifier go through
 * all that follows for each of its outcomes.
 */
static __always_inline void locate(const void *sk, struct tuple *t, u8 to)
{
	__builtin_memset(t, 0, sizeof(*t));
	read_tuple(sk, t);
	if (to == STATE_SYN_SENT && !READ(u16, sk, sock_common, skc_num))
		t->local_port = 0; /* what stands there is the last one's */
}

static __always_inline u32 read_netns(const void *sk)
{
	const void *net = (void *)READ(u64, sk, sock_common, skc_net);

	return READ(u32, net, net, ns__inum);
}

static __always_inline u64 listener_key(u32 netns, u16 port)
{
	return (u64)netns << 16 | port;
}

static __always_inline u64 read_cgroup(const void *sk)
{
	const void *cgroup, *node;

	if (!HAVE(sock, sk_cgrp_data__cgroup))
		return 0;
	cgroup = (void *)READ(u64, sk, sock, sk_cgrp_data__cgroup);
	node = (void *)READ(u64, cgroup, cgroup, kn);
	return READ(u64, node, kernfs_node, id);
}

static __always_inline bool has_flag(const void *sk, int flag)
{
	return READ(u64, sk, sock_common, skc_flags) >> flag & 1;
}

/* include/net/sock.h */
#define RCV_SHUTDOWN 1

/*
 * Data that come when nobody will read them any more make the kernel reset its
 * own socket as if a reset had been received, and only then send one.
 */
static __always_inline bool may_be_own_reset(const void *sk, u8 state)
{
	if (state == STATE_ESTABLISHED || state == STATE_SYN_SENT ||
	    state == STATE_SYN_RECV)
		return false;
	return !HAVE(sock, sk_shutdown) ||
	       (READ(u8, sk, sock, sk_shutdown) & RCV_SHUTDOWN);
}

/*
 * The listener of a socket that is being made. At LISTEN -> SYN_RECV
 * skc_bind_node is still a copy of the listener's, which is in a list, so that
 * its pprev points to what points to the listener's own. (Of a listener itself
 * it is the listener.) The list can change between copy and look, and then the
 * listener's own pprev differs from the copy: NULL.
 */
static __always_inline const void *read_listener(const void *sk)
{
	const void *pprev = (void *)READ(u64, sk, sock_common,
					 skc_bind_node__pprev);
	const void *node = (void *)READ_WORD(pprev), *listener;

	if (!node)
		return NULL;
	listener = node - OFFSET(sock_common, skc_bind_node);
	if (READ_AT(u8, listener, sock_common, skc_state) != STATE_LISTEN ||
	    READ_AT(u64, listener, sock_common, skc_bind_node__pprev) !=
		    (u64)pprev)
		return NULL;
	return listener;
}

/*
 * Whether a socket that is being made waited for data (TCP_DEFER_ACCEPT), as
 * far as it can be told: the option is its listener's. Before Linux 6.15 the
 * new socket still has its listener's queue at this moment, as it still has no
 * peer; later it is cleared before, and the listener has to be asked itself.
 */
static __always_inline bool may_have_deferred(const void *sk)
{
	const void *from = sk;

	if (READ(u16, sk, sock_common, skc_dport))
		from = read_listener(sk);
	return !from ||
	       !HAVE(inet_connection_sock,
		     icsk_accept_queue__rskq_defer_accept) ||
	       READ_AT(u8, from, inet_connection_sock,
		       icsk_accept_queue__rskq_defer_accept);
}

/* What a connection has carried, of which SYN and FIN take no byte. */
struct traffic {
	u64 sent;
	u64 received;
	u32 unacknowledged;
};

#define NO_RTT 0xffffffff /* the kernel's minimum before the first sample */

/*
 * 0 where the first sample is none of the network's: it stays in the average.
 * A client's foreign round trip is in the minimum only.
 */
static __always_inline u32 read_srtt(const void *sk, const struct conn *conn)
{
	if (conn->role == ROLE_SERVER && conn->foreign_rtt_us)
		return 0;
	return READ(u32, sk, tcp_sock, srtt_us) >> 3;
}

/* The least of the last five minutes or so (tcp_min_rtt_wlen); 0: unknown. */
static __always_inline void fill_round_trips(struct event *e, const void *sk,
					     const struct conn *conn)
{
	u32 min_us = READ(u32, sk, tcp_sock, rtt_min__s__v);

	e->srtt_us = read_srtt(sk, conn);
	if (!conn->foreign_rtt_us || min_us < conn->foreign_rtt_us)
		e->min_rtt_us = min_us;
}

static __always_inline bool has_sent_fin(const struct conn *conn)
{
	return conn->visited & (1 << STATE_FIN_WAIT1 | 1 << STATE_FIN_WAIT2 |
				1 << STATE_CLOSING | 1 << STATE_LAST_ACK);
}

/*
 * bytes_acked and the distance from snd_una to write_seq make up all that was
 * queued; the client's SYN and a FIN of ours take one number each in it, the
 * server's SYN does not (its child begins after it). bytes_received has the
 * peer's FIN, which sets SOCK_DONE.
 */
static __always_inline void read_traffic(const void *sk,
					 const struct conn *conn, bool fin,
					 struct traffic *traffic)
{
	u32 queued = READ(u32, sk, tcp_sock, write_seq) -
		     READ(u32, sk, tcp_sock, snd_una);
	u64 acked = READ(u64, sk, tcp_sock, bytes_acked);
	u64 received = READ(u64, sk, tcp_sock, bytes_received);
	bool syn = conn->role == ROLE_CLIENT &&
		   !(conn->began & BEGAN_BY_REPAIR);
	bool peer_fin = has_flag(sk, SOCK_DONE);

	traffic->sent = acked + queued;
	traffic->sent -= traffic->sent >= syn + fin ? syn + fin : 0;
	traffic->received = received - (peer_fin && received);
	traffic->unacknowledged = queued - (fin && queued) - (syn && !acked);
}
