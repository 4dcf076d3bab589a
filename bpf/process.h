/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Processes: who calls, by which number and name, and whether it still lives.
 *
 * A process is a thread group. Its name is its leader's, since threads name
 * themselves (a Java program has sixty). Kernel threads work for others and
 * are nobody. bpf_get_ns_current_pid_tgid() was the alternative for numbers:
 * it knows none in the namespaces below its own.
 */

/* include/linux/sched.h */
#define PF_KTHREAD 0x00200000

#ifdef PID_NAMESPACE
#define MAX_PID_LEVELS 8

/* The number of a process in tcptrace's own pid namespace, 0: it is not there. */
static __always_inline u32 visible_pid(const void *task)
{
	const void *signal = (const void *)READ(u64, task, task_struct, signal);
	u64 group, number, ns;
	u32 level;

	/* enum pid_type: PIDTYPE_TGID is the second */
	group = READ_WORD((void *)signal + OFFSET(signal_struct, pids) + 8);
	level = READ_AT(u32, group, pid, level);
	for (u32 i = 0; i < MAX_PID_LEVELS && i <= level; i++) {
		number = group + OFFSET(pid, numbers) +
			 i * (OFFSET(upid, ns) + sizeof(ns));
		ns = READ_AT(u64, number, upid, ns);
		if (READ_AT(u32, ns, pid_namespace, ns__inum) == PID_NAMESPACE)
			return READ_AT(u32, number, upid, nr);
	}
	return 0;
}
#else
#define visible_pid(task) READ(u32, task, task_struct, tgid)
#endif

static __always_inline void copy_name(char *to, u64 task)
{
	u64 *words = (u64 *)to;

	words[0] = READ_WORD(task + OFFSET(task_struct, comm));
	words[1] = READ_WORD(task + OFFSET(task_struct, comm) + 8);
}

/* The name that it has by now: it can change it, or run another program. */
static __always_inline void read_name(struct process *p)
{
	u64 leader = p->leader;

	if (READ_AT(u64, leader, task_struct, start_time) == p->start_ns)
		copy_name(p->name, leader);
}

/*
 * False for a kernel thread. Pointers are read by helper calls here: for a
 * direct load of one, from what it trusts as it does the current task, the
 * verifier searches all of the kernel's types by name.
 */
static __always_inline bool read_process(const void *task, struct process *p)
{
	u64 leader = READ_AT(u64, task, task_struct, group_leader);

	if (READ(u32, task, task_struct, flags) & PF_KTHREAD)
		return false;
	p->leader = leader;
	p->start_ns = READ_AT(u64, leader, task_struct, start_time);
	p->files = READ_AT(u64, task, task_struct, files);
	p->tgid = READ(u32, task, task_struct, tgid);
	p->pid = visible_pid(task);
	copy_name(p->name, leader);
	return true;
}

static __always_inline bool read_caller(struct process *p)
{
	return read_process(current_task(), p);
}

static __always_inline bool same_process(const struct process *a,
					 const struct process *b)
{
	return a->tgid == b->tgid && a->start_ns == b->start_ns;
}

static __always_inline bool is_alive(const struct process *p)
{
	u32 tgid = p->tgid;
	struct server *server = servers.lookup(&tgid);

	return server && server->start_ns == p->start_ns;
}

/* From now on its end is noticed, and whether it forks. */
static __always_inline void watch_process(const struct process *p)
{
	struct server fresh = { .start_ns = p->start_ns };
	u32 tgid = p->tgid;

	if (!is_alive(p))
		servers.update(&tgid, &fresh);
}
