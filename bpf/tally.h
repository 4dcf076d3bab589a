/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Connections of busy places (places.h) are counted here, where a record for
 * each would cost more than all else: those whose handshake was timed, and that
 * ended in order. Whatever is out of the ordinary has its record.
 *
 * The end of a connection is counted only if its handshake was. And none is
 * counted that began before the reader last looked at all sockets: of those it
 * has counted a part by then (tracer/model/ledger.py). While it looks, all have
 * records, which have times.
 *
 * Each CPU counts by itself, without atomic instructions, and in the first
 * program alone: see begin_count(). That the reader chose the
 * places was the alternative: clients change their address within a tenth of a
 * second when they run out of ports, and it looks later than that.
 */

#define CAN_TALLY (WITH_TALLIES && !IS_SECOND)

/* Whatever else a connection's flags say makes it out of the ordinary. */
#define TALLIED_FLAGS (FLAG_FAST_OPEN | FLAG_DEFERRED)

/* A product has what differs above in its upper half alone. */
#define SHARE(word, factor) (((word) ^ (word) >> 32) * (factor))

/* The first of the two rows that are a place's own, among those of a CPU. */
static __always_inline u32 place_hash(const struct place *place)
{
	u64 first = place->netns | (u64)place->port << 32 |
		    (u64)place->role << 48;
	u64 hash = SHARE(first, HASH_FACTOR);

	hash += SHARE(place->local[0], 0x6e789e6aa1b965f5ULL);
	hash += SHARE(place->local[1], 0x06c45d188009454fULL);
	hash += SHARE(place->remote[0], 0xf88bb8a8724c81edULL);
	hash += SHARE(place->remote[1], 0x1b39896a51a8749bULL);
	return hash >> 40 & (TALLY_ROWS - 1);
}

/* Without branches, each of which the verifier would follow. */
static __always_inline bool is_place(const struct place *row,
				     const struct place *place)
{
	u64 differing = row->netns ^ place->netns;

	differing |= row->port ^ place->port;
	differing |= row->role ^ place->role;
	differing |= row->local[0] ^ place->local[0];
	differing |= row->local[1] ^ place->local[1];
	differing |= row->remote[0] ^ place->remote[0];
	differing |= row->remote[1] ^ place->remote[1];
	return !differing;
}

/* The number of this CPU's row of a busy place, NO_ROW where it has none. */
#define NO_ROW 0xffffffff

static __always_inline bool is_busy(u32 at, const struct place *place)
{
	const struct place *row = places.lookup(&at);

	return row && row->steps == TALLY_BUSY && is_place(row, place);
}

/*
 * Notes a step of a place that is not busy yet. Of two that want the same row
 * the one stays that has more of them.
 */
static __always_inline void note_place(const struct place *place, u32 first)
{
	struct place *row = places.lookup(&first);

	if (row && row->steps >= TALLY_BUSY) {
		first ^= 1;
		row = places.lookup(&first);
	}
	if (!row || row->steps >= TALLY_BUSY)
		return;
	if (!row->steps) {
		u32 serial = row->serial + 1;

		*row = *place;
		row->serial = serial;
	}
	row->steps += is_place(row, place) ? 1 : -1;
}

static __always_inline void fill_place(struct place *place,
				       const struct conn *conn,
				       const struct tuple *t)
{
	bool server = conn->role == ROLE_SERVER;

	__builtin_memset(place, 0, sizeof(*place));
	place->netns = conn->netns;
	place->role = conn->role;
	place->port = server ? t->local_port : t->remote_port;
	__builtin_memcpy(place->local, t->local, 16);
	if (!server)
		__builtin_memcpy(place->remote, t->remote, 16);
}

/* The row of a connection's place if that is busy; else its step is noted. */
static __always_inline u32 find_row(const void *sk, const struct conn *conn)
{
	struct tuple tuple = {};
	struct place place;
	u32 first;

	read_tuple(sk, &tuple);
	fill_place(&place, conn, &tuple);
	first = bpf_get_smp_processor_id() * TALLY_ROWS + place_hash(&place);
	if (is_busy(first, &place))
		return first;
	if (is_busy(first ^ 1, &place))
		return first ^ 1;
	note_place(&place, first);
	return NO_ROW;
}

static __always_inline void add_to(const struct stays *here,
				   struct tally *tally, u32 which, u64 ns)
{
	add_time(here, tally->counts + which * TALLY_BUCKETS,
		 &tally->sum_ns[which], &tally->most_ns[which], ns);
}

/*
 * What this CPU counts by; the reader sees that it does. Before Linux 6.1 a
 * softirq that comes in between finds it busy, and makes a record.
 */
static __always_inline struct stays *begin_count(void)
{
	u32 cpu = bpf_get_smp_processor_id();
	struct stays *here = stays.lookup(&cpu);

	if (!here || (!CASTS && *(volatile u64 *)&here->busy))
		return NULL;
	*(volatile u64 *)&here->busy = 1;
	KEEP_ORDER();
	return here;
}

static __always_inline void end_count(struct stays *here)
{
	KEEP_ORDER();
	*(volatile u64 *)&here->busy = 0;
}

/* Returns whether a handshake is counted. at: the row of its place. */
static __always_inline bool count_handshake(struct stays *here, u32 at,
					    u64 handshake_ns, u64 now_ns)
{
	struct tally *tally = tallies.lookup(&at);

	if (!tally || !here->since_ns || now_ns < here->since_ns ||
	    handshake_ns >= TALLY_LIMIT_NS)
		return false;
	add_to(here, tally, TALLY_HANDSHAKE, handshake_ns);
	KEEP_ORDER(); /* the reader looks where there were steps */
	tally->steps++;
	return true;
}

/*
 * What of a connection is counted, and needs no record. Above these bits stands
 * the row of its handshake, and above that the row's serial number.
 */
#define TALLIED_HANDSHAKE 1
#define TALLIED_END 2

/* By way of memory, so that the verifier forgets how that came about. */
static __always_inline bool is_counted(const struct conn *conn, u64 what)
{
	return *(volatile u64 *)&conn->tallied & what;
}

static __always_inline void tally_handshake(const void *sk, struct conn *conn,
					    u64 now_ns)
{
	const struct place *row;
	struct stays *here;
	u32 at;

	if (!CAN_TALLY || conn->flags & ~TALLIED_FLAGS)
		return;
	here = begin_count();
	if (!here)
		return;
	at = find_row(sk, conn);
	row = places.lookup(&at);
	if (row && count_handshake(here, at, conn->handshake_ns, now_ns))
		conn->tallied = TALLIED_HANDSHAKE | at << 2 |
				(u64)row->serial << 32;
	end_count(here);
}

/* Most often the row of the handshake: there is no need to look for it. */
static __always_inline u32 row_of_end(const void *sk, const struct conn *conn)
{
	u32 at = (u32)conn->tallied >> 2;
	const struct place *row = places.lookup(&at);

	if (at - bpf_get_smp_processor_id() * TALLY_ROWS < TALLY_ROWS && row &&
	    row->steps == TALLY_BUSY && row->serial == conn->tallied >> 32)
		return at;
	return find_row(sk, conn);
}

static __always_inline void count_states(struct stays *here,
					 const struct conn *conn)
{
#pragma unroll
	for (u32 state = STATE_ESTABLISHED; state < 12; state++)
		if (state != STATE_CLOSE && state != STATE_LISTEN &&
		    *(volatile u16 *)&conn->visited & 1 << state)
			add_time(here, here->counts + state * TALLY_BUCKETS,
				 &here->sum_ns[state], &here->most_ns[state],
				 conn->state_ns[state]);
}

static __always_inline void count_figures(struct tally *tally, const void *sk,
					  const struct conn *conn)
{
	struct traffic traffic;
	struct pace pace;

	read_traffic(sk, conn, has_sent_fin(conn), &traffic);
	read_pace(sk, &pace);
	tally->figures[TALLY_SENT_BYTES] += traffic.sent;
	tally->figures[TALLY_RECEIVED_BYTES] += traffic.received;
	tally->figures[TALLY_SENT_SEGMENTS] += READ(u32, sk, tcp_sock,
						    segs_out);
	tally->figures[TALLY_RECEIVED_SEGMENTS] += READ(u32, sk, tcp_sock,
							segs_in);
	tally->figures[TALLY_OUT_OF_ORDER] += pace.out_of_order;
	tally->figures[TALLY_BUSY_MS] += pace.busy_ms;
	tally->figures[TALLY_WINDOW_MS] += pace.window_ms;
	tally->figures[TALLY_BUFFER_MS] += pace.buffer_ms;
}

static __always_inline bool count_end(struct stays *here, u32 at,
				      const void *sk, const struct conn *conn,
				      bool time_wait, u64 now_ns)
{
	struct tally *tally = tallies.lookup(&at);
	u64 duration_ns = now_ns - conn->start_ns;
	u64 srtt_ns = read_srtt(sk, conn) * 1000ULL;

	if (!tally || !here->since_ns || conn->start_ns < here->since_ns ||
	    duration_ns >= TALLY_LIMIT_NS || srtt_ns >= TALLY_LIMIT_NS ||
	    conn->state_ns[STATE_SYN_SENT] >= TALLY_LIMIT_NS) /* deferred */
		return false;
	add_to(here, tally, TALLY_DURATION, duration_ns);
	if (srtt_ns) /* 0 is no measurement */
		add_to(here, tally, TALLY_SRTT, srtt_ns);
	count_states(here, conn);
	count_figures(tally, sk, conn);
	tally->time_waits += time_wait;
	KEEP_ORDER();
	tally->steps++;
	return true;
}

static __always_inline void tally_end(const void *sk, struct conn *conn,
				      u16 ending, u64 now_ns)
{
	struct stays *here;

	if (!CAN_TALLY || !conn->tallied || conn->flags & ~TALLIED_FLAGS ||
	    (ending & ~FLAG_TIME_WAIT) != ENDING_ORDERLY)
		return;
	here = begin_count();
	if (!here)
		return;
	if (count_end(here, row_of_end(sk, conn), sk, conn,
		      ending & FLAG_TIME_WAIT, now_ns))
		conn->tallied |= TALLIED_END;
	end_count(here);
}
