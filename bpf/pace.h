/* SPDX-License-Identifier: GPL-2.0-only
 *
 * What held a connection up until its end, as tcp_get_info_chrono_stats() in
 * net/ipv4/tcp.c adds it up: three clocks in ticks, of which one may run. What
 * a kernel does not have reads as 0; the last dump's figures stand then.
 */

/* enum tcp_chrono in include/linux/tcp.h */
#define CHRONO_WINDOW 2
#define CHRONO_BUFFER 3

#define HAVE_CHRONOS                                                           \
	(HAVE(tcp_sock, chrono_stat) && HAVE(tcp_sock, chrono_start) &&        \
	 HAVE(tcp_sock, chrono_type))

/* In 32 bits: the most is 49 days. No division where a tick is whole ones. */
static __always_inline u32 ticks_to_ms(u32 ticks)
{
	u64 ms = TICK_MS ? (u64)ticks * TICK_MS :
			   ((u64)ticks * TICK_US + 500) / 1000;

	return ms < 0xffffffff ? ms : 0xffffffff;
}

struct pace {
	u32 out_of_order; /* segments received */
	u32 busy_ms;
	u32 window_ms; /* limited by the other side's window */
	u32 buffer_ms; /* by our own buffer */
};

static __always_inline void read_pace(const void *sk, struct pace *pace)
{
	u32 busy = READ_OF_3(u32, sk, tcp_sock, chrono_stat, 0);
	u32 window = READ_OF_3(u32, sk, tcp_sock, chrono_stat, 1);
	u32 buffer = READ_OF_3(u32, sk, tcp_sock, chrono_stat, 2);
	u32 running = READ_BITS(sk, tcp_sock, chrono_type);
	u32 since = 0;

	pace->out_of_order = READ(u32, sk, tcp_sock, rcv_ooopack);
	pace->busy_ms = pace->window_ms = pace->buffer_ms = 0;
	if (!HAVE_CHRONOS)
		return;
	if (running)
		since = (u32)bpf_jiffies64() -
			READ(u32, sk, tcp_sock, chrono_start);
	if (running == CHRONO_WINDOW)
		window += since;
	else if (running == CHRONO_BUFFER)
		buffer += since;
	else
		busy += since;
	/* what holds a busy connection up is part of its busy time */
	pace->busy_ms = ticks_to_ms(busy + window + buffer);
	pace->window_ms = ticks_to_ms(window);
	pace->buffer_ms = ticks_to_ms(buffer);
}
