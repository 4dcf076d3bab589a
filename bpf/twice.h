/* SPDX-License-Identifier: GPL-2.0-only
 *
 * The program of state changes is attached twice, so that it misses none.
 *
 * Since Linux 6.1 the kernel does not run a tracing program that is running
 * already on the same CPU (older ones do, and the second finds its note). When a
 * softirq interrupts it (packets come in, a TCP timer is due) and changes the
 * state of other sockets, those events would be lost without a trace in any
 * ring: one in some hundred on a busy machine. But the kernel asks that of each
 * loaded program by itself. So the same one is loaded once more, with IS_SECOND,
 * follows the first on the tracepoint, and takes what the first has not handled.
 *
 * How it knows: for each program and CPU the kernel counts the runs that are
 * under way, and begins none where there is one. Whatever interrupts a run is
 * over before that goes on, so the second program finds what the first one
 * found: 0, and that one has just run; else it was not run. Where the count lies
 * runs.c finds out, as a distance (DISTANCE): the kernel's memory for each CPU
 * is at the same distance from a table's entry for it on every CPU. It takes
 * casts to read it.
 *
 * Elsewhere the first program's last act is to note the event, and the second
 * one finds the note. Between the two, or while either is running, a softirq can
 * come in and leave notes of its own; so there is one for what runs on a task's
 * stack and one for what runs on the interrupt's. Softirqs do not interrupt each
 * other, and tracepoints are not preempted (but in a real-time kernel and in Linux
 * 7, where what comes in that very moment may be told twice, by the count as by
 * notes): on either stack one event follows the other.
 *
 * A task's stack takes THREAD_BYTES from task->stack on, whether it is mapped
 * (VMAP_STACK) or not: 16 KiB on x86-64 and arm64, or a page where pages are
 * larger. KASAN doubles it: in such a kernel the upper half counts as an
 * interrupt's stack. Softirqs have a stack of their own on x86-64, and on arm64
 * but from Linux 5.16 (interrupts are counted before their stack is entered) to
 * 6.0 (before do_softirq_own_stack): there they run on the task's. Where the
 * two are not told apart, a softirq that comes just between the two programs
 * takes away the note of what it interrupted, which is then handled twice.
 *
 * A flag of our own was one alternative: between the kernel's count and ours a
 * whole burst of packets can come in. A tail call to the first program was
 * another: since Linux 6.13 a program's locals lie in memory of its own, one for
 * each CPU, which the interrupted run still needs.
 */

struct note {
	u64 socket; /* of the event that the first program handled, 0: none */
	u64 change;
};

struct notes {
	struct note of[2]; /* a task's stack, an interrupt's */
};

BPF_PERCPU_ARRAY(notes, struct notes, 1);

/* The arguments lie on the stack of whoever reached the tracepoint. */
static __always_inline bool on_task_stack(struct bpf_raw_tracepoint_args *ctx)
{
	const void *task = current_task();
	u64 stack = READ(u64, task, task_struct, stack);

	return (u64)ctx >= stack && (u64)ctx < stack + THREAD_BYTES;
}

static __always_inline struct note *find_note(
	struct bpf_raw_tracepoint_args *ctx)
{
	u32 zero = 0;
	struct notes *found = notes.lookup(&zero);

	if (!found)
		return NULL;
	return on_task_stack(ctx) ? &found->of[0] : &found->of[1];
}

static __always_inline u64 change_of(struct bpf_raw_tracepoint_args *ctx)
{
	return ctx->args[1] << 8 | ctx->args[2];
}

/* Whether a run of the first program is under way below this event. */
static __always_inline bool is_running(void)
{
	u32 zero = 0;
	const struct notes *here = notes.lookup(&zero);

	return here && FETCH_ANYWHERE(u32, ADDRESS(here) + DISTANCE, 0);
}

static __always_inline void note_handled(struct bpf_raw_tracepoint_args *ctx)
{
	struct note *note = find_note(ctx);

	if (!note)
		return;
	note->socket = ctx->args[0];
	note->change = change_of(ctx);
}

/* Takes the note away; whoever is skipped next must not find it. */
static __always_inline bool was_noted(struct bpf_raw_tracepoint_args *ctx)
{
	struct note *note = find_note(ctx);
	bool handled;

	if (!note)
		return false;
	handled = note->socket == ctx->args[0] &&
		  note->change == change_of(ctx);
	note->socket = 0;
	return handled;
}

static __always_inline bool was_handled(struct bpf_raw_tracepoint_args *ctx)
{
	return CASTS && DISTANCE ? !is_running() : was_noted(ctx);
}
