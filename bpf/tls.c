/* Go's crypto/tls: uprobes on the entries and RETs of (*Conn).Read and Write, and of the
 * handshakes. These programs may be preempted: they use the stack, hash maps, and what they
 * have taken for themselves of __http2_stack. */
#include "probe.h"

#define TLS_READ_MAX (1 << 30) /* no Read brings more; one TLS record holds 16 KiB */
#define TLS_READ_TAKES 100000000 /* ns: from the ciphertext's arrival to the RET of its Read */

/* Takes a place that no preempted program holds. The sum shows who came first. */
INLINE struct __http2_stack *stack_take(u64 id)
{
	NO_UNROLL
	for (int i = 0; i < HTTP2_STACKS; i++) {
		int at = i;
		struct __http2_stack *s = __http2_stack.lookup(&at);

		if (!s)
			return 0;
		__sync_fetch_and_add(&s->users, 1);
		if (*(volatile u32 *)&s->users == 1) {
			s->owner = id;
			if (!s->uids) {
				u64 cpu = bpf_get_smp_processor_id();
				s->uids = (cpu + 1) << 48 | 1ULL << 47 | (u64)i << 44;
				s->burst.cpu = cpu | (i + 1) << 16;
			}
			return s;
		}
		__sync_fetch_and_add(&s->users, -1);
	}
	return 0;
}

/* The place that this thread has taken. */
INLINE struct __http2_stack *stack_mine(void)
{
	u64 id = bpf_get_current_pid_tgid();

	NO_UNROLL
	for (int i = 0; i < HTTP2_STACKS; i++) {
		int at = i;
		struct __http2_stack *s = __http2_stack.lookup(&at);

		if (!s)
			return 0;
		if (s->owner == id)
			return s;
	}
	return 0;
}

INLINE void stack_leave(struct __http2_stack *s)
{
	s->owner = 0;
	__sync_fetch_and_add(&s->users, -1);
}

/* As count(), for programs that may be preempted. */
INLINE void count_safely(u32 what)
{
	int zero = 0;
	struct trace_stats *stats = __trace_stats_map.lookup(&zero);

	if (stats && what < STAT_COUNT)
		__sync_fetch_and_add(&stats->counts[what], 1);
}

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

/* What the socket beneath is known as now; 0 when it is another by now, or left alone. */
INLINE struct socket_state_t *tls_state(u64 sk, u64 socket_id)
{
	struct socket_state_t *st = socket_state_map.lookup(&sk);

	if (!st || st->socket_id != socket_id || !st->tls || st->ignore)
		return 0;
	return st;
}

INLINE void tls_record(struct __http2_stack *s, u8 type, u8 direction, u8 call, u64 id, u64 now)
{
	struct __socket_data *r = &s->op.rec;

	__builtin_memset(&s->op, 0, sizeof(s->op));
	r->type = type;
	r->direction = direction;
	r->syscall = call;
	r->tgid = id >> 32;
	r->tid = (u32)id;
	r->ts = now;
	r->end_ts = now;
	r->flags = FLAG_GO;
	s->op.go = 1;
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
	if (!st)
		return 0;
	st->tls_late = 0;
	struct __http2_stack *s = stack_take(id);
	if (!s) {
		count_safely(STAT_TLS_CROWDED);
		st->bytes[INGRESS] += n; /* a gap is seen by its size */
		return 0;
	}
	tls_record(s, RECORD_DATA, INGRESS, CALL_TLS_READ | (st->tls_whole ? TLS_WHOLE : 0), id,
		   bpf_ktime_get_ns());
	s->op.sk = beneath.sk;
	s->op.buf = buf;
	s->op.count = n;
	s->op.g = g;
	s->op.births = pi->births < 255;
	s->op.unit = goroutine_unit(key.tgid, goid);
	s->op.rec.goid = goid;
	s->op.rec.fd = beneath.fd;
	s->op.rec.length = n;
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

/* The last bytes of plaintext that is not captured to its end. */
INLINE void tls_tail(struct op_t *op)
{
	u64 tail = 0, n = op->count < 8 ? op->count : 8;

	if (n && !read_user(&tail, n & 15, op->buf + op->count - n))
		set_tail(&op->rec, tail << (8 * (8 - n) & 63), n);
}

/* KP_DATA: run_data, for bytes that came by TLS. */
int kp_data(struct pt_regs *regs)
{
	struct __http2_stack *s = stack_mine();
	struct trace_conf_t *conf = config();
	struct member_fields_offset *o = offsets();
	u8 begins = BEGINS_NOTHING, found = 0;
	s32 n = 0;

	if (!s)
		return 0;
	struct op_t *op = &s->op;
	struct __socket_data *r = &op->rec;
	u64 sk = op->sk;
	struct socket_state_t *st = socket_state_map.lookup(&sk);
	if (!st || !conf || !o)
		goto out;
	if (st->protocol == PROTOCOL_HTTP2) {
		http2_segment(regs, o, op, &s->walk, st, false, 0, true);
		goto out;
	}
	if (st->protocol > PROTOCOL_HTTP2) {
		__progs_jmp_kp_map.call(regs, KP_MESSAGES);
		goto out;
	}
	bool start = st->direction != INGRESS;
	u32 had = start ? 0 : st->before_len & (INFER_BYTES - 1);
	if (start) {
		st->direction = INGRESS;
		st->captured = 0;
		st->before_len = 0;
		r->flags |= FLAG_RUN_START;
	}
	if (start || had) {
		n = peek_head(op, st, had);
		begins = judge(op, st, n < 0 ? 0 : n, had, &found);
		if (found == PROTOCOL_HTTP2) {
			bool preface = begins == BEGINS_REQUEST;
			http2_segment(regs, o, op, &s->walk, st, !preface,
				      preface ? HTTP2_PREFACE - had : 0, true);
			goto out;
		}
		if (begins == BEGINS_NOTHING && !st->protocol) {
			op->total = op->count + had;
			__progs_jmp_kp_map.call(regs, KP_MESSAGES);
		}
		if (begins == BEGINS_REQUEST) {
			st->uid = s->uids++;
			st->is_request = 1;
		} else if (begins == BEGINS_RESPONSE) {
			st->is_request = 0;
		}
	}
	r->begins = begins;
	fill_address(r, st);
	if (begins == BEGINS_INTERIM && switches_protocols(op->head) &&
	    protocol_on(PROTOCOL_WEBSOCKET))
		st->protocol = PROTOCOL_WEBSOCKET;
	r->tcp_seq = (u32)st->bytes[INGRESS];
	st->bytes[INGRESS] += op->count;
	if (!st->protocol && begins != BEGINS_MAYBE) {
		count_safely(STAT_UNKNOWN_PROTOCOL);
		goto out;
	}
	if (st->role == ROLE_SERVER && st->is_request)
		carry(op, st, r->ts);
	r->uid = st->uid;
	if (!op->go)
		turn_does(st->uid);
	op->capture = 0;
	if (st->captured < conf->capture) {
		op->capture = conf->capture - st->captured;
		if (op->count < op->capture)
			op->capture = op->count;
		st->captured += op->capture;
	}
	if (op->capture < op->count)
		tls_tail(op);
	if (op->go && begins != BEGINS_NOTHING &&
	    !(st->context && begins == BEGINS_REQUEST && !op->births))
		__progs_jmp_kp_map.call(regs, KP_GO);
	__progs_jmp_kp_map.call(regs, KP_OUTPUT);
out:
	stack_leave(s);
	return 0;
}

/* KP_MESSAGES: run_messages, for bytes that came by TLS. What one read brings beyond a record's
 * room is told by its length. */
int kp_messages(struct pt_regs *regs)
{
	struct __http2_stack *s = stack_mine();
	struct trace_conf_t *conf = config();
	u8 begins = BEGINS_NOTHING;
	bool start = true;
	u8 secret = 0;

	if (!s)
		return 0;
	struct op_t *op = &s->op;
	struct __socket_data *r = &op->rec;
	u64 sk = op->sk;
	struct socket_state_t *st = socket_state_map.lookup(&sk);
	if (!st || !conf)
		goto out;
	u32 most = conf->capture * MESSAGE_SLICES;
	if (most > MESSAGE_MOST)
		most = MESSAGE_MOST;
	if (!st->protocol) {
		begins = message_first(op, st);
		if (begins == BEGINS_NOTHING) {
			st->bytes[INGRESS] += op->count;
			count_safely(STAT_UNKNOWN_PROTOCOL);
			goto out;
		}
	} else {
		start = st->direction != INGRESS;
		u32 had = start ? 0 : st->before_len & (INFER_BYTES - 1);
		s32 n = peek_head(op, st, had);
		if (start) {
			st->direction = INGRESS;
			st->captured = 0;
			st->before_len = 0;
		}
		u8 towards = st->role == ROLE_SERVER ? TOWARDS_SERVER : TOWARDS_CLIENT;
		begins = message_next(op, st, n < 0 ? 0 : n, had, towards, start, &secret);
		if (st->protocol == PROTOCOL_WEBSOCKET)
			st->captured = 0;
	}
	if (begins == BEGINS_REQUEST) {
		st->uid = s->uids++;
		st->is_request = 1;
	} else if (begins == BEGINS_RESPONSE) {
		st->is_request = 0;
	}
	if (begins == BEGINS_REQUEST || begins == BEGINS_RESPONSE)
		st->captured = 0;
	r->begins = begins;
	fill_address(r, st);
	r->tcp_seq = (u32)st->bytes[INGRESS];
	st->bytes[INGRESS] += op->count;
	if (st->role == ROLE_SERVER && st->is_request)
		carry(op, st, r->ts);
	r->uid = begins == BEGINS_RESPONSE && st->several ? 0 : st->uid;
	if (!op->go)
		turn_does(st->role == ROLE_CLIENT ? TURN_SEGMENT | r->ts : r->uid);
	take_payload(op, st, secret ? secret : most);
	if (secret)
		st->captured = MESSAGE_MOST;
	op->slices = 0;
	r->length = op->count;
	if (op->capture < op->count)
		tls_tail(op);
	if (op->go && begins == BEGINS_REQUEST)
		__progs_jmp_kp_map.call(regs, KP_GO);
	__progs_jmp_kp_map.call(regs, KP_OUTPUT);
out:
	stack_leave(s);
	return 0;
}

/* A response: what was found out when its ciphertext came. */
INLINE void tls_caller(struct op_t *op, struct socket_state_t *st)
{
	struct __socket_data *r = &op->rec;
	u64 sk = op->sk;
	struct tls_caller_t *known = tls_caller_map.lookup(&sk);

	if (!known || known->uid != st->uid)
		return;
	r->caller_uid = known->caller_uid;
	r->context_uid = known->context_uid;
	r->caller_goid = known->caller_goid;
	r->caller_site = known->caller_site;
	r->flags |= known->flags & (FLAG_GO_POOLED | FLAG_CALLER | FLAG_CONTEXT | FLAG_CALLER_PARENT);
	tls_caller_map.delete(&sk);
}

/* KP_GO: a message begins. Which goroutines are older than it; and a server connection's
 * context, found by its receiver. */
int kp_go(struct pt_regs *regs)
{
	struct __http2_stack *s = stack_mine();

	if (!s)
		return 0;
	struct op_t *op = &s->op;
	struct __socket_data *r = &op->rec;
	u64 sk = op->sk;
	u32 tgid = r->tgid;
	struct proc_info_t *pi = proc_info_map.lookup(&tgid);
	struct socket_state_t *st = socket_state_map.lookup(&sk);
	if (pi && st && r->begins == BEGINS_RESPONSE)
		tls_caller(op, st);
	if (pi && st && r->begins == BEGINS_REQUEST) {
		struct go_key key = {.goid = r->goid, .tgid = tgid};
		struct go_conn_t *gc = go_conn_map.lookup(&key);

		if (pi->http1 && !gc && !op->go_looked && !st->context &&
		    st->go_tries < GO_STACK_TRIES)
			__progs_jmp_kp_map.call(regs, KP_GO_STACK);
		if (op->births) {
			pi->births += 1;
			note_births(op, pi, &s->births);
		}
		if (pi->http1 && gc) {
			st->go_key = r->goid;
			if (gc->kind == GO_CONN_SERVER && !st->context)
				go_bind_server(op, st, pi, gc->receiver);
		}
	}
	__progs_jmp_kp_map.call(regs, KP_OUTPUT);
	stack_leave(s);
	return 0;
}

/* KP_GO_STACK: the same, after a search for the connection's receiver. */
int kp_go_stack(struct pt_regs *regs)
{
	struct __http2_stack *s = stack_mine();

	if (!s)
		return 0;
	go_stack_search(&s->op, &s->stack);
	__progs_jmp_kp_map.call(regs, KP_GO);
	stack_leave(s);
	return 0;
}

/* The record in the burst leaves. */
INLINE void stack_send(void *ctx, struct __http2_stack *s)
{
	struct __http2_burst *b = &s->burst;
	u64 size = b->rec.size;

	b->events_num = 1;
	b->len = size;
	b->records = s->records;
	b->first_ts = b->rec.ts;
	size += BURST_HEADER;
	if (size <= sizeof(*b) && __socket_data.perf_submit(ctx, b, size) == 0)
		count_safely(STAT_BURSTS);
	else
		count_safely(STAT_BURST_LOST);
	b->seq += 1;
	s->records += 1;
	count_safely(STAT_RECORDS);
}

/* KP_OUTPUT: one record, a burst of its own. */
int kp_output(struct pt_regs *regs)
{
	struct __http2_stack *s = stack_mine();

	if (!s)
		return 0;
	struct __socket_data *r = &s->op.rec;
	struct __http2_burst *b = &s->burst;
	u64 want = s->op.capture;
	if (want > CAPTURE_MAX)
		want = CAPTURE_MAX;
	if (want && read_user_most(b->payload, want, CAPTURE_MAX, s->op.buf)) {
		count_safely(STAT_READ_FAULT);
		want = 0;
	}
	r->data_len = want;
	r->segments = 1;
	r->size = (sizeof(*r) + want + 7) & ~7ULL;
	__builtin_memcpy(&b->rec, r, sizeof(*r));
	stack_send(regs, s);
	stack_leave(s);
	return 0;
}

/* KP_HTTP2: run_http2. */
int kp_http2(struct pt_regs *regs)
{
	struct __http2_stack *s = stack_mine();

	if (!s)
		return 0;
	struct op_t *op = &s->op;
	u64 sk = op->sk;
	struct socket_state_t *st = socket_state_map.lookup(&sk);
	struct http2_conn_t *conn = http2_conn_map.lookup(&sk);
	if (st && conn) {
		struct http2_half_t *half = &conn->halves[INGRESS];
		if (http2_go_through(op, &s->walk, st, conn, (char *)&s->burst.rec))
			stack_send(regs, s);
		if (http2_goes_on(&s->walk))
			__progs_jmp_kp_map.call(regs, KP_HTTP2);
		http2_leave(op, &s->walk, half);
		if (s->walk.cut)
			count(STAT_HTTP2_CUT);
	}
	stack_leave(s);
	return 0;
}
