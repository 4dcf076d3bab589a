/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Listeners are no connections, but tell whose connections come. CLOSE->LISTEN
 * runs in the context of listen(), so that the owner of a port is known; those
 * that were there before, the loader finds in /proc.
 */

static __always_inline bool is_listener(u8 from, u8 to)
{
	return to == STATE_LISTEN ||
	       (from == STATE_LISTEN && to == STATE_CLOSE);
}

/* listen() is called by the owner; several sockets can share a port. */
static __always_inline void note_listener(u32 netns, u16 local_port, u8 to)
{
	u64 key = listener_key(netns, local_port);
	struct owner *owner = listeners.lookup(&key);
	struct owner fresh = { .sockets = 1 };

	if (to == STATE_LISTEN && owner) {
		__sync_fetch_and_add(&owner->sockets, 1);
	} else if (to == STATE_LISTEN) {
		fresh.pid = bpf_get_current_pid_tgid() >> 32;
		bpf_get_current_comm(fresh.process, sizeof(fresh.process));
		listeners.update(&key, &fresh);
	} else if (owner && owner->sockets > 1) {
		__sync_fetch_and_add(&owner->sockets, -1);
	} else if (owner) {
		listeners.delete(&key);
	}
}

static __always_inline void listener(const void *sk, const struct tuple *t,
				     u8 from, u8 to)
{
	u32 netns = read_netns(sk);

	if (to == STATE_LISTEN)
		note_listener(netns, t->local_port, to);
	if (wanted(sk, t, ROLE_SERVER, netns, false))
		count(transition_cell(from, to), 1);
	if (to == STATE_CLOSE)
		note_listener(netns, t->local_port, to);
}
