/* SPDX-License-Identifier: GPL-2.0-only
 *
 * What the audit compares with the kernel's own counters of SYNs, accepted
 * connections and resets: changes of state in tcptrace's network namespace,
 * before any filter.
 */

/* A socket that TCP_REPAIR restores sends no SYN, and the kernel counts none. */
static __always_inline u32 audit_attempt(const void *sk, u8 to)
{
	if (READ_BITS(sk, tcp_sock, repair))
		return 0;
	if (to == STATE_SYN_SENT)
		return COUNTER_SYN_SENT;
	return to == STATE_CLOSE && !READ(u32, sk, tcp_sock, segs_out) ?
		       COUNTER_NO_SYN :
		       COUNTER_SYN_LEFT;
}

static __always_inline void audit(u32 netns, u32 cell)
{
	if (netns == OWN_NETNS)
		count(cell, 1);
}

static __always_inline void audit_transition(const void *sk, u8 from, u8 to)
{
	u32 cell = 0;

	if (to == STATE_SYN_SENT || from == STATE_SYN_SENT)
		cell = audit_attempt(sk, to);
	else if (to == STATE_SYN_RECV && from == STATE_LISTEN)
		cell = COUNTER_PASSIVE_OPENS;
	else if (to == STATE_CLOSE &&
		 (from == STATE_ESTABLISHED || from == STATE_CLOSE_WAIT))
		cell = COUNTER_ESTAB_RESETS;
	if (cell)
		audit(read_netns(sk), cell);
}
