/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Every program is attached twice, so that none of its runs is skipped.
 *
 * The kernel does not run a tracing program that is running already on the
 * same CPU. When a softirq interrupts it (a packet comes in, a TCP timer is
 * due) and changes the state of another socket, that event would be lost
 * without a trace in any ring: one in some hundred on a busy machine. But the
 * kernel asks that of each attached program by itself. So a second, tiny one
 * follows the first on the same tracepoint: it does nothing when the first
 * has come to its end, and when the first is still running, then not for this
 * event, and the second runs the first one's code by a tail call.
 *
 * What remains are the few instructions between the kernel's mark and ours.
 * Runs that were made good are counted; the kernel's count of skipped runs
 * minus these is what was really missed.
 */

BPF_PROG_ARRAY(programs, PROGRAM_COUNT);
BPF_PERCPU_ARRAY(running, u32, PROGRAM_COUNT);

static __always_inline void now_running(u32 program, s32 step)
{
	u32 *depth = running.lookup(&program);

	if (depth)
		*depth += step;
}

static __always_inline bool is_running(u32 program)
{
	u32 *depth = running.lookup(&program);

	return depth && *depth;
}

static __always_inline void run_first(struct bpf_raw_tracepoint_args *ctx,
				      u32 program)
{
	count(COUNTER_RESCUED + program, 1);
	programs.call(ctx, program);
}

/* Begins the definition of a handler: a static function with its body. */
#define PROGRAM(name)                                                          \
	static __always_inline void handle_##name(                             \
		struct bpf_raw_tracepoint_args *ctx);                          \
	RAW_TRACEPOINT_PROBE(name)                                             \
	{                                                                      \
		now_running(PROGRAM_##name, 1);                                \
		handle_##name(ctx);                                            \
		now_running(PROGRAM_##name, -1);                               \
		return 0;                                                      \
	}                                                                      \
	int again__##name(struct bpf_raw_tracepoint_args *ctx)                 \
	{                                                                      \
		if (is_running(PROGRAM_##name))                                \
			run_first(ctx, PROGRAM_##name);                        \
		return 0;                                                      \
	}                                                                      \
	static __always_inline void handle_##name(                             \
		struct bpf_raw_tracepoint_args *ctx)
