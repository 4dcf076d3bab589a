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
 * A slot is claimed by whom its count of claims makes the first. Addition alone
 * is atomic before Linux 5.12, and does not tell what was there; but who reads 1
 * behind its own addition is the only one. What others write is seen in its
 * order on x86-64; elsewhere, and where the verifier knows no casts, entries are
 * in a hash table, conns.
 */
#define SLOTS_TRIED 24
#define NO_SLOT 0xffffffff

/* The slot that is tried after so many others. */
static __always_inline u32 slot_of(u64 socket, u64 tried)
{
	u64 hash = (socket + tried) * HASH_FACTOR >> 32;

	return hash * SLOTS >> 32;
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

static __always_inline void leave_slot(struct conn *conn)
{
	*(volatile u64 *)&conn->socket = 0;
	__sync_fetch_and_add(&conn->claims, -1);
}

static __always_inline bool claim_slot(u32 at, u64 socket)
{
	struct conn *conn = slots.lookup(&at);

	if (!conn || conn->claims)
		return false;
	__sync_fetch_and_add(&conn->claims, 1);
	if (*(volatile u32 *)&conn->claims == 1) {
		conn->socket = socket;
		return true;
	}
	__sync_fetch_and_add(&conn->claims, -1);
	return false;
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
		if (conn && !conn->claims)
			return at;
	}
	return NO_SLOT;
}

static __always_inline u32 displace(u64 socket, struct conn *first)
{
	u32 at = find_slot(socket);

	if (!claim_slot(at, socket))
		return NO_SLOT;
	if (!displaced.update(&socket, &at)) {
		__sync_fetch_and_add(&first->away, 1);
		return at;
	}
	first = slots.lookup(&at);
	if (first)
		leave_slot(first);
	return NO_SLOT;
}

static __always_inline struct conn *take_slot(u64 socket)
{
	u32 at = slot_of(socket, 0);
	struct conn *first = slots.lookup(&at);

	if (!first)
		return NULL;
	if (!claim_slot(at, socket))
		at = displace(socket, first);
	return slots.lookup(&at);
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
	u32 at = slot_of(socket, 0);
	struct conn *first = slots.lookup(&at);

	if (first && first->socket != socket) {
		displaced.delete(&socket);
		__sync_fetch_and_add(&first->away, -1);
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
