/* SPDX-License-Identifier: GPL-2.0-only
 *
 * iter/task_file (meta, task, descriptor, file)
 *
 * Runs once, when everything else is attached: for each open file of each
 * process in tcptrace's pid namespace, in the loader's context. Tells who holds
 * the sockets that listened before the start, which ports are services' of
 * which no socket listens any more, and which bind() holds. /proc was the
 * alternative: it takes a thousand times as long, and knows no socket's address.
 */

#define S_IFMT 0170000
#define S_IFSOCK 0140000

struct task_file {
	u64 meta;
	u64 task; /* 0 at the end */
	u32 descriptor;
	u64 file;
};

/* The TCP socket behind a file, 0 if it is none. */
static __always_inline u64 socket_of(u64 file)
{
	u64 inode = READ(u64, file, file, f_inode);
	u64 socket = READ(u64, file, file, private_data);
	u64 sk;

	if ((READ(u16, inode, inode, i_mode) & S_IFMT) != S_IFSOCK)
		return 0;
	sk = READ(u64, socket, socket, sk);
	if (READ(u16, sk, sock_common, skc_family) != AF_INET &&
	    READ(u16, sk, sock_common, skc_family) != AF_INET6)
		return 0;
	return READ(u16, sk, sock, sk_protocol) == IPPROTO_TCP ? sk : 0;
}

static __always_inline void note_holder(u64 sk, const struct process *p,
					s32 descriptor)
{
	struct owner fresh = { .process = *p,
			       .evidence = OWNER_HOLDS,
			       .since_ns = bpf_ktime_get_ns(),
			       .descriptor = descriptor };
	struct owner *owner = listeners.lookup(&sk);

	if (!owner) {
		listeners.update(&sk, &fresh);
		watch_process(p);
	} else if (!same_process(&owner->process, p) &&
		   owner->evidence != OWNER_LISTENED) {
		owner->evidence = OWNER_SHARED;
		keep_common_name(&owner->process, p);
	}
#ifdef FILTER_PID
	owner = listeners.lookup(&sk);
	if (owner && p->pid == FILTER_PID)
		owner->asked = 1;
#endif
}

/*
 * Whether the first socket on the port got it from bind(): connect() leaves -1
 * there, and passes over all other ports (__inet_hash_connect()).
 */
static __always_inline bool is_bound(u64 sk)
{
	u64 bucket = READ(u64, sk, inet_connection_sock, icsk_bind_hash);

	return HAVE(inet_connection_sock, icsk_bind_hash) && bucket &&
	       HAVE(inet_bind_bucket, fastreuse) &&
	       READ(u8, bucket, inet_bind_bucket, fastreuse) < 0x80;
}

/* What accept() gave has its listener's backlog. */
static __always_inline void note_port(u64 sk)
{
	u64 key = listener_key(read_netns((const void *)sk),
			       bpf_ntohs(READ(u16, sk, inet_sock, inet_sport)));
	u8 one = 1;

	if (READ(u32, sk, sock, sk_max_ack_backlog))
		accepted.update(&key, &one);
	else if (is_bound(sk))
		bound.update(&key, &one);
}

int on_holders(struct task_file *ctx)
{
	struct process process = {};
	u64 task = ctx->task, file = ctx->file, sk;

	if (!task || !file)
		return 0;
	sk = socket_of(file);
	if (!sk)
		return 0;
	if (READ(u8, sk, sock_common, skc_state) != STATE_LISTEN)
		note_port(sk);
	else if (WITH_OWNERS && read_process((const void *)task, &process))
		note_holder(sk, &process, ctx->descriptor);
	return 0;
}
