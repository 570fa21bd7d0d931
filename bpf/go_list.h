/* The list of a Go client's new streams, while it is made, gone through and told. */
#ifndef OTEL_EBPF_GO_LIST_H
#define OTEL_EBPF_GO_LIST_H

#include "go_streams.h"

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

#endif
