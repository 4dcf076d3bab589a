/* SPDX-License-Identifier: GPL-2.0-only
 *
 * What the programs share: the ring, the counters, the connection table.
 *
 * A connection is keyed by the address of its socket, never by its tuple: the
 * source port is not known yet when a client's connection begins. The table
 * pairs events in the kernel, so that a lost record costs one line and not a
 * wrong duration.
 */

#define BPF_F_MMAPABLE 1024

/* The first number that SplitMix64 gives, made odd. */
#define HASH_FACTOR 0xe220a8397b1dcdafULL

/*
 * Before Linux 6.15 a server's socket has no peer yet at LISTEN->SYN_RECV
 * (inet_csk_clone_lock fires the tracepoint first). Whether such a connection
 * is wanted is decided at its next change of state.
 */
enum peer {
	PEER_KNOWN = 0,
	PEER_UNKNOWN = 1,
	PEER_LEARNT = 2, /* the record of its beginning is due */
};

/*
 * A connection's entry: four cache lines, of which the last one is for what
 * not every run asks for.
 */
struct conn {
	u64 socket;    /* in a slot (slots.h): whose it is, 0: nobody's */
	u32 displaced; /* in a slot: 1: it is not the one that was tried first */
	u32 away;     /* in a slot: displaced ones for which it was the first */
	u64 since_ns; /* entry into the present state */
	u64 start_ns;
	union {
		u64 cgroup;  /* WITH_OWNERS */
		u64 tallied; /* WITH_TALLIES: what of it was counted, TALLIED_ */
	};
	u16 visited;
	u16 flags;
	u8 role;
	u8 attempt;
	u8 ended_from; /* once ended: state of an end that a reset may explain */
	u8 told;       /* of the application's calls, see call.c */
	u32 netns;
	u8 peer;        /* enum peer */
	u8 began;       /* BEGAN_ bits */
	u8 first_error; /* sk_err when it began: the last connection's */
	u8 state;       /* entered last, 0: none was seen */
	u16 ending;     /* flags of its end, see end.h */
	u16 local_port; /* when it began; once ended, to know the socket by */
	u16 remote_port;
	u8 reserved[2];

	u64 state_ns[12];
	u64 id;
	u64 handshake_ns;
	u32 retransmitted_segments;
	u32 retransmit_sequence; /* of the latest one */
	u32 foreign_rtt_us;      /* a round trip not its own, see handshake.h */
	u32 reset_reason;

	u64 listener; /* the socket that it came to, 0: not known */
	u32 initial_sequence;
	u32 peer_initial_sequence;
	u32 pid;
	s32 descriptor; /* of the socket in its process, -1: not known */
	char process[16];
	u8 unused[24];
};

/* Up to here a slot's own; up to here what every run needs. */
#define CONN_SLOT __builtin_offsetof(struct conn, since_ns)
#define CONN_HEAD __builtin_offsetof(struct conn, listener)

_Static_assert(__builtin_offsetof(struct conn, state_ns) == 64 &&
		       CONN_HEAD == 192 && sizeof(struct conn) == 256,
	       "cache lines");

/* Bits of conn.began. */
#define BEGAN_WITH_ERROR 1 /* an ICMP error was there before: not its own */
#define BEGAN_BY_REPAIR 2  /* restored: no SYN counts among its bytes */
#define BEGAN_TIMED 4      /* start_ns is when a deferred SYN left */
#define BEGAN_WITH_PORT 16 /* it had a port: bound */
#define BEGAN_OPEN 8       /* opened without having been ESTABLISHED */

/* A process: its thread group, as read by read_process(). */
struct process {
	u64 start_ns; /* tells it from another one with its number */
	u64 files;    /* its table of descriptors */
	u64 leader;   /* the thread that has its name */
	u32 tgid;
	u32 pid; /* as tcptrace's own pid namespace numbers it, 0: not there */
	char name[16];
};

/* How a listening socket's process is known, see listen.h. */
enum evidence {
	OWNER_LISTENED = 1, /* it called listen() */
	OWNER_HOLDS = 2,    /* nobody else held the socket at the start */
	OWNER_SHARED = 3,   /* several held it at the start */
	OWNER_SERVED = 4,   /* it closed the socket's connections */
	OWNER_SEVERAL = 5,  /* several did */
};

struct owner {
	struct process process; /* of several: the name they share, or none */
	u64 since_ns;
	s32 descriptor; /* of the socket in the process, -1: not held */
	u8 evidence;
	u8 asked;       /* --pid: the process asked for holds it */
	u8 with_others; /* somebody else was seen to wait for it */
	u8 reserved;
	u64 accepted_ns; /* a thread of it waited first in accept(), 0: never */
	u64 shared_ns;   /* somebody else could accept, too, 0: never */
};

/* A process that owns listening sockets, while it lives. */
struct server {
	u64 start_ns;
	u64 forked_ns; /* the latest time, 0: never */
};

struct cells {
	u64 cell[COUNTER_CELLS];
};

/*
 * Where one entry is said, tracer/kernel/sizes.py has the number: the size
 * of a table is nothing that has to be compiled.
 */
BPF_RINGBUF_OUTPUT(events, 1);
BPF_F_TABLE("array", u32, struct cells, counters, 1, BPF_F_MMAPABLE);
/* what is counted of busy places, and how, see tally.h */
BPF_F_TABLE("array", u32, struct place, places, 1, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct tally, tallies, 1, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct stays, stays, 1, BPF_F_MMAPABLE);
/*
 * Connections, by the addresses of their sockets: in slots and displaced, or
 * all in conns, see slots.h. The slots are mappable to begin with a page.
 */
BPF_F_TABLE("array", u32, struct conn, slots, 1, BPF_F_MMAPABLE);
BPF_F_TABLE("hash", u64, u32, displaced, 1, ON_DEMAND);
/* never written: what an entry of conns is before it is filled */
BPF_F_TABLE("array", u32, struct conn, blanks, 1, 0);
/*
 * All entries are allocated at the start: one by one they cost a connection
 * some 700 ns more, and the kernel refills its store in interrupts besides.
 */
BPF_F_TABLE("hash", u64, struct conn, conns, 1, 0);
/* sockets that found no room, so that each is counted once */
BPF_F_TABLE("hash", u64, u8, untracked, 16384, ON_DEMAND);
/* sockets that listen, by their address; how many do so on a port */
BPF_F_TABLE("hash", u64, struct owner, listeners, 1, ON_DEMAND);
BPF_F_TABLE("hash", u64, u32, listening, 1, ON_DEMAND);
BPF_F_TABLE("hash", u32, struct server, servers, 1, ON_DEMAND);
/* ports of what had been accepted before the start, see holders.c */
BPF_F_TABLE("hash", u64, u8, accepted, 4096, 0);
/* and those that clients had called bind() for */
BPF_F_TABLE("hash", u64, u8, bound, 2048, 0);
/*
 * Ended connections of which more is to be told: ends that a reset of ours may
 * explain (end.h) and, for follow, sockets that are still open (call.c). The
 * oldest give way.
 */
BPF_F_TABLE("lru_hash", u64, struct conn, ended, 4096, 0);

/*
 * Each CPU has two rows. Row 0 is the first program's of state changes, which
 * counts more than all others: since Linux 6.1, and casts are younger, none runs
 * twice at once on a CPU, so that nobody comes in between. The others share row
 * 1 by atomic additions, since a softirq can interrupt a program between load
 * and store, and run another one that counts in the same cell.
 */
#define ROW_SHARED 1
#define COUNTS_ALONE (CASTS && OF_STATES && !IS_SECOND)
/* The second program's number is that row's. */
#define COUNTED_IN (CASTS && OF_STATES ? PROGRAM_NUMBER : ROW_SHARED)

static __always_inline struct cells *counter_row(u32 which)
{
	u32 row = bpf_get_smp_processor_id() * 2 + which;

	return counters.lookup(&row);
}

static __always_inline void count(u32 cell, u64 n)
{
	struct cells *row = counter_row(COUNTED_IN);
	u64 index = cell;

	/* the compiler knows the limit and drops the check; Linux 5.10 does not */
	asm volatile("" : "+r"(index));
	if (row && index < COUNTER_CELLS) {
		if (COUNTS_ALONE)
			*(volatile u64 *)&row->cell[index] += n;
		else
			__sync_fetch_and_add(&row->cell[index], n);
	}
}

/* The ring or the connection table was full: what has no record is counted. */
static __always_inline void count_unrecorded(u8 what, u8 role, u64 n)
{
	if (what < UNRECORDED_NOTHING && role <= ROLE_SERVER)
		count(COUNTER_UNRECORDED + what * 3 + role, n);
}

static __always_inline u32 transition_cell(u8 from, u8 to)
{
	return COUNTER_TRANSITIONS + (from & 15) * 16 + (to & 15);
}
