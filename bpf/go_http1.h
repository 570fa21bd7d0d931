/* Go's net/http, HTTP/1: whose request a response answers, read from the memory of the
 * goroutine that reads it. No uprobe per request; see docs/correlation.md. */
#ifndef OTEL_EBPF_GO_HTTP1_H
#define OTEL_EBPF_GO_HTTP1_H

#include "go_context.h"
#include "go_lineage.h"
#include "go_stack.h"

#define GO_HCHAN 80 /* runtime.hchan up to its queue of receivers, and more */
#define GO_ENTRY 32 /* net/http.requestAndChan */
#define GO_G 184    /* runtime.g from its number to the function it was started with */

/* First read on a server connection: its cancelCtx names it from now on. */
INLINE void go_bind_server(struct op_t *op, struct socket_state_t *st, struct proc_info_t *pi,
			   u64 conn)
{
	u64 closure = 0, context = 0;

	if (!go_conn_beneath(pi, conn + pi->conn_rwc, (s32)op->rec.fd))
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

/* Whose request the context belongs to at which s->walk begins. */
INLINE void go_find_context(void *ctx, struct op_t *op, struct go_scan_t *s, struct proc_info_t *pi)
{
	struct __socket_data *r = &op->rec;

	r->context_uid = go_walk(&s->walk, pi, r->tgid, op->looked);
	if (s->walk.kind && !op->looked) {
		op->looked = 1;
		go_look(ctx, op, s, PROG_GO);
	}
	if (r->context_uid)
		r->flags |= FLAG_CONTEXT;
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
	go_walk_of(&s->walk, work->itab, work->context, r->tgid);
	go_find_context(ctx, op, s, pi);
}

/* A word of what s->block holds of an object, at this offset in it. */
INLINE u64 go_part(struct go_scan_t *s, s32 offset)
{
	return s->block[(offset >> 3) & 31];
}

/* Proves that net/http's `pc` is over this connection, and finds the one slot of its queue of
 * requests. */
INLINE bool go_bind_client(struct op_t *op, struct socket_state_t *st, struct go_scan_t *s,
			   struct proc_info_t *pi, u64 pc)
{
	u64 queue = 0;

	if (!go_conn_beneath(pi, pc + pi->pc_conn, (s32)op->rec.fd))
		return false;
	READ_USER(queue, pc, pi->pc_reqch);
	if (read_user(s->block, GO_HCHAN, queue) || go_part(s, pi->hchan_qcount + 8) != 1)
		return false;
	st->go_slot = go_part(s, pi->hchan_buf);
	st->go_pool = pc;
	return true;
}

/* A response arrives on a client connection's read loop: the caller still waits, and
 * the queue's slot holds its request; empty, it holds zeros. */
INLINE void go_find_caller(void *ctx, struct op_t *op, struct socket_state_t *st,
			   struct proc_info_t *pi, u64 pc)
{
	struct __socket_data *r = &op->rec;
	struct go_scan_t *s = go_scan();
	u64 channel, waiter = 0, g = 0, goid, parent_goid, context;
	u8 rule = RULE_NONE, responded = 0;

	if (!s)
		return;
	if (st->go_pool != pc && !go_bind_client(op, st, s, pi, pc))
		return;
	r->flags |= FLAG_GO_POOLED;
	if (read_user(s->block, GO_ENTRY, st->go_slot))
		return;
	channel = go_part(s, pi->rc_ch);
	if (!channel) {
		count(STAT_GO_NOT_PARKED);
		return;
	}
	context = pi->rc_treq >= 0 ? go_part(s, pi->rc_treq) + pi->treq_ctx
				   : go_part(s, pi->rc_req) + pi->request_ctx;
	go_walk_from(&s->walk, context, r->tgid);
	go_find_context(ctx, op, s, pi);
	READ_USER(waiter, channel, pi->hchan_recvq);
	if (!waiter) {
		count(STAT_GO_NOT_PARKED);
		return;
	}
	READ_USER(g, waiter, pi->sudog_g);
	if (read_user(s->block, GO_G, g + pi->g_goid))
		return;
	goid = s->block[0];
	if (!goid)
		return;
	s32 parent_at = pi->g_parent_goid - pi->g_goid, site_at = pi->g_startpc - pi->g_goid;
	if (!pi->newproc && pi->identity != GO_BY_UPROBE && parent_at > 0 && parent_at < GO_G)
		parent_goid = go_part(s, parent_at);
	else
		parent_goid = go_parent(pi, r->tgid, g, goid);
	r->caller_goid = goid;
	if (pi->g_startpc >= 0 && site_at > 0 && site_at < GO_G)
		r->caller_site = go_part(s, site_at);
	else if (pi->g_startpc >= 0)
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
