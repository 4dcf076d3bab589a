/* SPDX-License-Identifier: GPL-2.0-only
 *
 * The one way out: reserve, fill, submit. A full ring is counted. The reader
 * comes by on a timer, since a wake-up for each record would cost more than all
 * the rest; it is woken when so many have come in the meantime that the ring is
 * filling up.
 */

#define BPF_RB_FORCE_WAKEUP 2

_Static_assert(__builtin_offsetof(struct event, cgroup) == RECORD_BEGINNING,
	       "where the record's beginning ends");

#define RECORD_BYTES (WHOLE_RECORDS ? sizeof(struct event) : RECORD_BEGINNING)

static __always_inline struct event *reserve(u8 kind, u64 now_ns,
					     const struct tuple *t)
{
	struct event *e = events.ringbuf_reserve(RECORD_BYTES);

	if (!e) {
		count(COUNTER_EVENTS_LOST, 1);
		return NULL;
	}
	__builtin_memset(e, 0, RECORD_BEGINNING);
	if (WHOLE_RECORDS) {
		__builtin_memset((u8 *)e + RECORD_BEGINNING, 0,
				 sizeof(*e) - RECORD_BEGINNING);
		e->descriptor = -1;
	}
	e->kind = kind;
	e->time_ns = now_ns;
	__builtin_memcpy(e->local_address, t->local, 16);
	__builtin_memcpy(e->remote_address, t->remote, 16);
	add_interface(e->local_address, t, t->local);
	add_interface(e->remote_address, t, t->remote);
	e->local_port = t->local_port;
	e->remote_port = t->remote_port;
	e->family = t->family;
	return e;
}

static __always_inline void fill_identity(struct event *e,
					  const struct conn *conn)
{
	e->connection = conn->id;
	e->netns = conn->netns;
	e->role = conn->role;
	e->flags = conn->flags;
	e->visited = conn->visited;
	e->handshake_ns = conn->handshake_ns;
	e->retransmitted_segments = conn->retransmitted_segments;
	e->reset_reason = conn->reset_reason;
	if (!(conn->flags & FLAG_PARTIAL))
		e->duration_ns = e->time_ns - conn->start_ns;
	if (!WHOLE_RECORDS)
		return;
	e->cgroup = conn->cgroup;
	e->pid = conn->pid;
	__builtin_memcpy(e->process, conn->process, 16);
	e->initial_sequence = conn->initial_sequence;
	e->peer_initial_sequence = conn->peer_initial_sequence;
}

/*
 * Each CPU wakes the reader when it has sent its share of a quarter of the ring;
 * a few times, as a softirq can count between our look and our own count. (How
 * full the ring is would be better to know: bcc has no bpf_ringbuf_query().)
 */
static __always_inline u64 wake_up(const struct cells *row)
{
	if (row && (row->cell[COUNTER_EVENTS_SENT] & WAKE_MASK) < 4)
		return BPF_RB_FORCE_WAKEUP;
	return BPF_RB_NO_WAKEUP;
}

static __always_inline void submit(struct event *e)
{
	struct cells *row = counter_row(ROW_SHARED); /* all programs' share */

	events.ringbuf_submit(e, wake_up(row));
	if (row)
		__sync_fetch_and_add(&row->cell[COUNTER_EVENTS_SENT], 1);
}

/* The end of a connection, or of an attempt at one. */
static __always_inline void emit_end(const void *sk, const struct conn *conn,
				     const struct tuple *t, u8 from, u16 ending,
				     u64 now_ns)
{
	bool failed = !was_open(sk, conn, from);
	struct event *e;
	struct traffic traffic;
	struct pace pace;

	e = reserve(failed ? EVENT_FAILURE : EVENT_CLOSE, now_ns, t);
	if (!e) {
		count_unrecorded(failed ? UNRECORDED_FAILURE : UNRECORDED_CLOSE,
				 conn->role, 1);
		return;
	}
	fill_identity(e, conn);
	e->from_state = from;
	e->to_state = STATE_CLOSE;
	e->flags |= ending & ~ENDING_ORDERLY;
	/* an orderly end has no error: what stands there is an older one */
	if (!(ending & ENDING_ORDERLY))
		e->error = READ(s32, sk, sock, sk_err);
	__builtin_memcpy(e->state_ns, conn->state_ns, sizeof(e->state_ns));
	e->sent_segments = READ(u32, sk, tcp_sock, segs_out);
	e->received_segments = READ(u32, sk, tcp_sock, segs_in);
	if (failed) {
		fill_failure(e, sk, conn, t);
	} else {
		read_traffic(sk, conn, has_sent_fin(conn), &traffic);
		e->sent_bytes = traffic.sent;
		e->received_bytes = traffic.received;
		e->unacknowledged_bytes = traffic.unacknowledged;
		fill_round_trips(e, sk, conn);
		read_pace(sk, &pace);
		e->out_of_order_segments = pace.out_of_order;
		e->busy_ms = pace.busy_ms;
		e->window_limited_ms = pace.window_ms;
		e->buffer_limited_ms = pace.buffer_ms;
	}
	fill_position(e, sk, conn);
	submit(e);
}
