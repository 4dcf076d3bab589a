/* SPDX-License-Identifier: GPL-2.0-only
 *
 * How an attempt at a connection failed, when sk_err does not say.
 *
 * Two things hide. An error within connect() is its result and in no field of
 * the socket; the source port tells whether one was found. And an ICMP message
 * that arrives while the socket is in use (from a firewall of this machine,
 * always) does not end the attempt: poll() and SO_ERROR tell the application,
 * which closes, and that alone would look as if it had lost its patience.
 */

/* include/uapi/linux/errqueue.h */
#define SO_EE_ORIGIN_ICMP 2
#define SO_EE_ORIGIN_ICMP6 3

#define MAX_QUEUED_ERRORS 4

#define CAN_READ_ERRORS                                                        \
	(HAVE(sock, sk_error_queue) && HAVE(sk_buff_head, next) &&             \
	 HAVE(sk_buff_head, qlen) && HAVE(sk_buff, next) &&                    \
	 HAVE(sock_exterr_skb, ee__ee_errno) &&                                \
	 HAVE(sock_exterr_skb, ee__ee_origin))

/* SO_ERROR takes sk_err_soft away; what it came from stays in the queue. */
static __always_inline u32 queued_error(const void *sk)
{
	const void *head = sk + OFFSET(sock, sk_error_queue);
	const void *skb = (const void *)READ_AT(u64, head, sk_buff_head, next);

	for (u32 i = 0; i < MAX_QUEUED_ERRORS; i++) {
		const void *cb = skb + OFFSET(sk_buff, cb);
		u8 origin;

		if (!skb || skb == head)
			return 0;
		origin = READ_AT(u8, cb, sock_exterr_skb, ee__ee_origin);
		if (origin == SO_EE_ORIGIN_ICMP || origin == SO_EE_ORIGIN_ICMP6)
			return READ_AT(u32, cb, sock_exterr_skb, ee__ee_errno);
		skb = (const void *)READ_AT(u64, skb, sk_buff, next);
	}
	return 0;
}

/* The errno of an ICMP message that has not ended the attempt, 0: none. */
static __always_inline s32 icmp_error(const void *sk)
{
	s32 error = READ(s32, sk, sock, sk_err_soft);

	if (error || !CAN_READ_ERRORS)
		return error;
	return queued_error(sk);
}

/* Whether there may be one: cheaper, for where there hardly ever is. */
static __always_inline bool has_icmp_error(const void *sk)
{
	const void *head = sk + OFFSET(sock, sk_error_queue);

	if (READ(s32, sk, sock, sk_err_soft))
		return true;
	return CAN_READ_ERRORS && READ(u32, head, sk_buff_head, qlen);
}

/* The socket is not connecting before the protocol's connect() is back. */
static __always_inline bool within_connect(const void *sk)
{
	const void *socket = (const void *)READ(u64, sk, sock, sk_socket);

	return READ(u32, socket, socket, state) == SS_UNCONNECTED;
}

/*
 * The port is chosen right after CLOSE->SYN_SENT, when the socket has none. If
 * it is still what it was (0, bound before, or left by the socket's last
 * connection), there was none to be had. Else something failed behind it: a
 * route that depends on the port, or memory.
 */
static __always_inline bool found_port(const struct conn *conn,
				       const struct tuple *t)
{
	if (conn->flags & FLAG_PARTIAL)
		return t->local_port;
	return t->local_port != conn->local_port;
}

/*
 * The range of ports of the socket's own (IP_LOCAL_PORT_RANGE), the highest in
 * the upper half and the lowest in the lower; 0: that of its namespace. It is a
 * pair of u16 before Linux 6.8, of which the verifier lets nobody read two at
 * once, and a number afterwards.
 */
static __always_inline u32 read_port_range(const void *sk)
{
	const int at = OFFSET(inet_sock, local_port_range);

	if (!HAVE(inet_sock, local_port_range))
		return 0;
	return FETCH_FROM(u16, sk, at) | (u32)FETCH_FROM(u16, sk, at + 2) << 16;
}

static __always_inline void fill_failure(struct event *e, const void *sk,
					 const struct conn *conn,
					 const struct tuple *t)
{
	/* disconnecting leaves ECONNRESET to the socket's next connection */
	if (e->error == conn->first_error)
		e->error = 0;
	if (!e->error && !(conn->began & BEGAN_WITH_ERROR))
		e->error = icmp_error(sk);
	if (e->from_state != STATE_SYN_SENT || e->sent_segments ||
	    !within_connect(sk))
		return;
	e->flags |= FLAG_NO_SYN;
	if (found_port(conn, t))
		return;
	e->flags |= FLAG_NO_PORT;
	e->segments = read_port_range(sk);
	if (!(conn->began & BEGAN_WITH_PORT))
		e->local_port = 0;
}

/*
 * Whether a connection was open in this state. A socket that is closed in
 * SYN_RECV gets its last ACK in a state of closing: a Fast Open child lets its
 * request go then, and one that opened as its peer did has its SYN acknowledged.
 */
static __always_inline bool was_open(const void *sk, const struct conn *conn,
				     u8 from)
{
	if (from == STATE_SYN_SENT || from == STATE_SYN_RECV)
		return false;
	if (conn->visited & (1 << STATE_ESTABLISHED) ||
	    conn->flags & FLAG_PARTIAL)
		return true;
	if (conn->role == ROLE_CLIENT)
		return READ(u64, sk, tcp_sock, bytes_acked);
	return !READ(u64, sk, tcp_sock, fastopen_rsk);
}
