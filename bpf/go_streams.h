/* Who asked for the streams of a Go client's connection. Programs that hand on go_scan_buf
 * by tail calls, between the beginning of a segment's way and its rest; see data.h. */
#ifndef OTEL_EBPF_GO_STREAMS_H
#define OTEL_EBPF_GO_STREAMS_H

#include "probe.h"

#define GROUPS_AT_ONCE 32 /* groups of a table that one program looks at */
#define GROUP_ROUNDS 10   /* and programs that follow each other on it */
#define STEPS_AT_ONCE 48  /* steps along chains of contexts in one program */
#define TOLD_AT_ONCE 4
#define FRESH_AT_ONCE 32
#define GO_LOOKS 8 /* for a stream that is not there */
#define GO_JOINED 255 /* in go_missed: what is not there at the first look ended before */

INLINE struct socket_state_t *op_socket(struct op_t *op)
{
	u64 sk = op->sk;
	return socket_state_map.lookup(&sk);
}

INLINE struct proc_info_t *op_process(struct op_t *op)
{
	u32 tgid = op->rec.tgid;
	return proc_info_map.lookup(&tgid);
}

/* The segment goes its own way. */
INLINE void go_resume_data(void *ctx, struct op_t *op)
{
	op->streams = 1;
	__progs_jmp_tp_map.call(ctx, PROG_DATA);
}

/* The top bit. The compiler would make it a comparison and a branch. */
INLINE u64 top_bit(u64 x)
{
	asm volatile("" : "+r"(x));
	return x >> 63;
}

/* 1 where a > b. */
INLINE u64 above(u32 a, u32 b)
{
	return top_bit((u64)b - (u64)a);
}

/* How many bits are set. */
INLINE u32 bits(u32 x)
{
	x -= x >> 1 & 0x55555555;
	x = (x & 0x33333333) + (x >> 2 & 0x33333333);
	return ((x + (x >> 4)) & 0x0f0f0f0f) * 0x01010101 >> 24;
}

/* Place of stream `id` among those above `last`. */
INLINE u32 go_place(u32 id, u32 last)
{
	return (id - last - 1) >> 1 & 31;
}

INLINE void go_begin_scan(struct op_t *op, struct go_scan_t *s, struct socket_state_t *st,
			  struct proc_info_t *pi)
{
	u64 map = 0;
	u32 next = go_next_stream(st, pi);
	s32 at = st->go_kind == GO_CONN_GRPC_CLIENT
			 ? pi->grpc.cc_streams
			 : pi->h2[st->go_kind == GO_CONN_X_CLIENT].cc_streams;

	READ_USER(map, st->go_conn, at);
	go_map_start(&s->client, pi, map);
	u64 told = st->go_told;
	s->last = told;
	s->seen = told >> 32;
	/* Clients' streams have odd numbers, without gaps; `next` is not taken yet. */
	s->expected = next > s->last + 1 ? (next - s->last - 1 + !s->last) / 2 : 0;
	s->top = next - 1;
	st->go_next = next;
	st->go_gap = 1; /* until they are told of */
	if (s->expected > GO_WINDOW) {
		s->expected = GO_WINDOW;
		s->top = (s->last ? s->last : -1) + 2 * GO_WINDOW;
		st->go_next = 0; /* the others come with the next segment */
	}
	u32 known = bits(s->seen);
	s->expected = s->expected > known ? s->expected - known : 0;
	s->found = 0;
	s->done = 0;
	s->told = 0;
	s->walking = 0;
}

/* Program 10: looks for new streams in the connection's table. */
INLINE int run_go_streams(void *ctx)
{
	struct op_t *op = operation();
	struct go_scan_t *s = go_scan();
	u32 more = GROUP_READ;

	if (!op || !s)
		return 0;
	struct socket_state_t *st = op_socket(op);
	struct proc_info_t *pi = op_process(op);
	if (!st || !pi)
		return 0;
	if (!op->rounds)
		go_begin_scan(op, s, st, pi);
	op->rounds += 1;
	NO_UNROLL
	for (int i = 0; i < GROUPS_AT_ONCE; i++) {
		more = go_map_next(&s->client);
		if (more == GROUP_END)
			break;
		if (more == GROUP_SKIP)
			continue;
		NO_UNROLL
		for (u32 j = 0; j < GO_SLOTS; j++) {
			u64 stream = 0, full;
			u32 id = 0, n = s->found;
			full = go_map_slot(&s->client, j, &id, &stream);
			s->list[within(n, GO_FOUND)].stream = stream;
			s->list[within(n, GO_FOUND)].id = id;
			s->list[within(n, GO_FOUND)].uid = 0;
			full &= above(id, s->last) & (above(id, s->top) ^ 1);
			s->found = n + (full & ~(u64)(s->seen >> go_place(id, s->last)));
		}
		if (s->found >= s->expected) {
			more = GROUP_END;
			break;
		}
	}
	if (more != GROUP_END) {
		if (op->rounds < GROUP_ROUNDS)
			go_jump(ctx, op, PROG_GO_STREAMS);
		count(STAT_GO_SCAN_CUT);
	}
	if (s->found > GO_WINDOW)
		s->found = GO_WINDOW;
	go_jump(ctx, op, PROG_GO_ASKED);
	go_resume_data(ctx, op);
	return 0;
}

/* Program 11: follows the contexts of the streams found. */
INLINE int run_go_asked(void *ctx)
{
	struct op_t *op = operation();
	struct go_scan_t *s = go_scan();

	if (!op || !s)
		return 0;
	struct socket_state_t *st = op_socket(op);
	struct proc_info_t *pi = op_process(op);
	if (!st || !pi)
		return 0;
	bool grpc = st->go_kind == GO_CONN_GRPC_CLIENT;
	struct go_h2_t *h = &pi->h2[st->go_kind == GO_CONN_X_CLIENT];
	s32 id_at = grpc ? pi->grpc.cs_id : h->cs_id;
	s32 ctx_at = grpc ? pi->grpc.cs_ctx : h->cs_ctx;
	s32 base_at = grpc ? pi->grpc.cs_base : -1;
	s32 req_at = grpc ? -1 : h->cs_req;
	NO_UNROLL
	for (int i = 0; i < STEPS_AT_ONCE; i++) {
		u32 n = s->done;
		u64 uid = 0;

		if (n >= s->found)
			break;
		if (!s->walking) {
			u64 base = s->list[within(n, GO_FOUND)].stream;
			u32 id = 0;
			if (base_at >= 0)
				READ_USER(base, base, base_at);
			READ_USER(id, base, id_at);
			if (id != (u32)s->list[within(n, GO_FOUND)].id) {
				/* The slot is being filled: it is there when it is looked at again. */
				s->list[within(n, GO_FOUND)].stream = 0;
				s->done = n + 1;
				continue;
			}
			if (req_at >= 0)
				READ_USER(base, base, req_at);
			go_walk_from(&s->walk, op->rec.tgid, base + ctx_at);
			s->walking = 1;
			op->looked = 0;
		}
		if (!go_walk_step(&s->walk, pi, op->rec.tgid, op->looked, &uid))
			continue;
		if (s->walk.kind && !op->looked) {
			op->looked = 1;
			go_look(ctx, op, s, PROG_GO_ASKED);
		}
		s->list[within(n, GO_FOUND)].uid = uid;
		s->walking = 0;
		s->done = n + 1;
	}
	if (s->done < s->found)
		go_jump(ctx, op, PROG_GO_ASKED);
	s->found = s->done;
	s->done = 0;
	go_jump(ctx, op, PROG_GO_TELL);
	go_resume_data(ctx, op);
	return 0;
}

/* The goroutine that waits for this stream's response. */
INLINE bool go_stream_waiter(struct __socket_data *r, struct proc_info_t *pi, u64 waits,
			     u64 *parent_goid)
{
	u64 waiter = 0, g = 0;

	READ_USER(waiter, waits, pi->hchan_recvq);
	if (!waiter)
		return false;
	READ_USER(g, waiter, pi->sudog_g);
	READ_USER(r->caller_goid, g, pi->g_goid);
	if (pi->g_parent_goid >= 0)
		READ_USER(*parent_goid, g, pi->g_parent_goid);
	if (pi->g_startpc >= 0)
		READ_USER(r->caller_site, g, pi->g_startpc);
	return r->caller_goid != 0;
}

/* The goroutine that NewStream returned this stream of gRPC to. */
INLINE bool go_stream_asked(struct __socket_data *r, struct socket_state_t *st, u64 stream,
			    u64 *parent_goid)
{
	struct go_key key = {.goid = stream, .tgid = r->tgid};
	struct go_asked_t *asked = go_asked_map.lookup(&key);

	if (!asked || asked->id != (u32)r->length || asked->conn != st->go_conn)
		return false;
	r->caller_goid = asked->goid;
	r->caller_site = asked->site;
	*parent_goid = asked->parent_goid;
	return true;
}

/* A record for one stream; none where nothing is known of it. False: it is too early. */
INLINE bool tell_stream(void *ctx, struct op_t *op, struct socket_state_t *st,
			struct proc_info_t *pi, struct go_found_t *found)
{
	bool grpc = st->go_kind == GO_CONN_GRPC_CLIENT, known = false, later;
	s32 waits_at = pi->h2[st->go_kind == GO_CONN_X_CLIENT].cs_waits;
	u64 at = 0, waits = 0, parent_goid = 0;
	u8 rule = RULE_NONE, responded = 0;
	struct __socket_data_buffer *b;

	if (!found->stream)
		return false;
	b = burst_reserve(ctx, op->rec.ts, &at);
	if (!b || at > BURST_DATA - RECORD_ROOM)
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
	r->length = (u32)found->id;
	r->uid = stream_uid(st->socket_id, found->id);
	r->flags = FLAG_GO;
	r->context_uid = found->uid;
	if (r->context_uid)
		r->flags |= FLAG_CONTEXT;
	r->size = sizeof(*r);
	later = grpc ? pi->asked : waits_at >= 0;
	if (grpc && later) {
		known = go_stream_asked(r, st, found->stream, &parent_goid);
	} else if (later) {
		READ_USER(waits, found->stream, waits_at);
		known = go_stream_waiter(r, pi, waits, &parent_goid);
	}
	if (!known && !r->context_uid) {
		/* Asked for a moment ago: its caller may not wait yet. */
		if (later && op->rec.direction == EGRESS)
			return false;
		count(STAT_GO_STREAMS_UNBOUND);
		return true;
	}
	if (known)
		r->caller_uid = carried_by(r->tgid, r->caller_goid, parent_goid, &rule, &responded);
	if (r->caller_uid) {
		r->flags |= FLAG_CALLER;
		if (rule == RULE_ANCESTOR)
			r->flags |= FLAG_CALLER_PARENT;
		if (r->context_uid && r->context_uid != r->caller_uid)
			count(STAT_GO_DISAGREE);
	}
	burst_commit(b, sizeof(*r));
	return true;
}

/* What has been told of is not looked for again; nor is, after some looks, what is not there:
 * streams that ended before they were seen. */
INLINE void go_end_scan(struct go_scan_t *s, struct socket_state_t *st, u32 told)
{
	u32 last = s->last, seen = s->seen, left = s->expected > told ? s->expected - told : 0;
	u32 n;

	if (left && (st->go_missed == GO_JOINED || ++st->go_missed >= GO_LOOKS)) {
		if (st->go_missed != GO_JOINED)
			count_n(STAT_GO_STREAMS_UNBOUND, left);
		n = left + bits(seen);
		seen = n >= 32 ? ~0U : (1U << n) - 1;
		left = 0;
	}
	st->go_gap = left != 0;
	if (!left)
		st->go_missed = 0;
	/* The run of ones at the bottom is all known. */
	n = bits((seen ^ (seen + 1)) >> 1);
	if (seen == ~0U)
		n = 32;
	if (n) {
		last = (last ? last : -1) + 2 * n;
		seen = n >= 32 ? 0 : seen >> n;
	}
	st->go_told = (u64)seen << 32 | last; /* at once: another CPU may be at it, too */
}

/* Program 13: tells user space, some at a time. */
INLINE int run_go_tell(void *ctx)
{
	struct op_t *op = operation();
	struct go_scan_t *s = go_scan();

	if (!op || !s)
		return 0;
	struct socket_state_t *st = op_socket(op);
	struct proc_info_t *pi = op_process(op);
	if (!st || !pi)
		return 0;
	NO_UNROLL
	for (int i = 0; i < TOLD_AT_ONCE; i++) {
		u32 n = s->done;
		struct go_found_t *found = &s->list[within(n, GO_FOUND)];

		if (n >= s->found)
			break;
		s->done = n + 1;
		if (tell_stream(ctx, op, st, pi, found)) {
			s->seen |= 1U << go_place(found->id, s->last);
			s->told += 1;
		}
	}
	if (s->done < s->found)
		go_jump(ctx, op, PROG_GO_TELL);
	go_end_scan(s, st, s->told);
	go_resume_data(ctx, op);
	return 0;
}

/* A server's streams have been looked through: back to who wanted something of them. */
INLINE int go_looked(void *ctx, struct op_t *op, struct go_scan_t *s)
{
	op->server_rounds = 0;
	op->again = 0;
	op->hit = 0;
	if (s->resume == PROG_GO)
		__progs_jmp_tp_map.call(ctx, PROG_GO);
	else
		__progs_jmp_tp_map.call(ctx, PROG_GO_ASKED);
	return 0;
}

/* Program 14: is a context's value a stream of this gRPC transport? Then its type is that
 * of streams. */
INLINE int run_go_proof(void *ctx)
{
	struct op_t *op = operation();
	struct go_scan_t *s = go_scan();
	u32 more = GROUP_READ;
	u64 hit = 0;

	if (!op || !s)
		return 0;
	struct proc_info_t *pi = op_process(op);
	if (!pi)
		return 0;
	if (!op->server_rounds) {
		u64 map = 0;
		READ_USER(map, s->walk.conn, pi->grpc.streams);
		go_map_start(&s->server, pi, map);
	}
	op->server_rounds += 1;
	NO_UNROLL
	for (int i = 0; i < GROUPS_AT_ONCE; i++) {
		more = go_map_next(&s->server);
		if (more == GROUP_END)
			break;
		if (more == GROUP_SKIP)
			continue;
		NO_UNROLL
		for (u32 j = 0; j < GO_SLOTS; j++) {
			u64 stream = 0, full, other;
			u32 id = 0;
			full = go_map_slot(&s->server, j, &id, &stream);
			other = stream ^ s->walk.want;
			hit |= full & (top_bit(other | -other) ^ 1);
		}
	}
	if (hit) {
		pi->grpc.stream_type = s->walk.type;
	} else if (more != GROUP_END) {
		if (op->server_rounds < GROUP_ROUNDS)
			go_jump(ctx, op, PROG_GO_PROOF);
		count(STAT_GO_SCAN_CUT);
	}
	return go_looked(ctx, op, s);
}

/* Program 12: learns the contexts of an HTTP/2 server connection's new streams. */
INLINE int run_go_server(void *ctx)
{
	struct op_t *op = operation();
	struct go_scan_t *s = go_scan();
	u32 more = GROUP_READ;

	if (!op || !s)
		return 0;
	struct proc_info_t *pi = op_process(op);
	struct go_context_key key = {.context = s->walk.context, .tgid = op->rec.tgid};
	struct go_context_t *conn = go_context_map.lookup(&key);
	if (!pi || !conn)
		return go_looked(ctx, op, s);
	struct go_h2_t *h = &pi->h2[s->walk.kind == GO_CONN_X_SERVER];
	if (!op->server_rounds) {
		u64 map = 0;
		READ_USER(map, s->walk.conn, h->streams);
		go_map_start(&s->server, pi, map);
		s->server_last = op->again ? 0 : conn->last;
		s->server_top = s->server_last;
		s->fresh_found = 0;
		s->fresh_done = 0;
	}
	op->server_rounds += 1;
	NO_UNROLL
	for (int i = 0; i < GROUPS_AT_ONCE; i++) {
		if (s->fresh_found >= GO_FRESH)
			break;
		more = go_map_next(&s->server);
		if (more == GROUP_END)
			break;
		if (more == GROUP_SKIP)
			continue;
		NO_UNROLL
		for (u32 j = 0; j < GO_SLOTS; j++) {
			u64 stream = 0, full;
			u32 id = 0, n = s->fresh_found;
			full = go_map_slot(&s->server, j, &id, &stream);
			s->fresh[within(n, 2 * GO_FRESH)] = stream;
			s->fresh_found = n + (full & above(id, s->server_last));
		}
	}
	s->more = more;
	NO_UNROLL
	for (int i = 0; i < FRESH_AT_ONCE; i++) {
		u32 n = s->fresh_done, id = 0;
		struct go_context_key of = {.tgid = op->rec.tgid};
		u64 stream;

		if (n >= s->fresh_found)
			break;
		s->fresh_done = n + 1;
		stream = s->fresh[within(n, 2 * GO_FRESH)];
		READ_USER(of.context, stream, h->stream_ctx + 8);
		READ_USER(id, stream, h->stream_id);
		if (!of.context || !id)
			continue;
		go_stream_map.update(&of, &stream);
		op->hit |= top_bit((of.context ^ s->walk.want) - 1);
		if (id > s->server_top)
			s->server_top = id;
	}
	if (s->fresh_done >= s->fresh_found) {
		s->fresh_done = 0;
		s->fresh_found = 0;
	} else {
		s->more = GROUP_READ; /* not yet all of those */
	}
	if (s->more != GROUP_END) {
		if (op->server_rounds < GROUP_ROUNDS)
			go_jump(ctx, op, PROG_GO_SERVER);
		count(STAT_GO_SCAN_CUT);
		return go_looked(ctx, op, s);
	}
	conn->last = s->server_top;
	if (!op->hit && s->server_last) {
		/* It should have been known: forgotten, or over. */
		op->again = 1;
		op->server_rounds = 0;
		go_jump(ctx, op, PROG_GO_SERVER);
	}
	return go_looked(ctx, op, s);
}

#endif
