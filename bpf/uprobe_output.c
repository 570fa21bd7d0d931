/* The rest of that way: Go's witnesses, HTTP/2, the record. */
#include "uprobe_stack.h"

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
