/* SPDX-License-Identifier: GPL-2.0-only
 *
 * How the kernel's memory is read, and what of a program differs by run.
 *
 * OFFSET_type__member, SIZE_… and, for bit fields, SHIFT_… and BITS_… come
 * from the running kernel's BTF (tracer/kernel/fields.py lists them). An
 * optional member that the kernel does not have is at offset -1 and reads as
 * 0; HAVE() tells. Kernel headers were the alternative: those of another
 * kernel compile as well, and read garbage.
 */

/* Which way is mostly gone: what is fetched together lies together then. */
#define RARELY(condition) __builtin_expect(!!(condition), 0)
#define MOSTLY(condition) __builtin_expect(!!(condition), 1)

/*
 * A number of one run, put into the compiled program when it is loaded
 * (tracer/kernel/bytecode.py): unsigned, 64 bits. The verifier knows it as it
 * knows one that was compiled, and drops what it rules out.
 */
#define CONSTANT(n)                                                            \
	({                                                                     \
		u64 value_;                                                    \
		asm volatile("%0 = %1 ll"                                      \
			     : "=r"(value_)                                    \
			     : "i"(0x7463707400000000 | n));                   \
		value_;                                                        \
	})
/*
 * A number of which the verifier forgets what it was, so that it goes through
 * what follows once, and not once for each value. unknown: a number that it
 * does not know.
 */
#define FORGET(number, unknown)                                                \
	({                                                                     \
		u64 same_ = (unknown);                                         \
		asm volatile("" : "+r"(same_));                                \
		(number) + (same_ - (unknown));                                \
	})

/* The compiler may move nothing that is read or written across this. */
#define KEEP_ORDER() asm volatile("" : : : "memory")

/* Each program's own: of two on one tracepoint, see twice.h. */
#define PROGRAM_NUMBER CONSTANT(0)
#define IS_SECOND RARELY(PROGRAM_NUMBER)
#define DISTANCE CONSTANT(1)

#define PROGRAM(name) int on_##name(struct bpf_raw_tracepoint_args *ctx)

#define OFFSET(type, member) (OFFSET_##type##__##member)
#define HAVE(type, member) (OFFSET(type, member) >= 0)

#define CHECK_SIZE(ctype, type, member)                                        \
	_Static_assert(!HAVE(type, member) ||                                  \
			       sizeof(ctype) == SIZE_##type##__##member,       \
		       "size of " #type "." #member)

/* Loads are in assembly, since bcc makes a helper call of each dereference. */
#define LOAD(size, value, base, at)                                            \
	asm volatile("%0 = *(" size " *)(%1 + %2)"                             \
		     : "=r"(value)                                             \
		     : "r"(base), "i"(at))
#define LOAD_AS(ctype, base, at)                                               \
	({                                                                     \
		u64 loaded_;                                                   \
		if (sizeof(ctype) == 1)                                        \
			LOAD("u8", loaded_, base, at);                         \
		else if (sizeof(ctype) == 2)                                   \
			LOAD("u16", loaded_, base, at);                        \
		else if (sizeof(ctype) == 4)                                   \
			LOAD("u32", loaded_, base, at);                        \
		else                                                           \
			LOAD("u64", loaded_, base, at);                        \
		if (sizeof(ctype) < 8)                                         \
			__builtin_assume(loaded_ <                             \
					 1ULL << (sizeof(ctype) * 8 & 63));    \
		(ctype) loaded_;                                               \
	})

/*
 * What is known by its address only: FETCH_ANYWHERE() takes any address, and
 * yields 0 where nothing is.
 */
#if CASTS
/*
 * Since Linux 6.2 a cast can have the verifier take an address for a pointer to
 * a type, here one that begins with a number of 64 bits; a load that fails
 * yields 0. The number of the function is put in by tracer/kernel/bytecode.py.
 */
static void *(*cast)(u64 address, u64 type) = (void *)0x7463;
#define FETCH_ANYWHERE(ctype, base, at)                                        \
	({                                                                     \
		ctype value_ = 0;                                              \
		if ((at) >= 0)                                                 \
			value_ = LOAD_AS(ctype,                                \
					 cast((u64)(base) + (at), WORD_TYPE),  \
					 0);                                   \
		value_;                                                        \
	})
#else
/* The helper takes 10 to 20 ns a call. */
#define FETCH_ANYWHERE(ctype, base, at)                                        \
	({                                                                     \
		ctype value_ = 0;                                              \
		if ((at) >= 0)                                                 \
			bpf_probe_read_kernel(&value_, sizeof(value_),         \
					      (void *)(base) + (at));          \
		value_;                                                        \
	})
#endif
/*
 * An address as a number to reckon with. To the verifier it may be a pointer, of
 * which nothing is taken but another pointer: here one to nothing.
 */
#if CASTS
#define ADDRESS(pointer)                                                       \
	({                                                                     \
		u64 number_ = (u64)(pointer) - (u64)cast(0, WORD_TYPE);        \
		/* now, and not where it is used, with a pointer until then */ \
		asm volatile("" : "+r"(number_));                              \
		number_;                                                       \
	})
#else
#define ADDRESS(pointer) ((u64)(pointer))
#endif
#define READ_WORD(address) FETCH_ANYWHERE(u64, address, 0)
#define READ_AT(ctype, base, type, member)                                     \
	({                                                                     \
		CHECK_SIZE(ctype, type, member);                               \
		FETCH_ANYWHERE(ctype, base, OFFSET(type, member));             \
	})

#if DIRECT
/*
 * What the verifier knows by its type is read by a load like any other:
 * tcp_socket(), current_task(), and what their members point to. It refuses
 * an offset that is not there, and NULL reads as 0.
 */
#define FETCH_FROM(ctype, base, at)                                            \
	({                                                                     \
		ctype value_ = 0;                                              \
		if ((at) >= 0)                                                 \
			value_ = LOAD_AS(ctype, base, at);                     \
		value_;                                                        \
	})
#define COPY_16(to, base, type, member)                                        \
	({                                                                     \
		u64 *words_ = (u64 *)(to), low_, high_;                        \
		LOAD("u64", low_, base, OFFSET(type, member));                 \
		LOAD("u64", high_, base, OFFSET(type, member) + 8);            \
		words_[0] = low_;                                              \
		words_[1] = high_;                                             \
	})
#if CASTS
#define tcp_socket(sk) ((const void *)cast((u64)(sk), TCP_TYPE))
#else
/* since Linux 5.9: NULL for what is no full TCP socket */
static void *(*skc_to_tcp_sock)(const void *sk) = (void *)137;
#define tcp_socket(sk) ((const void *)skc_to_tcp_sock(sk))
#endif
/* since Linux 5.11 */
static void *(*get_current_task_btf)(void) = (void *)158;
#define current_task() ((const void *)get_current_task_btf())
#else
#define FETCH_FROM FETCH_ANYWHERE
#define COPY_16(to, base, type, member)                                        \
	bpf_probe_read_kernel(to, 16, (void *)(base) + OFFSET(type, member))
#define tcp_socket(sk) ((const void *)(sk))
#define current_task() ((const void *)bpf_get_current_task())
#endif

#define FETCH(ctype, base, type, member)                                       \
	FETCH_FROM(ctype, base, OFFSET(type, member))

#define READ(ctype, base, type, member)                                        \
	({                                                                     \
		CHECK_SIZE(ctype, type, member);                               \
		FETCH(ctype, base, type, member);                              \
	})

/* An element of an array of three. */
#define READ_OF_3(ctype, base, type, member, n)                                \
	({                                                                     \
		_Static_assert(!HAVE(type, member) ||                          \
				       3 * sizeof(ctype) ==                    \
					       SIZE_##type##__##member,        \
			       "size of " #type "." #member);                  \
		FETCH_FROM(ctype, base,                                        \
			   HAVE(type, member) ?                                \
				   OFFSET(type, member) +                      \
					   n *(int)sizeof(ctype) :             \
				   -1);                                        \
	})

/*
 * OFFSET is here that of the byte which holds the whole bit field, SHIFT counts
 * from its lowest bit: so BTF has it on little-endian machines, and others are
 * refused (tracer/kernel/machine.py).
 */
#define READ_BITS(base, type, member)                                          \
	({                                                                     \
		u8 byte_ = FETCH(u8, base, type, member);                      \
		(byte_ >> SHIFT_##type##__##member) &                          \
			((1 << BITS_##type##__##member) - 1);                  \
	})
