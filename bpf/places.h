/* SPDX-License-Identifier: GPL-2.0-only
 *
 * The tables in which connections of busy places are counted, see tally.h: what
 * crosses from kernel to user space beside the records, and back.
 *
 * This is their only definition: tracer/kernel/layout.py reads this text, too.
 */

enum tally_limit {
	TALLY_BUCKETS = 192,   /* the first ones of tracer/model/histogram.py */
	TALLY_CELLS = 1792,    /* of times below 2^32 ns, see times.h */
	TALLY_BUSY = 32,       /* steps with which a place is busy */
	TALLY_LEAVING = 65535, /* the reader takes its room for others */
};

/* What is counted of a connection beside its states, in this order. */
enum tally_time {
	TALLY_HANDSHAKE = 0,
	TALLY_DURATION = 1,
	TALLY_SRTT = 2,
};

/* In the order of FIGURES in tracer/ingest/figures.py. */
enum tally_figure {
	TALLY_SENT_BYTES = 0,
	TALLY_RECEIVED_BYTES = 1,
	TALLY_SENT_SEGMENTS = 2,
	TALLY_RECEIVED_SEGMENTS = 3,
	TALLY_OUT_OF_ORDER = 4,
	TALLY_BUSY_MS = 5,
	TALLY_WINDOW_MS = 6,
	TALLY_BUFFER_MS = 7,
};

/*
 * A place is a service, by its address and port, or clients of one, by their
 * address, too. Each CPU has rows of its own, two for a hash. Who is not busy
 * yet gives way to others; who is stays, until the reader sees nothing of it any
 * more.
 */
struct place {
	u32 netns;
	u16 port; /* the service's */
	u8 role;
	u8 reserved;
	u64 local[2];  /* addresses as in struct tuple */
	u64 remote[2]; /* 0 for a service */
	u32 steps;     /* those of others taken off, TALLY_BUSY at most */
	u32 serial;    /* of whose row it is now */
};

/* The row for each row of places. It only ever grows, until that one is free. */
struct tally {
	u64 steps; /* handshakes and ends */
	u64 time_waits;
	u64 figures[8]; /* of ended connections, by enum tally_figure */
	u64 sum_ns[3];  /* by enum tally_time */
	u64 most_ns[3];
	u32 counts[576]; /* likewise, TALLY_BUCKETS each */
};

/* Times in each state, of all places; and what a CPU counts by. */
struct stays {
	u64 since_ns; /* the reader's: what began before is not counted, 0: nothing */
	u64 busy;       /* the CPU counts just now */
	u64 sum_ns[12]; /* by enum tcp_state */
	u64 most_ns[12];
	u64 edges[1792];  /* of a cell: bucket, and where the next one begins */
	u32 counts[2304]; /* by enum tcp_state, TALLY_BUCKETS each */
};
