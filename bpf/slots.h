/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Where the entries of the connection table lie, and how one is found.
 *
 * To add an entry to a hash table and to take it away costs a connection as
 * much as all else, and each look at it goes through four lines of memory before
 * the entry's own. So entries lie in slots, of which the first that is tried is
 * said by the address of the socket. Who finds that taken is displaced: it gets
 * another one, and a table says which.
 *
 * A slot is claimed by one compare-and-swap, which BPF has since Linux 5.12, and
 * casts since 6.2. What others write is seen in its order on x86-64; elsewhere,
 * and where the verifier knows no casts, entries are in a hash table, conns.
 */
#define SLOTS_TRIED 24
#define NO_SLOT 0xffffffff

/* The slot that is tried after so many others. */
static __always_inline u32 slot_of(u64 socket, u64 tried)
{
	u64 hash = (socket + tried) * HASH_FACTOR >> 32;

	return hash * SLOTS >> 32;
}

/* The entry of a socket in the slot that is tried first, else NULL. */
static __always_inline struct conn *conn_in_first_slot(u64 socket)
{
	u32 at = slot_of(socket, 0);
	struct conn *first = slots.lookup(&at);

	return first && first->socket == socket ? first : NULL;
}

/*
 * One way out, or the verifier would go through all that follows for each. Where
 * displaced kept what it should have let go of, that slot is another's.
 */
static __always_inline struct conn *conn_in_slot(u64 socket)
{
	u32 at = slot_of(socket, 0), *elsewhere;
	struct conn *first = slots.lookup(&at);

	if (!first)
		return NULL;
	if (first->socket != socket) {
		elsewhere = first->away ? displaced.lookup(&socket) : NULL;
		if (!elsewhere)
			return NULL;
		at = *elsewhere;
		first = slots.lookup(&at);
		if (!first || first->socket != socket)
			return NULL;
	}
	return slots.lookup(&at);
}

/* The entry of a socket, NULL where it has none. */
static __always_inline struct conn *lookup_conn(u64 socket)
{
	return WITH_SLOTS ? conn_in_slot(socket) : conns.lookup(&socket);
}

/* The same, quicker: it does not find a displaced one. */
static __always_inline struct conn *usual_conn(u64 socket)
{
	return WITH_SLOTS ? conn_in_first_slot(socket) : conns.lookup(&socket);
}

static __always_inline void leave_slot(struct conn *conn)
{
	KEEP_ORDER(); /* it is another's at once */
	*(volatile u64 *)&conn->socket = 0;
}

static __always_inline bool claim_slot(struct conn *conn, u64 socket)
{
	return !__sync_val_compare_and_swap(&conn->socket, 0, socket);
}

/* A slot that is free for one whose first one is taken, NO_SLOT without any. */
static __always_inline u32 find_slot(u64 socket)
{
	u32 at = NO_SLOT;
	struct conn *conn;

#pragma clang loop unroll(disable)
	for (u64 tried = 1; tried < SLOTS_TRIED; tried++) {
		at = slot_of(socket, tried);
		conn = slots.lookup(&at);
		if (conn && !conn->socket)
			return at;
	}
	return NO_SLOT;
}

static __always_inline u32 displace(u64 socket, struct conn *first)
{
	u32 at = find_slot(socket);
	struct conn *conn = slots.lookup(&at);

	if (!conn || !claim_slot(conn, socket))
		return NO_SLOT;
	if (displaced.update(&socket, &at)) {
		leave_slot(conn);
		return NO_SLOT;
	}
	conn->displaced = 1;
	__sync_fetch_and_add(&first->away, 1);
	return at;
}

static __always_inline struct conn *take_slot(u64 socket)
{
	u32 at = slot_of(socket, 0);
	struct conn *first = slots.lookup(&at);

	if (!first)
		return NULL;
	if (!claim_slot(first, socket))
		at = displace(socket, first);
	return slots.lookup(&at);
}

/*
 * A socket's first slot, if that is free and the socket cannot have an entry
 * elsewhere: nobody is displaced from it.
 */
static __always_inline struct conn *take_first_slot(u64 socket)
{
	u32 at = slot_of(socket, 0);
	struct conn *first = slots.lookup(&at);

	return first && !first->away && claim_slot(first, socket) ? first :
								    NULL;
}

static __always_inline struct conn *add_conn(u64 socket)
{
	u32 zero = 0;
	struct conn *blank = blanks.lookup(&zero);

	if (blank)
		conns.insert(&socket, blank);
	return conns.lookup(&socket);
}

/* The entry in which a connection begins, NULL where there is no room. */
static __always_inline struct conn *new_entry(u64 socket)
{
	return WITH_SLOTS ? take_slot(socket) : add_conn(socket);
}

static __always_inline void give_up_slot(u64 socket, struct conn *conn)
{
	struct conn *first;
	u32 at;

	if (RARELY(conn->displaced)) {
		at = slot_of(socket, 0);
		first = slots.lookup(&at);
		displaced.delete(&socket);
		if (first)
			__sync_fetch_and_add(&first->away, -1);
		conn->displaced = 0;
	}
	leave_slot(conn);
}

static __always_inline void delete_conn(u64 socket, struct conn *conn)
{
	if (WITH_SLOTS)
		give_up_slot(socket, conn);
	else
		conns.delete(&socket);
}
