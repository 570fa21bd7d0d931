/* Go's net/http, HTTP/1: whose request a response answers, read from the memory of the
 * goroutine that reads it. No uprobe per request; see docs/correlation.md. */
#ifndef OTEL_EBPF_GO_HTTP1_H
#define OTEL_EBPF_GO_HTTP1_H

#include "go_stack.h"

#define CONTEXT_DEPTH 24

/* First read on a server connection: its cancelCtx names it from now on. */
INLINE void go_bind_server(struct op_t *op, struct socket_state_t *st, struct proc_info_t *pi,
			   u64 conn)
{
	u64 closure = 0, context = 0;

	if (!go_conn_is(pi, conn + pi->conn_rwc, (s32)op->rec.fd))
		return;
	READ_USER(closure, conn, pi->conn_cancel_ctx);
	READ_USER(context, closure, 8); /* the closure's one captured word */
	if (!context)
		return;
	struct go_context_key key = {.context = context, .tgid = op->rec.tgid};
	struct go_context_t value = {.sk = op->sk, .socket_id = st->socket_id, .conn = conn};
	if (go_context_map.update(&key, &value) == 0)
		st->context = context;
}

/* The request in flight on the server connection whose context ends this chain. */
INLINE u64 go_context_uid(struct op_t *op, struct proc_info_t *pi, u64 context)
{
	u64 before = 0;

	NO_UNROLL
	for (int i = 0; i < CONTEXT_DEPTH; i++) {
		struct go_context_key key = {.context = context, .tgid = op->rec.tgid};
		struct go_context_t *found;

		if (!context)
			return 0;
		found = go_context_map.lookup(&key);
		if (found) {
			u64 sk = found->sk, response = 0, request = 0, now = 0;
			struct socket_state_t *st = socket_state_map.lookup(&sk);
			if (!st || st->socket_id != found->socket_id)
				return 0;
			/* Each request has a context of its own below the connection's. Work
			 * left over from an earlier request must not pass for this one's. */
			READ_USER(response, found->conn, pi->conn_cur_req);
			READ_USER(request, response, pi->response_req);
			READ_USER(now, request, pi->request_ctx + 8);
			if (!now || now != before) {
				count(STAT_GO_STALE_CONTEXT);
				return 0;
			}
			return st->uid;
		}
		before = context;
		context = 0;
		READ_USER(context, before, 8);
	}
	return 0;
}

/* A response arrives on a client connection's read loop: the caller still waits, and
 * the queue's one slot holds its request. */
INLINE void go_find_caller(struct op_t *op, struct proc_info_t *pi, u64 pc)
{
	struct __socket_data *r = &op->rec;
	u64 queue = 0, queued = 0, slots = 0, at = 0, entry, channel = 0, waiter = 0;
	u64 g = 0, goid = 0, parent_goid = 0, request = 0, context = 0;
	u16 size = 0;
	u8 rule = RULE_NONE, responded = 0;

	if (!go_conn_is(pi, pc + pi->pc_conn, (s32)r->fd))
		return;
	r->flags |= FLAG_GO_POOLED;
	READ_USER(queue, pc, pi->pc_reqch);
	READ_USER(queued, queue, pi->hchan_qcount);
	if (queued != 1) {
		count(STAT_GO_NOT_PARKED);
		return;
	}
	READ_USER(slots, queue, pi->hchan_buf);
	READ_USER(size, queue, pi->hchan_elemsize);
	READ_USER(at, queue, pi->hchan_recvx);
	entry = slots + at * size;
	if (pi->rc_treq >= 0) {
		READ_USER(request, entry, pi->rc_treq);
		READ_USER(context, request, pi->treq_ctx + 8);
	} else {
		READ_USER(request, entry, pi->rc_req);
		READ_USER(context, request, pi->request_ctx + 8);
	}
	r->context_uid = go_context_uid(op, pi, context);
	if (r->context_uid)
		r->flags |= FLAG_CONTEXT;
	READ_USER(channel, entry, pi->rc_ch);
	READ_USER(waiter, channel, pi->hchan_recvq);
	if (!waiter) {
		count(STAT_GO_NOT_PARKED);
		return;
	}
	READ_USER(g, waiter, pi->sudog_g);
	READ_USER(goid, g, pi->g_goid);
	if (pi->g_parent_goid >= 0)
		READ_USER(parent_goid, g, pi->g_parent_goid);
	if (!goid)
		return;
	r->caller_goid = goid;
	if (pi->g_startpc >= 0)
		READ_USER(r->caller_site, g, pi->g_startpc);
	r->caller_uid = carried_by(r->tgid, goid, parent_goid, &rule, &responded);
	if (r->caller_uid) {
		r->flags |= FLAG_CALLER;
		if (rule == RULE_ANCESTOR)
			r->flags |= FLAG_CALLER_PARENT;
		if (r->context_uid && r->context_uid != r->caller_uid)
			count(STAT_GO_DISAGREE);
	}
}

#endif
