/* SPDX-License-Identifier: GPL-2.0-only
 *
 * raw tracepoint sock:sock_send_length (sk, ret, flags)
 * raw tracepoint sock:sock_recv_length (sk, ret, flags)
 *
 * Fire when any socket's send() or recv(), or one of their many relatives, is
 * about to return, in the caller's context: pid and comm are those of who
 * really works with the connection. For follow only, and of a connection that
 * is traced only the first success each way, the first end of stream, and
 * every error but those that say "later". error is what was returned: bytes,
 * 0 for the end of stream, or a negative errno. Of what came to a listener,
 * the first caller is the worker: from then on all records have its pid and its
 * descriptor. Yields:
 *
 *   call  client 127.0.0.1:53020  send() = 4        curl 4711, descriptor 5
 *   call  server 127.0.0.1:80     recv() = 4        nginx 1234, descriptor 11
 *   call  client 127.0.0.1:53020  recv() ECONNRESET curl 4711, descriptor 5
 *
 * The last one can come after the close record of the same connection, for a
 * socket outlives its connection until it is closed: from and to are CLOSE.
 */

#define MSG_ERRQUEUE 0x2000

/* include/uapi/asm-generic/errno.h and, within the kernel, linux/errno.h */
#define EINTR 4
#define EINPROGRESS 115
#define ERESTARTSYS 512

/* Bits of conn.told. */
#define TOLD_SEND 1
#define TOLD_RECEIVE 2
#define TOLD_END 4
#define TELL_ALWAYS 8

static __always_inline bool says_later(s32 result)
{
	return result == -EAGAIN || result == -EINTR ||
	       result == -EINPROGRESS || result <= -ERESTARTSYS;
}

/* Which kind of news a result is, 0 for none. */
static __always_inline u8 news(const void *sk, u8 call, s32 result)
{
	if (result < 0)
		return TELL_ALWAYS;
	if (result)
		return call == CALL_SEND ? TOLD_SEND : TOLD_RECEIVE;
	/* to read nothing also gives 0 */
	return call == CALL_RECEIVE && has_flag(sk, SOCK_DONE) ? TOLD_END : 0;
}

/*
 * The caller of the first call is the one who works with a connection that
 * came to a listener. What was looked up may be another's by now, since
 * nothing keeps it here.
 */
static __always_inline void note_worker(struct conn *conn, u64 id,
					const struct event *e)
{
	if (conn->id != id || conn->descriptor >= 0)
		return;
	conn->descriptor = e->descriptor;
	if (conn->role == ROLE_SERVER) {
		conn->pid = e->pid;
		__builtin_memcpy(conn->process, e->process, 16);
	}
}

static __always_inline void emit_call(const void *sk, struct conn *conn,
				      u8 call, s32 result)
{
	u64 now_ns = bpf_ktime_get_ns(), id = conn->id;
	struct tuple tuple = {};
	struct event *e;

	read_tuple(sk, &tuple);
	e = reserve(EVENT_CALL, now_ns, &tuple);
	if (!e)
		return;
	fill_identity(e, conn);
	e->from_state = READ(u8, sk, sock_common, skc_state);
	e->to_state = e->from_state;
	e->call = call;
	e->error = result;
	fill_position(e, sk, conn);
	e->pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(e->process, sizeof(e->process));
	e->descriptor = find_descriptor(sk);
	note_worker(conn, id, e);
	submit(e);
}

/*
 * For nearly every call of the machine it ends with the first look into a
 * table. The second is for errors and ends of stream only, so that data read
 * first when the connection has ended are not told.
 */
static __always_inline void called(struct bpf_raw_tracepoint_args *ctx, u8 call)
{
	const void *sk = (const void *)ctx->args[0];
	s32 result = ctx->args[1], flags = ctx->args[2];
	u64 key = (u64)sk;
	struct conn *conn;
	bool is_over;
	u8 kind;

	if (flags & MSG_ERRQUEUE || says_later(result))
		return;
	conn = lookup_conn(key);
	is_over = !conn && result <= 0;
	if (is_over)
		conn = ended.lookup(&key);
	if (!conn)
		return;
	kind = news(sk, call, result);
	if (!kind || conn->told & kind)
		return;
	conn->told |= kind & ~TELL_ALWAYS;
	emit_call(sk, conn, call, result);
	if (is_over)
		ended.delete(&key);
}

#if HAVE_sock_send_length
PROGRAM(sock_send_length)
{
	called(ctx, CALL_SEND);
	return 0;
}
#endif

#if HAVE_sock_recv_length
PROGRAM(sock_recv_length)
{
	called(ctx, CALL_RECEIVE);
	return 0;
}
#endif
