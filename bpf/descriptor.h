/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Sockets as processes hold them: files, by their numbers in a process's table.
 */

/* The file of a socket, 0: it has none (any more). */
static __always_inline u64 read_file(const void *sk)
{
	const void *socket = (const void *)READ_AT(u64, sk, sock, sk_socket);

	return READ_AT(u64, socket, socket, file);
}

/* Whether a table of descriptors has the file under that number. */
static __always_inline bool holds_file(u64 files, s32 descriptor, u64 file)
{
	u64 table = READ_AT(u64, files, files_struct, fdt);
	u64 place = READ_AT(u64, table, fdtable, fd) +
		    descriptor * sizeof(file);

	if (descriptor < 0 ||
	    descriptor >= (s32)READ_AT(u32, table, fdtable, max_fds))
		return false;
	return file && READ_WORD(place) == file;
}

#define MAX_DESCRIPTORS 1024
#define CHUNK 16 /* divides the size of any table, which grows by 64 */

/*
 * Whether the file may be among these. Without a branch, since each would
 * double what the verifier has to look at: half of what differs, less one, has
 * its highest bit set where nothing differs.
 */
static __always_inline bool may_hold(const u64 *chunk, u64 file)
{
	u64 borrowed = 0;

	for (u32 i = 0; i < CHUNK; i++)
		borrowed |= ((chunk[i] ^ file) >> 1) - 1;
	return borrowed >> 63;
}

/*
 * The number of a socket among the current process's descriptors; -1 when it
 * has none, or only beyond the first MAX_DESCRIPTORS. The table can be changed
 * meanwhile by another thread, which costs a number and no more: what is
 * compared is never followed.
 */
static __always_inline s32 find_descriptor(const void *sk)
{
	const void *task = (const void *)bpf_get_current_task();
	const void *files = (const void *)READ_AT(u64, task, task_struct,
						  files);
	const void *table = (const void *)READ_AT(u64, files, files_struct,
						  fdt);
	const void *array = (const void *)READ_AT(u64, table, fdtable, fd);
	u32 size = READ_AT(u32, table, fdtable, max_fds);
	u64 file = read_file(sk);
	u64 chunk[CHUNK];
	u32 first;

	if (!file)
		return -1;
#pragma clang loop unroll(disable)
	for (first = 0; first < MAX_DESCRIPTORS; first += CHUNK) {
		if (first >= size ||
		    bpf_probe_read_kernel(chunk, sizeof(chunk),
					  array + first * sizeof(file)))
			return -1;
		if (may_hold(chunk, file))
			break;
	}
	for (u32 i = 0; i < CHUNK; i++)
		if (chunk[i] == file)
			return first + i;
	return -1;
}
