/* SPDX-License-Identifier: GPL-2.0-only
 *
 * How a connection ended, as far as that is known at its last change of state.
 *
 * An orderly end needs nothing more. Every other end is remembered by its
 * socket, so that a reset of ours that leaves after it finds whose it is: the
 * kernel changes the state first and sends the reset then, sometimes with the
 * peer's end, and others, in between. A list of states after which to wait for
 * the reset was the alternative: it was wrong for what it did not list, and
 * what waited for a reset that never came stayed for ever.
 */

#define NULLS_MARK 1
#define MAX_CHAIN 32

/* All that we queued, the FIN included, is acknowledged. */
static __always_inline bool all_acknowledged(const void *sk)
{
	return READ(u32, sk, tcp_sock, snd_una) ==
	       READ(u32, sk, tcp_sock, write_seq);
}

/*
 * Both FINs are through. SOCK_DONE is set by the peer's, and in FIN_WAIT2 that
 * ends the connection at once.
 */
static __always_inline bool is_orderly(const void *sk, u8 from)
{
	if (from == STATE_LAST_ACK || from == STATE_CLOSING)
		return all_acknowledged(sk);
	return from == STATE_FIN_WAIT2 && has_flag(sk, SOCK_DONE);
}

/* The table of established sockets; it is each namespace's own since 6.1. */
static __always_inline const void *read_hashinfo(const void *sk)
{
	const void *net, *proto;

	if (HAVE(net, ipv4__tcp_death_row__hashinfo)) {
		net = (const void *)READ(u64, sk, sock_common, skc_net);
		return (const void *)READ(u64, net, net,
					  ipv4__tcp_death_row__hashinfo);
	}
	proto = (const void *)READ(u64, sk, sock_common, skc_prot);
	return (const void *)READ(u64, proto, proto, h__hashinfo);
}

/* Without branches, each of which the verifier would follow from each place. */
static __always_inline bool is_timewait_of(const void *other, const void *sk)
{
	u64 differing = READ_AT(u8, other, sock_common, skc_state) ^
			STATE_TIME_WAIT;

	differing |= READ_AT(u16, other, sock_common, skc_dport) ^
		     READ(u16, sk, sock_common, skc_dport);
	differing |= READ_AT(u16, other, sock_common, skc_num) ^
		     bpf_ntohs(READ(u16, sk, inet_sock, inet_sport));
	differing |= READ_AT(u32, other, sock_common, skc_daddr) ^
		     READ(u32, sk, sock_common, skc_daddr);
	return !differing;
}

#define CAN_FIND_TIMEWAIT                                                      \
	(HAVE(sock_common, skc_hash) && HAVE(sock_common, skc_nulls_node) &&   \
	 HAVE(inet_hashinfo, ehash) && HAVE(inet_hashinfo, ehash_mask) &&      \
	 (HAVE(net, ipv4__tcp_death_row__hashinfo) ||                          \
	  (HAVE(sock_common, skc_prot) && HAVE(proto, h__hashinfo))))

/*
 * A timewait object takes the socket's place in the table of established
 * sockets before the state changes (tcp_time_wait() in tcp_minisocks.c). When
 * there are tcp_max_tw_buckets of them, or no memory, none does; nothing in
 * the socket tells. Behind MAX_CHAIN others it is taken to be there. Its hash
 * is the socket's, and no other's in practice.
 */
static __always_inline bool finds_timewait(const void *sk)
{
	const void *info = read_hashinfo(sk), *other = NULL;
	u32 hash = READ(u32, sk, sock_common, skc_hash);
	u64 slot = hash & READ(u32, info, inet_hashinfo, ehash_mask);
	u64 node = READ_WORD((void *)READ(u64, info, inet_hashinfo, ehash) +
			     slot * sizeof(u64));

#pragma clang loop unroll(disable)
	for (u32 i = 0; i < MAX_CHAIN; i++) {
		if (!node || node & NULLS_MARK)
			return false;
		other = (void *)node - OFFSET(sock_common, skc_nulls_node);
		if (READ_AT(u32, other, sock_common, skc_hash) == hash)
			return is_timewait_of(other, sk);
		node = READ_WORD(node);
	}
	return true;
}

/* Where the table cannot be read, every end that should have one has one. */
static __always_inline bool left_timewait(const void *sk, u8 from, u16 flags)
{
	if ((from != STATE_FIN_WAIT2 && from != STATE_CLOSING) ||
	    flags & (FLAG_RESET_SENT | FLAG_RESET_RECEIVED))
		return false;
	if (CAN_FIND_TIMEWAIT)
		return finds_timewait(sk);
	return is_orderly(sk, from) ||
	       (from == STATE_FIN_WAIT2 && has_flag(sk, SOCK_DEAD));
}

/* A reset of ours may still follow, and be the cause. */
static __always_inline bool is_unexplained(const void *sk, u8 from, u16 flags)
{
	if (from == STATE_SYN_SENT || flags & FLAG_RESET_SENT)
		return false;
	if (flags & FLAG_RESET_RECEIVED)
		return may_be_own_reset(sk, from);
	return !READ(s32, sk, sock, sk_err);
}

/*
 * While a process has the socket, an end without an error is its own doing:
 * close() with unread data, linger 0, disconnect. The kernel sends a reset then
 * (tcp_close(), tcp_disconnect()), though the process may be preempted before;
 * but linger 0 sends none when both FINs have been sent already. One number
 * beyond what was read is the peer's FIN.
 */
static __always_inline bool reset_follows(const void *sk, u8 from, u16 flags)
{
	if (has_flag(sk, SOCK_DEAD) || flags & FLAG_RESET_RECEIVED)
		return false;
	if (from != STATE_CLOSING && from != STATE_LAST_ACK)
		return true;
	return READ(u32, sk, tcp_sock, snd_nxt) !=
		       READ(u32, sk, tcp_sock, write_seq) ||
	       READ(u32, sk, tcp_sock, rcv_nxt) -
			       READ(u32, sk, tcp_sock, copied_seq) >
		       1;
}

/* Beside the record's flags: no reset can follow, and no error be the cause. */
#define ENDING_ORDERLY 1

static __always_inline u16 ending_of(const void *sk, u8 from, u16 flags)
{
	/* dropped without a word to the peer (tcp_close, tcp_disconnect) */
	if (READ_BITS(sk, tcp_sock, repair))
		return FLAG_REPAIR;
	if (left_timewait(sk, from, flags))
		return FLAG_TIME_WAIT | ENDING_ORDERLY;
	if (is_orderly(sk, from))
		return ENDING_ORDERLY;
	if (!is_unexplained(sk, from, flags))
		return 0;
	return reset_follows(sk, from, flags) ?
		       FLAG_UNEXPLAINED | FLAG_RESET_SENT :
		       FLAG_UNEXPLAINED;
}

/*
 * A socket's next connection is another one: the ports tell. An end by a reset
 * that was received, or that we have sent, is not remembered.
 */
static __always_inline void remember_end(const void *sk, struct conn *conn,
					 const struct tuple *t, u8 from,
					 u16 ending)
{
	bool explained = ending & (ENDING_ORDERLY | FLAG_REPAIR) ||
			 from == STATE_SYN_SENT ||
			 conn->flags & FLAG_RESET_SENT ||
			 (conn->flags & FLAG_RESET_RECEIVED &&
			  !(ending & FLAG_UNEXPLAINED));
	u64 key = (u64)sk;

	if (explained && !outlives(sk))
		return;
	conn->ended_from = explained ? 0 : from;
	conn->local_port = t->local_port;
	conn->remote_port = t->remote_port;
	ended.update(&key, conn);
}
