/* OpenSSL's SSL_read, SSL_write and SSL_do_handshake, at their entries and returns. */
#include "uprobe_stack.h"

/* ns: from a read of TLS records to the call that is about them. The first one of a program may
 * read in all certificates before. */
#define SSL_READ_TAKES 2000000000ULL

/* `outcome`: where the number of bytes is left, for those that do not return it. */
INLINE int ssl_enter(struct pt_regs *regs, u8 kind, u64 outcome)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 tgid = id >> 32, called = SSL_CALLED, *process;
	struct go_key key = {.goid = TLS_THREAD | (u32)id, .tgid = tgid};
	struct tls_conn_t value = {
		.conn = regs->di, .buf = regs->si, .len = regs->dx, .depth = outcome, .fd = -1, .kind = kind};
	struct tls_socket_key conn = {.conn = value.conn, .tgid = tgid};
	struct ssl_retry_t *again;

	if (!tracing(tgid))
		return 0;
	process = ssl_process_map.lookup(&tgid);
	if (!process || *process != SSL_CALLED)
		ssl_process_map.update(&tgid, &called);
	if (kind == TLS_WRITE) {
		again = ssl_retry_map.lookup(&conn);
		if (again) { /* its bytes were recorded when it was called first */
			value.told = 1;
			value.ts = again->ts;
			value.sk = again->sk;
			ssl_retry_map.delete(&conn);
		}
	}
	if (tls_conn_map.update(&key, &value))
		count_safely(STAT_ARGS_MAP_FULL);
	return 0;
}

/* Finds and removes what ssl_enter left. *n: bytes, or 0. */
INLINE bool ssl_leave(struct pt_regs *regs, u64 id, u8 kind, struct tls_conn_t *value, u64 *n)
{
	struct go_key key = {.goid = TLS_THREAD | (u32)id, .tgid = id >> 32};
	struct tls_conn_t *known = tls_conn_map.lookup(&key);
	s32 result = regs->ax;

	if (!known || known->kind != kind)
		return false;
	*value = *known;
	tls_conn_map.delete(&key);
	*n = result > 0 ? result : 0;
	if (value->depth && *n) {
		u64 told = 0;
		READ_USER(told, value->depth, 0);
		*n = told;
	}
	return true;
}

/* The socket beneath, or the one from which this thread has just read TLS records while nobody
 * knew whose they are: the first call after that is about them. */
INLINE struct socket_state_t *ssl_beneath(u64 id, u64 conn, struct tls_socket_t *beneath)
{
	struct tls_socket_key key = {.conn = conn, .tgid = id >> 32};
	struct go_key thread = {.goid = TLS_THREAD | (u32)id, .tgid = id >> 32};
	struct tls_socket_t *known = tls_socket_map.lookup(&key);
	struct tls_reader_t *reader = tls_reader_map.lookup(&thread), seen = {};
	struct socket_state_t *st;

	if (reader) {
		seen = *reader;
		tls_reader_map.delete(&thread);
	}
	if (known) {
		*beneath = *known;
		st = tls_state(known->sk, known->socket_id);
		if (st)
			return st; /* else an SSL of another connection was at this address */
	}
	if (!seen.sk || bpf_ktime_get_ns() - seen.ts > SSL_READ_TAKES)
		return 0;
	beneath->sk = seen.sk;
	beneath->socket_id = seen.socket_id;
	beneath->fd = seen.fd;
	u64 sk = seen.sk;
	st = socket_state_map.lookup(&sk);
	if (!st || st->socket_id != seen.socket_id || st->protocol || st->tls || st->ignore)
		return 0;
	if (tls_socket_map.update(&key, beneath))
		return 0;
	tls_begin(st);
	st->tls_whole = seen.type == TLS_HANDSHAKE_RECORD;
	return st;
}

/* The socket is not known; it may be one of those that were not chosen. */
INLINE void ssl_unplaced(void)
{
	struct trace_conf_t *conf = config();

	if (conf && !(conf->filter & FILTER_PORTS))
		count_safely(STAT_TLS_UNPLACED);
}

int ssl_read_exit(struct pt_regs *regs)
{
	u64 id = bpf_get_current_pid_tgid(), n = 0;
	struct tls_conn_t call = {};
	struct tls_socket_t beneath = {};

	if (!ssl_leave(regs, id, TLS_READ, &call, &n))
		return 0;
	struct socket_state_t *st = ssl_beneath(id, call.conn, &beneath);
	if (!n || n > TLS_READ_MAX)
		return 0;
	if (!st) {
		ssl_unplaced();
		return 0;
	}
	struct __http2_stack *s = tls_begin_read(st, &beneath, id, call.buf, n);
	if (!s)
		return 0;
	s->op.go = 0;
	s->op.unit = id;
	s->op.rec.flags = 0;
	s->op.rec.ref_ts = ssl_read_place(st, beneath.sk, n, call.len);
	__progs_jmp_kp_map.call(regs, KP_DATA);
	stack_leave(s);
	return 0;
}

/* The first bytes that a connection is given: see ssl_kept_t. */
INLINE void ssl_keep(u64 sk, struct socket_state_t *st, u64 buf, u64 n)
{
	int zero = 0;
	struct ssl_kept_t *kept = ssl_kept_map.lookup(&sk);
	struct ssl_kept_t *empty = ssl_kept_empty.lookup(&zero);

	if (kept && kept->socket_id == st->socket_id)
		return;
	if (!empty || ssl_kept_map.update(&sk, empty))
		return;
	kept = ssl_kept_map.lookup(&sk);
	if (!kept)
		return;
	if (n > CAPTURE_MAX)
		n = CAPTURE_MAX;
	if (read_user_most(kept->bytes, n, CAPTURE_MAX, buf))
		return;
	kept->socket_id = st->socket_id;
	kept->len = n;
}

int ssl_write_exit(struct pt_regs *regs)
{
	u64 id = bpf_get_current_pid_tgid(), n = 0;
	struct tls_conn_t call = {};
	struct tls_socket_t beneath = {};

	if (!ssl_leave(regs, id, TLS_WRITE, &call, &n))
		return 0;
	struct tls_socket_key key = {.conn = call.conn, .tgid = id >> 32};
	if (!n && call.told) { /* its record is made, and leaves when it is called again */
		struct ssl_retry_t again = {.len = call.len, .ts = call.ts, .sk = call.sk};
		ssl_retry_map.update(&key, &again);
		return 0;
	}
	if (!call.told) { /* into memory: the next send carries it */
		u64 sk, some = n < 16 ? n : 16;
		struct ssl_pending_t *before, fresh = {
			.buf = call.buf, .len = n, .total = n, .tid = (u32)id};
		struct socket_state_t *st = ssl_beneath(id, call.conn, &beneath);
		if (!n)
			return 0;
		if (!st || read_user(fresh.head, some & 31, call.buf)) {
			ssl_unplaced();
			return 0;
		}
		sk = beneath.sk;
		fresh.socket_id = st->socket_id;
		before = ssl_pending_map.lookup(&sk);
		if (before && before->socket_id == st->socket_id)
			before->total += n;
		else
			ssl_pending_map.update(&sk, &fresh);
		if (!st->bytes[EGRESS])
			ssl_keep(sk, st, call.buf, n);
		return 0;
	}
	if (n >= call.len)
		return 0;
	struct socket_state_t *st = socket_state_map.lookup(&call.sk);
	struct __http2_stack *s = st ? stack_take(id) : 0;
	if (!s)
		return 0;
	st->bytes[EGRESS] -= call.len - n;
	tls_record(s, RECORD_CORRECTION, EGRESS, CALL_TLS_WRITE, id, bpf_ktime_get_ns());
	s->op.rec.flags = 0;
	fill_address(&s->op.rec, st);
	s->op.rec.length = n;
	s->op.rec.ref_ts = call.ts;
	s->op.rec.uid = st->uid;
	__progs_jmp_kp_map.call(regs, KP_OUTPUT);
	stack_leave(s);
	return 0;
}

/* A handshake's step is over: of one that goes through memory, the socket is told by what the
 * thread has read for it. */
int ssl_handshake_exit(struct pt_regs *regs)
{
	u64 id = bpf_get_current_pid_tgid(), n = 0;
	struct tls_conn_t call = {};
	struct tls_socket_t beneath = {};

	if (!ssl_leave(regs, id, TLS_HANDSHAKE, &call, &n))
		return 0;
	struct socket_state_t *st = ssl_beneath(id, call.conn, &beneath);
	if (st && st->tls_whole)
		st->tls_late = 0; /* nothing can have been read before */
	return 0;
}

int ssl_read_enter(struct pt_regs *regs)
{
	return ssl_enter(regs, TLS_READ, 0);
}

int ssl_read_ex_enter(struct pt_regs *regs)
{
	return ssl_enter(regs, TLS_READ, regs->cx);
}

int ssl_write_enter(struct pt_regs *regs)
{
	return ssl_enter(regs, TLS_WRITE, 0);
}

int ssl_write_ex_enter(struct pt_regs *regs)
{
	return ssl_enter(regs, TLS_WRITE, regs->cx);
}

int ssl_handshake_enter(struct pt_regs *regs)
{
	return ssl_enter(regs, TLS_HANDSHAKE, 0);
}
