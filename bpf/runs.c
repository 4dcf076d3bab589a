/* SPDX-License-Identifier: GPL-2.0-only
 *
 * iter/bpf_prog (meta, prog)
 *
 * Runs once, when the first program of state changes is loaded: for each program
 * in the kernel, in the loader's context. Says where the kernel counts that one's
 * runs under way, for the second one (twice.h): the distance from a CPU's entry
 * of `notes` to its count. Among the first program's tables that one is found by
 * its number.
 */

#define FIRST_ID CONSTANT(0)
#define NOTES_ID CONSTANT(1)

#define MAX_TABLES 64 /* MAX_USED_MAPS in the kernel */

struct each_program {
	u64 meta;
	u64 program; /* 0 at the end */
};

static long (*seq_write)(u64 file, const void *data, u32 length) = (void *)127;

/* The kernel's address for the table's entries, 0 where it is not found. */
static __always_inline u64 entries_of(u64 tables)
{
	u64 table;

#pragma clang loop unroll(disable)
	for (u32 i = 0; i < MAX_TABLES; i++) {
		table = READ_WORD(tables + i * sizeof(u64));
		if (READ(u32, table, bpf_map, id) == NOTES_ID)
			return READ_WORD(table + OFFSET(bpf_array, pptrs));
	}
	return 0;
}

#if CASTS
int on_runs(struct each_program *ctx)
{
	u64 program = ctx->program, meta = ctx->meta, file, aux, entries;
	u64 distance;

	if (!program || !HAVE(bpf_prog, active) || !HAVE(bpf_array, pptrs))
		return 0;
	program = ADDRESS(program);
	aux = READ(u64, program, bpf_prog, aux);
	if (READ(u32, aux, bpf_prog_aux, id) != FIRST_ID)
		return 0;
	entries = entries_of(READ(u64, aux, bpf_prog_aux, used_maps));
	if (!entries)
		return 0;
	distance = READ(u64, program, bpf_prog, active) - entries;
	LOAD("u64", file, meta, OFFSET(bpf_iter_meta, seq));
	seq_write(file, &distance, sizeof(distance));
	return 0;
}
#endif
