/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Times in buckets, which are the model's (tracer/model/histogram.py): eight in
 * an octave of seconds, whose bounds no shift of bits finds. So a time is first
 * in a cell, by its first bits, and for each cell the reader has written which
 * bucket begins it, and where that one ends.
 */

_Static_assert(TALLY_BUCKETS * 3 == 576 && TALLY_BUCKETS * 12 == 2304 &&
		       TALLY_CELLS == 1792,
	       "places.h");

/* Times from here on have records; below the last bound of the buckets. */
#define TALLY_LIMIT_NS (1ULL << 32)

/* Without branches: each time is another one, so that none would be foreseen. */
#define IS_MORE(value, limit)                                                  \
	({                                                                     \
		u64 rest_ = (u64)(limit) - (value);                            \
		asm volatile("" : "+r"(rest_));                                \
		rest_ >> 63;                                                   \
	})
/* Takes so many bits off what has more than four beyond them. */
#define TAKE_OFF(value, taken, bits)                                           \
	do {                                                                   \
		u64 off_ = IS_MORE(value, (1 << (bits + 4)) - 1) * bits;       \
		value >>= off_;                                                \
		taken += off_;                                                 \
	} while (0)

/*
 * The cell of a time below TALLY_LIMIT_NS: its first bits, five to eight, and how
 * many follow them, a multiple of four. No cell has more than one bound in it.
 */
static __always_inline u64 cell_of(u64 ns)
{
	u64 first = ns, taken = 0;

	TAKE_OFF(first, taken, 16);
	TAKE_OFF(first, taken, 8);
	TAKE_OFF(first, taken, 4);
	return (taken << 6) + first;
}

/* The bucket of a time; TALLY_BUCKETS for what is in none. */
static __always_inline u64 bucket_of(const struct stays *here, u64 ns)
{
	u64 cell = cell_of(ns), edge;

	/* so that what is checked is what is used, see count() in maps.h */
	asm volatile("" : "+r"(cell));
	if (cell >= TALLY_CELLS)
		return TALLY_BUCKETS;
	edge = here->edges[cell];
	return (edge & 255) + IS_MORE(ns, edge >> 8);
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
