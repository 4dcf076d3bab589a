/* SPDX-License-Identifier: GPL-2.0-only
 *
 * raw tracepoint sched:sched_process_fork (parent, child)
 * raw tracepoint sched:sched_process_exit (task)
 *
 * Fire for every thread, in the context of the one that forks or ends. What
 * counts is a process that owns a listening socket: one that has forked may
 * share the socket from then on, and one that has ended serves nobody. Yields
 * nothing.
 */

#if HAVE_sched_process_fork
PROGRAM(sched_process_fork)
{
	const void *task = (const void *)ctx->args[0];
	const void *new_task = (const void *)ctx->args[1];
	u32 parent = READ(u32, task, task_struct, tgid);
	u32 child = READ(u32, new_task, task_struct, tgid);
	struct server *server;

	/* a new thread holds nothing new */
	if (parent == child)
		return 0;
	server = servers.lookup(&parent);
	if (server)
		server->forked_ns = bpf_ktime_get_ns();
	return 0;
}
#endif

#if HAVE_sched_process_exit
PROGRAM(sched_process_exit)
{
	const void *task = (const void *)ctx->args[0];
	const void *signal = (const void *)READ(u64, task, task_struct, signal);
	u32 tgid = READ(u32, task, task_struct, tgid);

	/* its last thread is the one that leaves no other alive */
	if (!READ(u32, signal, signal_struct, live) && servers.lookup(&tgid))
		servers.delete(&tgid);
	return 0;
}
#endif
