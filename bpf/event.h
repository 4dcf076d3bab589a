/* SPDX-License-Identifier: GPL-2.0-only
 *
 * The record that crosses from kernel to user space, and every number in it.
 *
 * This is its only definition: tracer/kernel/layout.py reads this text for
 * Python, and renders static assertions that are compiled with the programs,
 * so that a misread layout stops the compiler. One fixed size for all kinds,
 * because then a ring full of records is an array; a union or a second record
 * type would bring back a branch, and a Python call, per event.
 */

enum event_kind {
	EVENT_HANDSHAKE = 1,
	EVENT_FAILURE = 2,
	EVENT_CLOSE = 3,
	EVENT_RETRANSMIT = 4,
	EVENT_RESET = 5,
	EVENT_STATE = 6,
	EVENT_CALL = 7,    /* these two only when they are asked for */
	EVENT_SEGMENT = 8, /* a segment that arrived */
};

/* What an application called, and what it got is in event.error. */
enum call {
	CALL_SEND = 1,
	CALL_RECEIVE = 2,
};

enum role {
	ROLE_UNKNOWN = 0,
	ROLE_CLIENT = 1,
	ROLE_SERVER = 2,
};

/* The kernel's enum in include/net/tcp_states.h. */
enum tcp_state {
	STATE_ESTABLISHED = 1,
	STATE_SYN_SENT = 2,
	STATE_SYN_RECV = 3,
	STATE_FIN_WAIT1 = 4,
	STATE_FIN_WAIT2 = 5,
	STATE_TIME_WAIT = 6,
	STATE_CLOSE = 7,
	STATE_CLOSE_WAIT = 8,
	STATE_LAST_ACK = 9,
	STATE_LISTEN = 10,
	STATE_CLOSING = 11,
	STATE_NEW_SYN_RECV = 12,
};

enum retransmit_kind {
	RETRANSMIT_SYN = 1,
	RETRANSMIT_SYN_ACK = 2,
	RETRANSMIT_FAST = 3,
	RETRANSMIT_TIMEOUT = 4,
	RETRANSMIT_TAIL_LOSS_PROBE = 5,
	RETRANSMIT_FIN = 6,
	RETRANSMIT_MTU = 7, /* in smaller segments, for the path's sake */
};

/* Bits of event.flags. */
enum event_flag {
	FLAG_PARTIAL = 1, /* it existed before tracing started */
	FLAG_RESET_SENT = 2,
	FLAG_RESET_RECEIVED = 4,
	FLAG_NO_SYN = 8, /* connect() itself failed, before a SYN was sent */
	FLAG_FAST_OPEN = 16,
	FLAG_RESET_REASON = 32,      /* reset_reason holds the kernel's value */
	FLAG_HANDSHAKE_UNKNOWN = 64, /* no honest handshake time exists */
	FLAG_FAILED = 128,           /* a retransmission that never left */
	FLAG_REPAIR = 256,           /* restored or dropped by TCP_REPAIR */
	FLAG_NO_PORT = 512,          /* FLAG_NO_SYN, for want of a port */
	FLAG_GAP = 8192,             /* a change of state was not seen */
	FLAG_TIME_WAIT = 1024,       /* the end has left a timewait object */
	FLAG_BOUND = 2048,           /* bind() had chosen a client's port */
	FLAG_UNEXPLAINED = 16384,    /* a reset of ours may explain the end */
	FLAG_DEFERRED = 32768,       /* its SYN may have waited for a send() */
};

/*
 * Every record begins with this many bytes of struct event. A run that does not
 * ask for more (WHOLE_RECORDS) has no more: each cache line costs the kernel and
 * the reader some 40 ns.
 */
enum record {
	RECORD_BEGINNING = 248,
};

struct event {
	u64 time_ns;    /* CLOCK_MONOTONIC */
	u64 connection; /* number of the connection, 0: not tracked */
	u64 handshake_ns;
	u64 duration_ns;    /* since the first state we saw */
	u64 state_ns[12];   /* time in each state, by enum tcp_state */
	u64 sent_bytes;     /* payload the application handed to TCP */
	u64 received_bytes; /* payload received in order, read or not */
	u32 netns;          /* inode number of the network namespace */
	u32 srtt_us;
	u32 min_rtt_us;
	u32 segments; /* in this retransmission; FLAG_NO_PORT: failure.h */
	u32 retransmitted_segments; /* of the connection, so far */
	u32 sent_segments;
	u32 received_segments;
	u32 out_of_order_segments; /* these four only at the end, see pace.h */
	u32 busy_ms;
	u32 window_limited_ms;
	u32 buffer_limited_ms;
	u32 reset_reason;         /* the running kernel's enum sk_rst_reason */
	u32 unacknowledged_bytes; /* of sent_bytes, at the end */
	s32 error;   /* sk_err; a call's or sending's result; a backlog */
	u16 visited; /* one bit for each state passed through */
	u16 local_port;
	u16 remote_port;
	u16 flags;
	u8 local_address[16]; /* IPv4 as ::ffff:a.b.c.d; fe80::: see sock.h */
	u8 remote_address[16];
	u8 kind;
	u8 role;
	u8 family; /* 4 or 6 */
	u8 from_state;
	u8 to_state;
	u8 retransmit_kind;
	u8 attempt; /* retransmissions in a row, this one included */
	u8 call;
	u64 cgroup; /* from here on whole records only: id of the cgroup (v2) */
	u32 pid;    /* 0: not known */
	u32 initial_sequence;
	u32 peer_initial_sequence;
	u32 sequence;            /* first one of a retransmitted segment */
	u32 send_unacknowledged; /* from here on only for follow: */
	u32 send_next;           /* the variables of RFC 9293, 3.3.1, */
	u32 receive_next;        /* SND.UNA, SND.NXT and RCV.NXT, */
	u32 send_window;         /* in bytes, scaled */
	u32 receive_window;
	u32 congestion_window; /* in segments */
	u32 slow_start_threshold;
	u32 sent_data_segments;
	u32 received_data_segments;
	u32 acknowledgement; /* of the segment that arrived; sequence too */
	u32 payload_bytes;
	s32 descriptor;  /* of the socket in its process, -1: not known */
	u8 process[16];  /* comm of pid */
	u8 control_bits; /* CWR to FIN, of the segment that arrived */
	u8 reserved[7];
};

/*
 * Cells of the counter array, one row a CPU. Transitions come first, at
 * from * 16 + to; the rest is counted whether or not a record gets through.
 */
enum counter {
	COUNTER_TRANSITIONS = 0,
	COUNTER_RETRANSMITTED = 256, /* + enum retransmit_kind */
	COUNTER_RETRANSMIT_FAILED = 264,
	COUNTER_RESETS_SENT = 265,
	COUNTER_RESETS_RECEIVED = 266,
	COUNTER_EVENTS_SENT = 267,
	COUNTER_EVENTS_LOST = 268,
	COUNTER_UNTRACKED = 269, /* the connection table was full */
	COUNTER_PARTIAL = 270,
	COUNTER_SYN_SENT = 271, /* these five: own network namespace, */
	COUNTER_NO_SYN = 272,   /* before any filter, for the audit */
	COUNTER_PASSIVE_OPENS = 273,
	COUNTER_ESTAB_RESETS = 274,
	COUNTER_RETRANS_SEGS = 275,
	COUNTER_RESCUED = 276,        /* skipped runs, compensated  */
	COUNTER_RESETS_SEEMING = 279, /* received, unless one of ours follows */
	COUNTER_UNREACHED =
		280, /* missed changes of state, known by later ones */
	COUNTER_EVENTS_REFUSED = 281, /* of those lost; told by the reader */
	COUNTER_UNRECORDED = 288,     /* + enum unrecorded * 3 + enum role */
	COUNTER_SYN_LEFT = 330,       /* left SYN_SENT after a SYN; own netns */
	COUNTER_RESETS_NEVER = 352,   /* so many of those were not */
	COUNTER_CELLS = 384,
};

/*
 * What happened to a connection that is traced and is in no record, because
 * the ring or the connection table was full. The sums over all records and
 * these cells are exact.
 */
enum unrecorded {
	UNRECORDED_HANDSHAKE = 0,
	UNRECORDED_FAILURE = 1,
	UNRECORDED_CLOSE = 2,
	UNRECORDED_RESET_SENT = 3,
	UNRECORDED_RESET_RECEIVED = 4,
	UNRECORDED_RETRANSMITTED = 4, /* + enum retransmit_kind: segments */
	UNRECORDED_RETRANSMIT_FAILED = 12,
	UNRECORDED_NOTHING = 13, /* what only follow asks for; not counted */
};
