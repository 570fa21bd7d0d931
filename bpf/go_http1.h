/* Go's net/http, HTTP/1: whose request a response answers, read from the memory of the
 * goroutine that reads it. No uprobe per request; see docs/correlation.md. */
#ifndef OTEL_EBPF_GO_HTTP1_H
#define OTEL_EBPF_GO_HTTP1_H

#include "go_context.h"
#include "go_lineage.h"
#include "go_stack.h"

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
	struct go_context_t value = {.sk = op->sk,
				     .socket_id = st->socket_id,
				     .conn = conn,
				     .kind = GO_CONN_SERVER};
	if (go_context_map.update(&key, &value) == 0)
		st->context = context;
}

/* A request leaves on a goroutine that is in a call of a database. */
INLINE void go_find_work(void *ctx, struct op_t *op, struct proc_info_t *pi)
{
	struct __socket_data *r = &op->rec;
	struct go_key key = {.goid = r->goid, .tgid = r->tgid};
	struct go_work_t *work = go_work_map.lookup(&key);
	struct go_scan_t *s = go_scan();

	if (!work || !s)
		return;
	go_walk_of(&s->walk, work->itab, work->context);
	r->context_uid = go_walk(&s->walk, pi, r->tgid, op->looked);
	if (s->walk.kind && !op->looked) {
		op->looked = 1;
		go_look(ctx, op, s, PROG_GO);
	}
	if (r->context_uid)
		r->flags |= FLAG_CONTEXT;
}

/* A response arrives on a client connection's read loop: the caller still waits, and
 * the queue's one slot holds its request. */
INLINE void go_find_caller(void *ctx, struct op_t *op, struct proc_info_t *pi, u64 pc)
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
		context = request + pi->treq_ctx;
	} else {
		READ_USER(request, entry, pi->rc_req);
		context = request + pi->request_ctx;
	}
	struct go_scan_t *s = go_scan();
	if (s) {
		go_walk_from(&s->walk, context);
		r->context_uid = go_walk(&s->walk, pi, r->tgid, op->looked);
		if (s->walk.kind && !op->looked) {
			op->looked = 1;
			go_look(ctx, op, s, PROG_GO);
		}
	}
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
	if (!goid)
		return;
	parent_goid = go_parent(pi, r->tgid, g, goid);
	r->caller_goid = goid;
	if (pi->g_startpc >= 0)
		READ_USER(r->caller_site, g, pi->g_startpc);
	r->caller_uid = carried_in_line(r->tgid, goid, parent_goid, &rule, &responded, &op->kin);
	if (r->caller_uid) {
		r->flags |= FLAG_CALLER;
		if (rule == RULE_ANCESTOR) {
			r->flags |= FLAG_CALLER_PARENT;
			go_remember_line(pi, r->tgid, goid, parent_goid, r->caller_site);
		}
		if (r->context_uid && r->context_uid != r->caller_uid)
			count(STAT_GO_DISAGREE);
	}
}

#endif
