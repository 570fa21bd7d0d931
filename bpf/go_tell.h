/* What user space is told of the streams on the list. */
#ifndef OTEL_EBPF_GO_TELL_H
#define OTEL_EBPF_GO_TELL_H

#include "go_list.h"

#define TOLD_AT_ONCE 32

/* The goroutine that waits for this stream's response. */
INLINE void go_stream_waiter(struct __socket_data *r, struct proc_info_t *pi, u64 waits,
			     u64 *parent_goid)
{
	u64 waiter = 0, g = 0;

	READ_USER(waiter, waits, pi->hchan_recvq);
	if (!waiter)
		return;
	READ_USER(g, waiter, pi->sudog_g);
	READ_USER(r->caller_goid, g, pi->g_goid);
	if (pi->g_parent_goid >= 0)
		READ_USER(*parent_goid, g, pi->g_parent_goid);
	if (pi->g_startpc >= 0)
		READ_USER(r->caller_site, g, pi->g_startpc);
}

/* The goroutine that NewStream returned this stream of gRPC to. */
INLINE void go_stream_asked(struct __socket_data *r, struct socket_state_t *st, u64 stream,
			    u64 *parent_goid)
{
	struct go_key key = {.goid = stream, .tgid = r->tgid};
	struct go_asked_t *asked = go_asked_map.lookup(&key);

	if (!asked || asked->id != (u32)r->length || asked->conn != st->go_conn)
		return;
	r->caller_goid = asked->goid;
	r->caller_site = asked->site;
	*parent_goid = asked->parent_goid;
}

/* A record for one stream; none where nothing is known of it. False: it is too early. */
INLINE bool tell_stream(struct op_t *op, struct go_scan_t *s, struct socket_state_t *st,
			struct proc_info_t *pi, struct __socket_data_buffer *b)
{
	struct go_found_t *found = go_found(s, s->told);
	u64 at = b->len, waits = 0, parent_goid = 0, caller_uid = 0;
	u8 rule = RULE_NONE, responded = 0;

	if (at > BURST_DATA - sizeof(struct __socket_data))
		return true;
	struct __socket_data *r = (struct __socket_data *)(b->data + at);
	__builtin_memset(r, 0, sizeof(*r));
	fill_address(r, st);
	r->type = RECORD_STREAM;
	r->direction = EGRESS;
	r->tgid = op->rec.tgid;
	r->tid = op->rec.tid;
	r->ts = op->rec.ts;
	r->end_ts = op->rec.ts;
	r->goid = op->rec.goid;
	r->fd = op->rec.fd;
	r->length = (u32)found->tag;
	r->uid = stream_uid(st->socket_id, (u32)found->tag);
	r->flags = FLAG_GO;
	r->context_uid = go_asker(s, s->told)->uid;
	if (r->context_uid)
		r->flags |= FLAG_CONTEXT;
	r->size = sizeof(*r);
	if (s->stream_asked) {
		go_stream_asked(r, st, found->stream, &parent_goid);
	} else if (s->stream_waits >= 0) {
		READ_USER(waits, found->stream, s->stream_waits);
		go_stream_waiter(r, pi, waits, &parent_goid);
	}
	if (!r->caller_goid && !r->context_uid) {
		/* Asked for a moment ago: its caller may not wait yet. */
		if ((s->stream_asked || s->stream_waits >= 0) && op->rec.direction == EGRESS)
			return false;
		count(STAT_GO_STREAMS_UNBOUND);
		return true;
	}
	if (r->caller_goid)
		caller_uid = carried_by(r->tgid, r->caller_goid, parent_goid, &rule, &responded);
	r->caller_uid = caller_uid;
	if (caller_uid) {
		r->flags |= FLAG_CALLER;
		if (rule == RULE_ANCESTOR)
			r->flags |= FLAG_CALLER_PARENT;
		if (r->context_uid && r->context_uid != caller_uid)
			count(STAT_GO_DISAGREE);
	}
	burst_commit(b, sizeof(*r));
	return true;
}

/* Whether nothing is left to be told of the stream at this place. */
INLINE bool go_tell_place(struct op_t *op, struct go_scan_t *s, struct socket_state_t *st,
			  struct proc_info_t *pi, struct __socket_data_buffer *b)
{
	struct go_asker_t *asker = go_asker(s, s->told);

	if (go_known(s, s->told))
		return true;
	if (asker->end != GO_ENDS_ABSENT && tell_stream(op, s, st, pi, b))
		return true;
	if (go_number(s->told, s->last) > s->lacking)
		return false;
	if (!s->joined)
		count(STAT_GO_STREAMS_UNBOUND); /* it has ended */
	return true;
}

/* Program 13: tells user space, some at a time. */
INLINE int run_go_tell(void *ctx)
{
	struct op_t *op = operation();
	struct go_scan_t *s = go_scan();
	u64 at = 0;

	if (!op || !s)
		return 0;
	struct socket_state_t *st = op_socket(op);
	struct proc_info_t *pi = op_process(op);
	if (!st || !pi)
		return 0;
	/* The room for one record with its payload is enough for all of these. */
	struct __socket_data_buffer *b = burst_reserve(ctx, op->rec.ts, &at);
	if (!b)
		return 0;
	NO_UNROLL
	for (int i = 0; i < TOLD_AT_ONCE; i++) {
		u32 beyond = s->told - s->run;

		if (s->told >= s->chunk)
			break;
		bool over = go_tell_place(op, s, st, pi, b);
		if (over && !beyond)
			s->run += 1;
		else if (over)
			s->after[within(beyond >> 6, GO_SEEN)] |= 1ULL << (beyond & 63);
		s->told += 1;
	}
	if (s->told < s->chunk)
		go_jump(ctx, op, PROG_GO_TELL);
	if (s->told >= s->chunk && s->told < s->places && go_jumps_left(op, 3)) {
		go_next_chunk(op, s);
		go_jump(ctx, op, PROG_GO_ASKED);
	}
	if (s->told < s->places)
		go_cut_list(s, s->told);
	go_end_scan(ctx, op, s, st);
	return 0;
}

#endif
