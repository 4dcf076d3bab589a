/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Times in buckets, which are the model's (tracer/model/histogram.py): eight in
 * an octave of seconds, whose bounds no shift of bits finds. So a time is first
 * in one of sixteen cells of an octave of nanoseconds, and for each cell the
 * reader has written which bucket begins it, and where that one ends.
 */

_Static_assert(TALLY_BUCKETS * 3 == 576 && TALLY_BUCKETS * 12 == 2304 &&
		       TALLY_CELLS == 448,
	       "places.h");

/* Times from here on have records; below the last bound of the buckets. */
#define TALLY_LIMIT_NS ((1ULL << 32) - 16)

/* Without branches, each of which the verifier would follow. */
#define IS_MORE(value, limit)                                                  \
	({                                                                     \
		u64 rest_ = (u64)(limit) - (value);                            \
		asm volatile("" : "+r"(rest_));                                \
		rest_ >> 63;                                                   \
	})
#define HALVE(value, octave, bits)                                             \
	do {                                                                   \
		u64 more_ = IS_MORE(value, (1 << (1 << bits)) - 1) << bits;    \
		value >>= more_;                                               \
		octave += more_;                                               \
	} while (0)

/*
 * The cell of a time below 2^32 ns: with 16 added, so that the least is in an
 * octave, too, its octave from the fourth on and the next four bits. No cell has
 * more than one bound in it.
 */
static __always_inline u64 cell_of(const struct stays *here, u64 shifted_ns)
{
	u64 value = shifted_ns >> 4, octave = 0;

	HALVE(value, octave, 4);
	HALVE(value, octave, 3);
	/* beyond 2^36 ns there are more bits: no cell that is counted */
	octave += here->octaves[value & 255] | IS_MORE(value, 255) << 3;
	return octave << 4 | (shifted_ns >> octave & 15);
}

/* The bucket of a time; TALLY_BUCKETS for what is in none. */
static __always_inline u64 bucket_of(const struct stays *here, u64 ns)
{
	u64 cell = cell_of(here, ns + 16), edge;

	/* so that what is checked is what is used, see count() in maps.h */
	asm volatile("" : "+r"(cell));
	if (cell >= TALLY_CELLS)
		return TALLY_BUCKETS;
	edge = here->edges[cell];
	return (edge & 255) + IS_MORE(ns + 16, edge >> 8);
}

static __always_inline void add_time(const struct stays *here, u32 *counts,
				     u64 *sum_ns, u64 *most_ns, u64 ns)
{
	u64 bucket = bucket_of(here, ns);

	*sum_ns += ns;
	if (ns > *most_ns)
		*most_ns = ns;
	asm volatile("" : "+r"(bucket));
	if (bucket < TALLY_BUCKETS)
		counts[bucket]++;
}
