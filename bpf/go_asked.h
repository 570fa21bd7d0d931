/* Who asked for the streams of a Go client's connection: the new ones are found in its table,
 * their contexts followed, and user space told, some at a time and in the order of their
 * numbers. What no program is left for comes with the connection's next segment. */
#ifndef OTEL_EBPF_GO_ASKED_H
#define OTEL_EBPF_GO_ASKED_H

#include "go_streams.h"

#define STEPS_AT_ONCE 160 /* steps along chains of contexts in one program */
#define ENDS_AT_ONCE 64
#define TOLD_AT_ONCE 32
#define GO_CHUNK 64       /* streams that go through all programs before the next do */
#define GO_CHUNK_READ 32
#define GO_LOOKS 8        /* for a stream that is not there */

/* Places on the list, by the streams' numbers: those of clients are odd, without gaps. */
INLINE u32 go_place(u32 id, u32 last)
{
	return (id - last - 1) >> 1;
}

INLINE u32 go_number(u32 place, u32 last)
{
	return (last ? last + 2 : 1) + 2 * place;
}

/* 1 where the stream at this place has been told of in an earlier look. */
INLINE u64 go_known(struct go_scan_t *s, u32 place)
{
	return s->seen[within(place >> 6, GO_SEEN)] >> (place & 63) & 1;
}

INLINE u32 bits_set(u64 x)
{
	x -= x >> 1 & 0x5555555555555555ULL;
	x = (x & 0x3333333333333333ULL) + (x >> 2 & 0x3333333333333333ULL);
	x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fULL;
	return x * 0x0101010101010101ULL >> 56;
}

/* The stream that was found for this place, if its tag says so. */
INLINE struct go_found_t *go_found(struct go_scan_t *s, u32 place)
{
	return &s->list[within(place, GO_WINDOW)];
}

INLINE struct go_asker_t *go_asker(struct go_scan_t *s, u32 place)
{
	return &s->askers[within(place, GO_WINDOW)];
}

INLINE void go_next_chunk(struct op_t *op, struct go_scan_t *s)
{
	s->chunk = s->told + (op->at_entry || op->after > GO_JUMPS_READ ? GO_CHUNK : GO_CHUNK_READ);
	if (s->chunk > s->places)
		s->chunk = s->places;
}

INLINE void go_begin_scan(struct op_t *op, struct go_scan_t *s, struct socket_state_t *st,
			  struct proc_info_t *pi)
{
	u64 map = 0;
	u32 next = go_next_stream(st, pi), places, known = 0;
	bool grpc = st->go_kind == GO_CONN_GRPC_CLIENT;
	struct go_h2_t *h = &pi->h2[st->go_kind == GO_CONN_X_CLIENT];

	/* Kept in memory: loops over streams are then the same to the verifier for all kinds. */
	s->stream_base = grpc ? pi->grpc.cs_base : -1;
	s->stream_id = grpc ? pi->grpc.cs_id : h->cs_id;
	s->stream_ctx = grpc ? pi->grpc.cs_ctx : h->cs_ctx;
	s->stream_req = grpc ? -1 : h->cs_req;
	s->stream_waits = grpc ? -1 : h->cs_waits;
	s->stream_asked = grpc && pi->asked;
	READ_USER(map, st->go_conn, grpc ? pi->grpc.cc_streams : h->cc_streams);
	go_map_start(&s->client, pi, map);
	s->look += 1;
	s->last = st->go_told;
	for (int i = 0; i < GO_SEEN; i++) {
		s->seen[i] = st->go_seen[i];
		known += bits_set(st->go_seen[i]);
		s->after[i] = 0;
	}
	places = next > s->last + 1 ? (next - s->last - 1 + !s->last) / 2 : 0;
	st->go_next = next; /* not taken yet */
	st->go_gap = 1;     /* until they are told of */
	s->left = places > GO_WINDOW;
	s->blind = 0;
	if (s->left)
		places = GO_WINDOW;
	s->places = places;
	s->top = go_number(places, s->last) - 2;
	s->expected = places > known ? places - known : 0;
	s->joined = st->go_missed == GO_JOINED;
	s->lacking = s->joined ? s->top : st->go_missed >= GO_LOOKS ? st->go_aged : 0;
	s->found = 0;
	s->begun = 0;
	s->walked = 0;
	s->ended = 0;
	s->told = 0;
	s->run = 0;
	s->walking = 0;
	go_next_chunk(op, s);
}

/* No program is left for what is on the list from this place on. */
INLINE void go_cut_list(struct go_scan_t *s, u32 place)
{
	count(STAT_GO_LOOK_CUT);
	s->chunk = place;
	s->places = place;
	s->left = 1;
}

/* The look is over. Streams that are left are looked for again; those that are not there
 * after some looks have ended before they were seen. */
INLINE void go_end_scan(void *ctx, struct op_t *op, struct go_scan_t *s,
			struct socket_state_t *st)
{
	u32 last = s->run ? go_number(s->run - 1, s->last) : s->last;
	bool missing = s->run < s->places;

	if (s->joined ? !s->left : !missing || last != s->last || s->lacking)
		st->go_missed = 0;
	if (missing && !s->blind && !s->joined) {
		if (!st->go_missed)
			st->go_aged = s->top;
		st->go_missed += 1;
	}
	st->go_gap = missing || s->left;
	if (last >= st->go_told) { /* else another CPU was at it, too, and came further */
		st->go_told = last;
		for (int i = 0; i < GO_SEEN; i++)
			st->go_seen[i] = s->after[i];
	}
	if (!op->after)
		go_resume_data(ctx, op);
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
			u32 id = 0;
			full = go_map_slot(&s->client, j, &id, &stream);
			full &= above(id, s->last) & (above(id, s->top) ^ 1);
			/* Without branches: what is no new stream goes to the place behind. */
			u64 place = go_place(id, s->last) & -full | GO_WINDOW & (full - 1);
			struct go_found_t *at = &s->list[within(place, 2 * GO_WINDOW)];
			at->stream = stream;
			at->tag = (u64)s->look << 32 | id;
			s->found += full & ~go_known(s, place);
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
		s->blind = 1;
	}
	go_jump(ctx, op, PROG_GO_ASKED);
	go_cut_list(s, 0);
	go_end_scan(ctx, op, s, st);
	return 0;
}

/* Where the walk from the context of the stream at this place begins; nowhere, where there is
 * no stream, or its slot is being filled: it is there when it is looked at again. */
INLINE void go_begin_walk(struct go_scan_t *s)
{
	struct go_found_t *found = go_found(s, s->begun);
	struct go_asker_t *asker = go_asker(s, s->begun);
	u32 id = 0, number = go_number(s->begun, s->last);
	u64 base = found->stream, words[2] = {};

	asker->end = GO_ENDS_ABSENT;
	if (found->tag != ((u64)s->look << 32 | number) || go_known(s, s->begun))
		return;
	if (s->stream_base >= 0)
		READ_USER(base, base, s->stream_base);
	READ_USER(id, base, s->stream_id);
	if (id != number)
		return;
	if (s->stream_req >= 0)
		READ_USER(base, base, s->stream_req);
	READ_USER(words, base, s->stream_ctx);
	asker->type = words[0];
	asker->context = words[1];
	asker->end = GO_WALKS;
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
	u32 tgid = op->rec.tgid;
	NO_UNROLL
	for (int i = 0; i < GO_CHUNK; i++) {
		if (s->begun >= s->chunk)
			break;
		go_begin_walk(s);
		s->begun += 1;
	}
	NO_UNROLL
	for (int i = 0; i < STEPS_AT_ONCE; i++) {
		struct go_asker_t *asker = go_asker(s, s->walked);
		u32 end = asker->end;

		if (s->walked >= s->chunk)
			break;
		if (!s->walking)
			go_walk_of(&s->walk, asker->type, asker->context);
		if (end == GO_WALKS)
			end = go_walk_on(&s->walk, pi, tgid);
		s->walking = end == GO_WALKS;
		asker->end = end;
		asker->context = s->walk.context;
		asker->before = s->walk.before;
		asker->type = s->walk.words[4];
		asker->value = s->walk.words[5];
		s->walked += end != GO_WALKS;
	}
	if (s->walked < s->chunk) {
		if (go_jumps_left(op, 3)) /* this one, and those that tell of what was found */
			go_jump(ctx, op, PROG_GO_ASKED);
		go_cut_list(s, s->walked);
	}
	go_jump(ctx, op, PROG_GO_ENDS);
	go_cut_list(s, s->told);
	go_end_scan(ctx, op, s, st);
	return 0;
}

/* Program 20: whose requests the contexts belong to at which those walks have ended. */
INLINE int run_go_ends(void *ctx)
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
	for (int i = 0; i < ENDS_AT_ONCE; i++) {
		struct go_asker_t *asker = go_asker(s, s->ended);
		struct go_walk_t *w = &s->walk;

		if (s->ended >= s->chunk)
			break;
		w->context = asker->context;
		w->before = asker->before;
		w->words[4] = asker->type;
		w->words[5] = asker->value;
		w->kind = 0;
		asker->uid = go_walk_end(w, pi, op->rec.tgid, asker->end, op->looked);
		if (!asker->uid && w->kind && !op->looked)
			break;
		/* The next look may have programs enough, if this one had not all of them for it. */
		if (!asker->uid && op->looked == GO_LOOKED_PART && (s->ended || !op->at_entry))
			break;
		op->looked = 0;
		s->ended += 1;
	}
	if (s->ended < s->chunk) {
		if (go_jumps_left(op, 2) && op->looked != GO_LOOKED_PART) {
			if (s->walk.kind && !op->looked) {
				op->looked = 1;
				go_look(ctx, op, s, PROG_GO_ENDS);
			}
			go_jump(ctx, op, PROG_GO_ENDS);
		}
		go_cut_list(s, s->ended);
	}
	go_jump(ctx, op, PROG_GO_TELL);
	go_cut_list(s, s->told);
	go_end_scan(ctx, op, s, st);
	return 0;
}

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
