/* HTTP/2, and gRPC within it: frames are found in the byte stream as it passes, and of each
 * segment only what tells of streams is kept. Bodies are passed over by their lengths, so
 * a segment that only carries a body costs a look at its frames and makes no record. */
#ifndef OTEL_EBPF_HTTP2_H
#define OTEL_EBPF_HTTP2_H

#include "http2_frames.h"
#include "sent.h"
#include "socket_record.h"

#define HTTP2_STEPS 88                /* frames and pieces of them that a program takes */
#define HTTP2_ROUNDS 26               /* programs a segment takes; the kernel allows 33 */
#define HTTP2_STRAYS 16               /* segments without a frame until it was no HTTP/2 */

INLINE struct http2_walk_t *http2_walk(void)
{
	int zero = 0;
	return http2_buf.lookup(&zero);
}

/* The way of a segment on such a socket. A send waits for its exit, where it is certain how
 * much of it moved: what a frame's header says of the next one's place is kept on the socket.
 * `trial`: the protocol is a guess; `preface`: bytes of the client's preface still to pass;
 * `uprobe`, a constant: of what type the program is. */
INLINE void http2_segment(void *ctx, struct member_fields_offset *o, struct op_t *op,
			  struct http2_walk_t *w, struct socket_state_t *st, bool trial,
			  u32 preface, bool uprobe)
{
	struct __socket_data *r = &op->rec;
	u64 sk = op->sk;

	if (!w || defer(op))
		return;
	__builtin_memset(w, 0, sizeof(*w));
	struct http2_conn_t *conn = http2_conn_map.lookup(&sk);
	if (!conn || conn->socket_id != st->socket_id) {
		w->fresh.socket_id = st->socket_id;
		if (conn)
			http2_conn_map.update(&sk, &w->fresh);
		else /* unless another CPU, at the other direction, has just done so */
			http2_conn_map.insert(&sk, &w->fresh);
		conn = http2_conn_map.lookup(&sk);
	}
	if (!conn)
		return;
	struct http2_half_t *half = &conn->halves[r->direction & 1];
	w->preface = preface;
	w->trial = trial;
	w->rest = op->count;
	if (op->limit && op->limit < op->count)
		w->rest = op->limit;
	if (st->tls)
		r->caller_site = r->ref_ts; /* which is to tell of frames */
	fill_address(r, st);
	read_seq(o, op, st);
	st->bytes[r->direction & 1] += op->count;
	r->begins = BEGINS_FRAMES;
	r->protocol = PROTOCOL_HTTP2;
	w->inside = half->left || half->got;
	if (http2_gap(op, half) && !preface) {
		count(STAT_HTTP2_GAPS);
		half->sync = 0;
	}
	if (!half->sync || preface) {
		half->untold |= HTTP2_LOST;
		w->inside = 0;
		http2_lose(half);
	}
	if (st->role != ROLE_CLIENT && r->direction == INGRESS && !trial)
		http2_unsettle(op, st);
	if (uprobe)
		__progs_jmp_kp_map.call(ctx, KP_HTTP2);
	else
		__progs_jmp_tp_map.call(ctx, PROG_HTTP2);
	/* No calls are left, or the program is not there: what passes now is not seen. */
	half->untold |= HTTP2_LOST;
	http2_lose(half);
	if (!uprobe)
		count(STAT_HTTP2_UNSEEN);
}

/* Goes through a segment, frame by frame, as far as one program can. `to` has room for a
 * record with 2 * CAPTURE_MAX bytes of payload. */
INLINE bool http2_go_through(struct op_t *op, struct http2_walk_t *w, struct socket_state_t *st,
			     struct http2_conn_t *conn, char *to)
{
	struct http2_half_t *half = &conn->halves[op->rec.direction & 1];

	if (w->round == 0) {
		__builtin_memcpy(w->head, half->head, 16);
		w->told = http2_told(op, st, conn);
		if (w->preface)
			http2_opens(w, half, w->preface);
		if (!op->buf) {
			/* Only its length is known: fine within a body. */
			u64 n = half->left < w->rest ? half->left : w->rest;
			half->left -= n;
			w->rest -= n;
			w->stop = 1;
			if (w->rest || half->keep || half->got) {
				http2_lose(half);
				w->lost = HTTP2_LOST;
				w->unread = 1;
			}
			w->tell = half->ends && !half->left;
		} else if (!half->sync) {
			half->sync = 1; /* until its first header says otherwise */
		}
	}
	w->full = 0;
	if (!w->stop) {
		NO_UNROLL
		for (int i = 0; i < HTTP2_STEPS; i++)
			if (!http2_step(op, w, st, half, to + sizeof(struct __socket_data)))
				break;
	}
	if (w->opened) {
		http2_opened(op, w, st, conn);
		if (w->told == HTTP2_TOLD_LACKING)
			w->told = 0;
	}
	if (w->lost && !w->trial)
		count(w->unread ? STAT_HTTP2_NOT_READ : STAT_HTTP2_NO_FRAME);
	if (w->trial) {
		/* Everything fits, up to a frame's end or through several of them. */
		bool apart = op->count == HTTP2_HEADER;
		if (w->stop || !w->frames ||
		    ((half->left || half->got) && w->frames < 3 && !apart)) {
			http2_lose(half);
			w->stop = 1;
			w->out = 0;
			w->tell = 0;
			count(STAT_UNKNOWN_PROTOCOL);
			return false;
		}
		st->protocol = PROTOCOL_HTTP2;
		w->trial = 0;
	}
	if (w->frames)
		half->strays = 0;
	else if (!half->sync && half->strays++ > HTTP2_STRAYS)
		st->protocol = 0; /* whatever it was, it is not this */
	return http2_record(op, w, st, half, to);
}

/* Whether another program has to go on with the segment. */
INLINE bool http2_goes_on(struct http2_walk_t *w)
{
	if (!w->rest || w->stop)
		return false;
	w->round += 1;
	return w->round < HTTP2_ROUNDS;
}

/* The end of a segment, or of what can be done with it. */
INLINE void http2_leave(struct op_t *op, struct http2_walk_t *w, struct http2_half_t *half)
{
	if (w->rest && !w->stop) {
		http2_lose(half);
		half->untold |= HTTP2_LOST;
		w->cut = 1;
	}
	if (op->limit && op->limit < op->count) {
		/* More messages of one call follow, which are not looked at. */
		http2_lose(half);
		half->untold |= HTTP2_LOST;
	}
	__builtin_memcpy(half->head, w->head, 16);
	http2_note_place(op, w);
}

/* Program 9. */
INLINE int run_http2(void *ctx)
{
	struct op_t *op = operation();
	struct http2_walk_t *w = http2_walk();
	u64 at = 0;

	if (!op || !w)
		return 0;
	u64 sk = op->sk;
	struct socket_state_t *st = socket_state_map.lookup(&sk);
	struct http2_conn_t *conn = http2_conn_map.lookup(&sk);
	if (!st || !conn)
		return 0;
	struct http2_half_t *half = &conn->halves[op->rec.direction & 1];
	struct __socket_data_buffer *b = burst_reserve(ctx, op->rec.end_ts, &at);
	if (!b || at > BURST_DATA - RECORD_ROOM)
		return 0;
	if (http2_go_through(op, w, st, conn, b->data + at))
		burst_commit(b, op->rec.size);
	if (http2_goes_on(w))
		__progs_jmp_tp_map.call(ctx, PROG_HTTP2);
	http2_leave(op, w, half);
	if (w->cut)
		count(STAT_HTTP2_CUT);
	if (op->after > w->round) {
		op->after -= w->round;
		__progs_jmp_tp_map.call(ctx, PROG_GO_STREAMS);
	}
	return 0;
}

#endif
