/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Whose connection it is that came to a listening socket: the process that
 * serves, or nobody. listen.h says how that becomes known.
 */

/* *listener becomes the socket by which it was found, 0 for none. */
static __always_inline struct owner *find_owner(const void *sk, u64 *listener)
{
	struct owner *owner;

	*listener = (u64)read_listener(sk);
	owner = listeners.lookup(listener);
	if (owner)
		return owner;
	*listener = (u64)sk; /* one that is about to listen, or to stop */
	owner = listeners.lookup(listener);
	if (!owner)
		*listener = 0;
	return owner;
}

/* How often a file is held, by tables of descriptors and by waiting threads. */
static __always_inline u64 count_holders(u64 file)
{
	if (HAVE(file, f_ref__refcnt)) /* since Linux 6.13; one less */
		return READ_AT(u64, file, file, f_ref__refcnt) + 1;
	return READ_AT(u64, file, file, f_count);
}

static __always_inline bool has_forked_since(const struct owner *owner)
{
	u32 tgid = owner->process.tgid;
	struct server *server = servers.lookup(&tgid);

	return !server || server->forked_ns > owner->since_ns;
}

/* include/linux/wait.h */
#define WQ_FLAG_EXCLUSIVE 1
#define MAX_WAITS (CASTS ? 16 : 4)

/* 1 or 0, without a branch: each would double what the verifier looks at. */
static __always_inline u64 equal(u64 a, u64 b)
{
	u64 differing = a ^ b;

	asm volatile("" : "+r"(differing));
	return (~(differing | -differing)) >> 63;
}

/* A process's waits for a listener. */
struct waits {
	u64 holding;   /* so many hold the socket's file */
	u64 accepting; /* the first of all in accept(), who is woken first */
	u64 of_others; /* somebody else waits, too */
};

/*
 * accept() holds what other threads could close, poll() and select() whatever
 * they wait for, epoll nothing. Behind the last wait comes the head again, from
 * which on nothing counts.
 */
static __always_inline void count_waits(u64 listener, u32 tgid, u64 threads,
					struct waits *waits)
{
	u64 head = READ_AT(u64, listener, sock, sk_wq) +
		   OFFSET(socket_wq, wait__head);
	u64 node = head, counts = 1, is_first = 1;

#pragma clang loop unroll(disable)
	for (u32 i = 0; i < MAX_WAITS; i++) {
		u64 entry, task, accepts, own;

		node = READ_WORD(node);
		counts &= ~equal(node, head);
		entry = node - OFFSET(wait_queue_entry, entry);
		accepts = READ_AT(u32, entry, wait_queue_entry, flags) &
			  WQ_FLAG_EXCLUSIVE;
		task = READ_AT(u64, entry, wait_queue_entry, private);
		task = (task & -accepts) |
		       (READ_AT(u64, task, poll_wqueues, polling_task) &
			(accepts - 1));
		own = counts &
		      equal(READ_AT(u32, task, task_struct, tgid), tgid);
		waits->of_others |= counts & ~own;
		waits->holding += own & (threads | ~accepts);
		waits->accepting |= own & accepts & is_first;
		is_first &= ~(counts & accepts);
	}
}

/* Beside the process's own threads: clone() with CLONE_FILES makes such ones. */
static __always_inline bool others_share_table(const struct process *p,
					       u32 tasks)
{
	u64 leader = p->leader;
	u64 signal = READ_AT(u64, leader, task_struct, signal);

	return HAVE(signal_struct, nr_threads) &&
	       READ_AT(u32, signal, signal_struct, nr_threads) < tasks;
}

#define BURST_NS 100000000

/*
 * A thread that was woken in accept() holds the socket for a while and waits no
 * more. Such ones are taken for the process's own in a burst: while there is
 * something to accept, for BURST_NS from when the first that waited was its own,
 * as many as there are. Unless it has forked, or somebody else was seen to wait.
 */
static __always_inline bool accepts_in_burst(const struct owner *owner,
					     u64 listener,
					     const struct waits *waits,
					     u64 now_ns)
{
	if (now_ns - owner->accepted_ns > BURST_NS || owner->with_others ||
	    owner->evidence == OWNER_SERVED || has_forked_since(owner))
		return false;
	return waits->accepting || READ_AT(u32, listener, sock, sk_ack_backlog);
}

#define SHARED_NS 1000000

/*
 * Only this process can accept from the socket: it lives, holds the socket,
 * and all that hold it besides are waits of its own. To look who waits takes some
 * 500 ns, since other CPUs write what is read. So where others could accept, too,
 * that stands for SHARED_NS; not with threads, which come and go in accept().
 */
static __always_inline bool is_only_server(struct owner *owner, u64 listener,
					   u64 now_ns)
{
	const struct process *p = &owner->process;
	u64 files = p->files;
	u64 file = read_file((const void *)listener);
	struct waits waits = {};
	u64 holders;
	u32 tasks;

	if (!is_alive(p) || !holds_file(files, owner->descriptor, file))
		return false;
	tasks = READ_AT(u32, files, files_struct, count);
	if (tasks > 1 && others_share_table(p, tasks))
		return false;
	holders = count_holders(file);
	if (holders <= 1)
		return true;
	if (now_ns - owner->shared_ns < SHARED_NS)
		return false;
	count_waits(listener, p->tgid, tasks > 1, &waits);
	owner->with_others |= waits.of_others;
	if (waits.accepting)
		owner->accepted_ns = now_ns;
	if (holders <= 1 + waits.holding ||
	    (tasks > 1 && accepts_in_burst(owner, listener, &waits, now_ns)))
		return true;
	if (tasks <= 1)
		owner->shared_ns = now_ns;
	return false;
}

/* The name can be known when the number is not. */
static __always_inline void name_server(struct conn *conn, const void *sk)
{
	struct owner *owner = find_owner(sk, &conn->listener);
	bool only;

	if (!owner)
		return;
	only = is_only_server(owner, conn->listener, conn->start_ns);
	if (only) {
		read_name(&owner->process);
		conn->pid = owner->process.pid;
	}
	if (only || owner->evidence >= OWNER_SHARED)
		__builtin_memcpy(conn->process, owner->process.name, 16);
}
