/* Go's crypto/tls: uprobes on the entries and RETs of (*Conn).Read and Write, and of the
 * handshakes. */
#include "uprobe_stack.h"

#define TLS_READ_TAKES 100000000 /* ns: from the ciphertext's arrival to the RET of its Read */

INLINE int tls_enter(struct pt_regs *regs, u8 kind)
{
	u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct proc_info_t *pi = proc_info_map.lookup(&tgid);
	struct go_key key = {.tgid = tgid};
	struct tls_conn_t value = {.fd = -1, .kind = kind}, *before;
	u64 g;

	if (!pi || pi->g_goid < 0 || pi->g_stack_hi < 0 || !tracing(tgid))
		return 0;
	g = go_g(regs, pi);
	READ_USER(key.goid, g, pi->g_goid);
	if (!key.goid)
		return 0;
	if (pi->stack_abi) {
		value.conn = go_word(regs, 1);
		value.buf = go_word(regs, 2);
		value.len = go_word(regs, 3);
	} else {
		value.conn = regs->ax;
		value.buf = regs->bx;
		value.len = regs->cx;
	}
	if (kind == TLS_HANDSHAKE) {
		struct tls_socket_key fresh = {.conn = value.conn, .tgid = tgid};
		before = tls_conn_map.lookup(&key);
		if (before && before->conn == value.conn && before->kind != TLS_HANDSHAKE)
			return 0; /* within a Read or Write, which serves as well */
		/* What was here before, at this address, is another connection. */
		tls_socket_map.delete(&fresh);
	}
	READ_USER(value.stack_hi, g, pi->g_stack_hi);
	value.depth = value.stack_hi - regs->sp;
	/* A prologue that grows the stack runs twice: the same again, with the stack's new place. */
	if (tls_conn_map.update(&key, &value))
		count_safely(STAT_ARGS_MAP_FULL);
	return 0;
}

/* Finds and removes what tls_enter left. */
INLINE bool tls_leave(struct pt_regs *regs, struct proc_info_t *pi, struct go_key *key, u8 kind,
		      struct tls_conn_t *value, u64 *g)
{
	struct tls_conn_t *known;
	u64 hi = 0;

	*g = go_g(regs, pi);
	READ_USER(key->goid, *g, pi->g_goid);
	known = tls_conn_map.lookup(key);
	if (!known || known->kind != kind)
		return false;
	READ_USER(hi, *g, pi->g_stack_hi);
	if (known->depth != hi - regs->sp)
		return false; /* of another call, whose end was not seen */
	*value = *known;
	tls_conn_map.delete(key);
	/* A buffer on the stack has moved with it. */
	if (value->buf < value->stack_hi && value->buf >= value->stack_hi - value->depth)
		value->buf += hi - value->stack_hi;
	return true;
}

/* Where the plaintext that this Read has brought was in the TCP stream: n bytes of the
 * record that ends where what is left of the raw input begins. */
INLINE u64 tls_read_place(struct proc_info_t *pi, struct socket_state_t *st, u64 sk, u64 conn,
			  u64 n)
{
	struct member_fields_offset *o = offsets();
	u32 end = 0;
	u64 raw[4] = {}, input[4] = {}; /* bytes.Buffer: slice, off; bytes.Reader: slice, i */

	if (!o || st->family == FAMILY_UNIX || pi->tls_raw_input < 0 || pi->tls_input < 0)
		return 0;
	READ_KERNEL(end, sk, o->tcp_copied_seq);
	READ_USER(raw, conn, pi->tls_raw_input);
	READ_USER(input, conn, pi->tls_input);
	if (raw[3] > raw[1] || input[3] < n || input[3] > input[1] || input[3] > 16384)
		return 0;
	return tls_place(end - (u32)(raw[1] - raw[3]), n, input[3] - n);
}

/* The socket beneath the connection, or the one that this goroutine has just read TLS records
 * from while nobody knew the connection. */
INLINE struct socket_state_t *tls_beneath(struct go_key *goroutine, u64 conn, s64 n,
					  struct tls_socket_t *beneath)
{
	struct tls_socket_key key = {.conn = conn, .tgid = goroutine->tgid};
	struct tls_socket_t *known = tls_socket_map.lookup(&key);
	struct tls_reader_t *reader;
	struct socket_state_t *st;

	if (known) {
		*beneath = *known;
		return tls_state(known->sk, known->socket_id);
	}
	reader = tls_reader_map.lookup(goroutine);
	if (!reader || bpf_ktime_get_ns() - reader->ts > TLS_READ_TAKES) {
		count_safely(STAT_TLS_UNPLACED);
		return 0;
	}
	beneath->sk = reader->sk;
	beneath->socket_id = reader->socket_id;
	beneath->fd = reader->fd;
	tls_reader_map.delete(goroutine);
	u64 sk = beneath->sk;
	st = socket_state_map.lookup(&sk);
	if (!st || st->socket_id != beneath->socket_id || st->protocol || st->tls || st->ignore)
		return 0;
	if (tls_socket_map.update(&key, beneath))
		return 0;
	tls_begin(st);
	return st;
}

INLINE int tls_read(struct pt_regs *regs, struct proc_info_t *pi, u64 id, u64 g, u64 goid,
		    u64 conn, u64 buf)
{
	struct go_key key = {.goid = goid, .tgid = id >> 32};
	struct tls_socket_t beneath = {};
	s64 n = pi->stack_abi ? go_word(regs, 5) : regs->ax;

	if (n <= 0 || n > TLS_READ_MAX || !goid)
		return 0;
	struct socket_state_t *st = tls_beneath(&key, conn, n, &beneath);
	if (!st || !pi->tls_armed)
		return 0;
	struct __http2_stack *s = tls_begin_read(st, &beneath, id, buf, n);
	if (!s)
		return 0;
	s->op.g = g;
	s->op.births = pi->births < 255;
	s->op.unit = goroutine_unit(key.tgid, goid);
	s->op.rec.goid = goid;
	s->op.rec.ref_ts = tls_read_place(pi, st, beneath.sk, conn, n);
	__progs_jmp_kp_map.call(regs, KP_DATA);
	stack_leave(s);
	return 0;
}

/* At a RET of Read. Its receiver and buffer are where the caller has left room for them: the
 * ABI's place for arguments, into which the function has put them at its start. User space
 * has looked at its code; where that does not show, the next program is used. */
int go_tls_read_exit(struct pt_regs *regs)
{
	u64 id = bpf_get_current_pid_tgid(), g, goid = 0;
	u32 tgid = id >> 32;
	struct proc_info_t *pi = proc_info_map.lookup(&tgid);

	if (!pi || pi->g_goid < 0 || !pi->tls_kept || !tracing(tgid))
		return 0;
	g = go_g(regs, pi);
	READ_USER(goid, g, pi->g_goid);
	return tls_read(regs, pi, id, g, goid, go_word(regs, 1), go_word(regs, 2));
}

/* The same with the arguments that its entry has left in tls_conn_map. */
int go_tls_read_exit_paired(struct pt_regs *regs)
{
	u64 id = bpf_get_current_pid_tgid(), g = 0;
	u32 tgid = id >> 32;
	struct proc_info_t *pi = proc_info_map.lookup(&tgid);
	struct go_key key = {.tgid = tgid};
	struct tls_conn_t call = {};

	if (!pi || pi->g_goid < 0 || !tls_leave(regs, pi, &key, TLS_READ, &call, &g))
		return 0;
	return tls_read(regs, pi, id, g, key.goid, call.conn, call.buf);
}

/* A write that failed half way: its record tells of all bytes. */
int go_tls_write_exit(struct pt_regs *regs)
{
	u64 id = bpf_get_current_pid_tgid(), g = 0;
	u32 tgid = id >> 32;
	struct proc_info_t *pi = proc_info_map.lookup(&tgid);
	struct go_key key = {.tgid = tgid};
	struct tls_conn_t call = {};
	u64 n;

	if (!pi || pi->g_goid < 0 || !tls_leave(regs, pi, &key, TLS_WRITE, &call, &g))
		return 0;
	n = pi->stack_abi ? go_word(regs, 5) : regs->ax;
	if (!call.told && n && n <= call.len)
		count_safely(STAT_TLS_UNPLACED);
	if (!call.told || n >= call.len)
		return 0;
	struct socket_state_t *st = socket_state_map.lookup(&call.sk);
	struct __http2_stack *s = st ? stack_take(id) : 0;
	if (!s)
		return 0;
	st->bytes[EGRESS] -= call.len - n;
	tls_record(s, RECORD_CORRECTION, EGRESS, CALL_TLS_WRITE, id, bpf_ktime_get_ns());
	fill_address(&s->op.rec, st);
	s->op.rec.length = n;
	s->op.rec.ref_ts = call.ts;
	s->op.rec.uid = st->uid;
	__progs_jmp_kp_map.call(regs, KP_OUTPUT);
	stack_leave(s);
	return 0;
}

int go_tls_handshake_exit(struct pt_regs *regs)
{
	u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct proc_info_t *pi = proc_info_map.lookup(&tgid);
	struct go_key key = {.tgid = tgid};
	struct tls_conn_t call = {};
	u64 g = 0;

	if (pi && pi->g_goid >= 0)
		tls_leave(regs, pi, &key, TLS_HANDSHAKE, &call, &g);
	return 0;
}

int go_tls_read_enter(struct pt_regs *regs)
{
	return tls_enter(regs, TLS_READ);
}

int go_tls_write_enter(struct pt_regs *regs)
{
	return tls_enter(regs, TLS_WRITE);
}

int go_tls_handshake_enter(struct pt_regs *regs)
{
	return tls_enter(regs, TLS_HANDSHAKE);
}
