/* SPDX-License-Identifier: GPL-2.0-only
 *
 * The first change of state of a connection.
 */

/* What only CLOSE->SYN_SENT can tell of a client. */
static __always_inline void note_opening(const void *sk, struct conn *conn,
					 s32 descriptor)
{
	if (READ_BITS(sk, tcp_sock, fastopen_connect))
		conn->flags |= FLAG_DEFERRED;
	if (has_icmp_error(sk))
		conn->began |= BEGAN_WITH_ERROR;
	conn->first_error = READ(s32, sk, sock, sk_err);
	conn->local_port = bpf_ntohs(READ(u16, sk, inet_sock, inet_sport));
	if (READ(u16, sk, sock_common, skc_num)) {
		conn->began |= BEGAN_WITH_PORT;
		conn->flags |= FLAG_BOUND;
	}
	if (EMIT_FOLLOW)
		conn->descriptor = descriptor;
}

/* The role of a connection that begins with this step, else ROLE_UNKNOWN. */
static __always_inline u8 opening_role(u8 from, u8 to)
{
	if (to == STATE_SYN_SENT)
		return ROLE_CLIENT;
	if (from == STATE_LISTEN && to == STATE_SYN_RECV)
		return ROLE_SERVER;
	return ROLE_UNKNOWN;
}

/*
 * A connection of which nothing is asked but its namespace, and that finds the
 * slot free that is its first one, begins like this: what it needs lies close
 * together. What TCP_REPAIR restores goes the long way, and so does a server's
 * where that has no peer yet, before Linux 6.15.
 */
#define BEGINS_PLAINLY (WITH_SLOTS && !FILTERED && !EMIT_STATES && !WITH_OWNERS)
#define FIRST_STATES (1 << STATE_SYN_SENT | 1 << STATE_SYN_RECV)

static __always_inline bool is_plain(const void *sk, u8 from, u8 to)
{
	if (to == STATE_SYN_SENT)
		return !READ_BITS(sk, tcp_sock, repair);
	return from == STATE_LISTEN && READ(u16, sk, sock_common, skc_dport);
}

static __always_inline bool begins(struct bpf_raw_tracepoint_args *ctx,
				   const void *sk, u64 socket)
{
	u8 from = state_left(ctx), to = state_entered(ctx);
	struct conn *conn;
	bool connects;
	u64 now_ns;
	u32 netns;

	if (!BEGINS_PLAINLY || !(FIRST_STATES >> (to & 15) & 1) ||
	    !is_plain(sk, from, to))
		return false;
	netns = read_netns(sk);
	conn = FILTER_NETNS(netns) ? take_first_slot(socket) : NULL;
	if (!conn)
		return false;
	count(transition_cell(from, to), 1);
	now_ns = bpf_ktime_get_ns();
	connects = state_entered(ctx) == STATE_SYN_SENT;
	begin(sk, socket, conn, connects ? ROLE_CLIENT : ROLE_SERVER, 0, netns,
	      now_ns);
	enter(conn, from, to, now_ns);
	note_beginning(sk, conn, from, to);
	if (connects)
		note_opening(sk, conn, -1);
	audit(netns, connects ? COUNTER_SYN_SENT : COUNTER_PASSIVE_OPENS);
	return true;
}
