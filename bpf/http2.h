/* HTTP/2, and gRPC within it: frames are found in the byte stream as it passes, and of each
 * segment only what tells of streams is kept. Bodies are passed over by their lengths, so
 * a segment that only carries a body costs a look at its frames and makes no record.
 *
 * A record of this kind has begins = BEGINS_FRAMES and, one after another, for each frame
 * that is kept: where it begins in the stream (as tcp_seq, big-endian), its 9-byte header and
 * what the segment holds of its payload; DATA that ends a stream is there without payload.
 * Payload of a frame that began in an earlier record comes first. ref_ts tells how many
 * bytes that is, which record of its direction this is, and what is wrong with it. */
#ifndef OTEL_EBPF_HTTP2_H
#define OTEL_EBPF_HTTP2_H

#include "head.h"
#include "sent.h"
#include "socket_record.h"

#define HTTP2_ENTRY (4 + HTTP2_HEADER)
#define HTTP2_ROOM (CAPTURE_MAX - 64) /* payload of one record */
#define HTTP2_STEPS 88                /* frames and pieces of them that a program takes */
#define HTTP2_ROUNDS 26               /* programs a segment takes; the kernel allows 33 */
#define HTTP2_STRAYS 16               /* segments without a frame until it was no HTTP/2 */
#define HTTP2_STEADY 2                /* segments that follow each other until a gap is believed */

/* In the third 16 bits of ref_ts. */
#define HTTP2_LOST 1   /* frames may have passed before this record that were not seen */
#define HTTP2_BEGINS 2 /* the client's preface is in it, or in a segment before it */
#define HTTP2_TOLD 4   /* header blocks that end in it are told by the program itself, too */
#define HTTP2_TOLD_LACKING (HTTP2_TOLD | 8) /* because they could not all be decoded */

INLINE struct http2_walk_t *http2_walk(void)
{
	int zero = 0;
	return http2_buf.lookup(&zero);
}

/* A thread that serves streams may write for any of them: what else it carries then says
 * nothing of what it writes. */
INLINE void http2_unsettle(struct op_t *op, struct socket_state_t *st)
{
	u64 unit = op->unit;
	struct trace_info_t *t;

	if (op->go || !unit)
		return;
	t = __trace_map.lookup(&unit);
	if (t) {
		t->loop |= LOOP_STREAMS;
		return;
	}
	struct trace_info_t fresh = {
		.socket_id = st->socket_id, .ts = op->rec.ts, .loop = LOOP_STREAMS};
	if (__trace_map.update(&unit, &fresh))
		count(STAT_TRACE_MAP_FULL);
	else
		count(STAT_TRACES_OPENED);
}

/* Header blocks of this direction have not been seen, or one of them may not have been. */
INLINE void http2_lose(struct http2_half_t *half)
{
	half->sync = 0;
	half->left = 0;
	half->got = 0;
	half->whole = 0;
}

/* Whether the agent can decode this direction's header blocks. */
INLINE bool http2_whole(struct http2_conn_t *conn, u8 direction)
{
	int zero = 0;
	u64 *refused = bursts_refused.lookup(&zero);

	return conn->halves[direction & 1].whole && refused && *refused == conn->refused;
}

/* The connection begins: `left` bytes of the client's preface are still to pass. */
INLINE void http2_opens(struct http2_walk_t *w, struct http2_half_t *half, u32 left)
{
	half->left = left;
	half->keep = 0;
	half->ends = 0;
	half->sync = 1;
	w->tell = 1;
	w->frames += 1;
	w->opened = 1;
}

/* And what that says of the connection: the other side's frames follow each other from its
 * next byte on. Behind the loop over steps, where it would be a case of each of them. */
INLINE void http2_opened(struct op_t *op, struct http2_walk_t *w, struct socket_state_t *st,
			 struct http2_conn_t *conn)
{
	u8 direction = op->rec.direction & 1;
	struct http2_half_t *half = &conn->halves[direction], *other = &conn->halves[direction ^ 1];

	int zero = 0;
	u64 *refused = bursts_refused.lookup(&zero);

	w->opened = 0;
	if (refused)
		conn->refused = *refused;
	half->whole = 1;
	/* After an upgrade, the server may have answered before this. */
	other->whole = st->protocol != PROTOCOL_HTTP1 && !other->serial;
	st->protocol = PROTOCOL_HTTP2;
	st->role = direction == INGRESS ? ROLE_SERVER : ROLE_CLIENT;
	half->untold = HTTP2_BEGINS;
	other->sync = 1;
	if (!other->serial)
		other->untold = 0;
}

/* Whether bytes have passed since the segment before this one that nobody saw. Only where places
 * have followed from lengths so far: with the kernel's own TLS, and where two threads send at
 * once, they do not. */
INLINE bool http2_gap(struct op_t *op, struct http2_half_t *half)
{
	u32 seq = op->rec.tcp_seq;
	bool follows = half->next == seq;
	bool gap = !follows && half->steady >= HTTP2_STEADY;

	half->next = seq + (u32)op->count;
	half->steady = !follows ? 0 : half->steady < 255 ? half->steady + 1 : 255;
	return gap;
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

/* Whose the header block is that begins with the byte c: static entries and literals with
 * their names tell requests from responses. */
INLINE u8 http2_block_role(u8 c, u8 direction)
{
	bool response = (c >= 0x88 && c <= 0x8e) || c == 0x48 || c == 0x08 || c == 0x18;
	bool request = (c >= 0x81 && c <= 0x87) || (c >= 0x41 && c <= 0x47) ||
		       (c >= 1 && c <= 7) || (c >= 0x11 && c <= 0x17);

	if (request == response)
		return ROLE_UNKNOWN;
	return request == (direction == INGRESS) ? ROLE_SERVER : ROLE_CLIENT;
}

/* A frame's header is complete: what becomes of its payload. False: it is none. */
INLINE bool http2_begin(struct op_t *op, struct http2_walk_t *w, struct http2_half_t *half,
			char *to)
{
	const u8 *p = w->head;

	if (!http2_plausible(p))
		return false;
	/* Read again: the verifier knows the type by now, and would follow each to the end. */
	asm volatile("" : : : "memory");
	u8 type = p[3];
	u32 length = (u32)p[0] << 16 | (u32)p[1] << 8 | p[2];
	bool ends = type == HTTP2_DATA && (p[4] & HTTP2_END_STREAM);
	bool block = type == HTTP2_HEADERS || type == HTTP2_PUSH_PROMISE ||
		     type == HTTP2_CONTINUATION;
	w->frames += 1;
	w->inside = 0;
	half->left = length;
	half->keep = block || type == HTTP2_RST_STREAM || type == HTTP2_GOAWAY;
	half->ends = ends;
	w->block = type != HTTP2_HEADERS || (p[4] & 8) ? 0 : p[4] & 0x20 ? 2 : 1;
	if (half->keep || ends) {
		/* Bytes of the segment up to here, less this header. */
		u32 at = (u32)(op->count - w->rest) - HTTP2_HEADER;
		u64 out = w->out & (CAPTURE_MAX - 1);
		*(u32 *)(to + out) = bpf_htonl(op->rec.tcp_seq + at);
		__builtin_memcpy(to + out + 4, p, HTTP2_HEADER);
		w->out += HTTP2_ENTRY;
	}
	return true;
}

/* One step of the walk: the next buffer, a frame, or a piece of its header or payload. False:
 * no more can be done here. */
INLINE bool http2_step(struct op_t *op, struct http2_walk_t *w, struct socket_state_t *st,
		       struct http2_half_t *half, char *to)
{
	u64 n;

	if (w->room == 0) {
		if (w->rest == 0)
			return false;
		if (op->iovcnt) {
			struct iovec_t iov = {};
			if (w->next >= op->iovcnt ||
			    read_user(&iov, sizeof(iov), op->buf + (u64)w->next * 16))
				goto unread;
			w->next += 1;
			w->at = iov.base;
			w->room = iov.len < w->rest ? iov.len : w->rest;
		} else {
			w->at = op->buf;
			w->room = w->rest;
		}
		if (w->room == 0)
			return true;
	}
	if (half->left == 0) {
		if (w->out > HTTP2_ROOM - HTTP2_ENTRY) {
			w->full = 1;
			return false;
		}
		if (half->got == 0 && w->room >= HTTP2_HEADER) {
			if (read_user(w->head, HTTP2_HEADER, w->at))
				goto unread;
			n = HTTP2_HEADER;
		} else {
			n = HTTP2_HEADER - (half->got & 15);
			if (n > w->room)
				n = w->room;
			if (read_user(w->head + (half->got & 15), n & 15, w->at))
				goto unread;
		}
		w->at += n;
		w->room -= n;
		w->rest -= n;
		half->got += n;
		if (half->got < HTTP2_HEADER)
			return true;
		half->got = 0;
		if (!http2_begin(op, w, half, to)) {
			/* A server that spoke first is asked now. */
			if (half->serial || W4(w->head[0], w->head[1], w->head[2], w->head[3]) !=
						    W4('P', 'R', 'I', ' '))
				goto lost;
			http2_opens(w, half, HTTP2_PREFACE - HTTP2_HEADER);
			return true;
		}
		if (half->left == 0 || w->room == 0)
			return true;
	}
	n = half->left < w->room ? half->left : w->room;
	if (half->keep) {
		if (w->out >= HTTP2_ROOM) {
			w->full = 1;
			return false;
		}
		if (n > HTTP2_ROOM - w->out)
			n = HTTP2_ROOM - w->out;
		char *piece = to + (w->out & (CAPTURE_MAX - 1));
		if (n == 0 || read_user_most(piece, n, CAPTURE_MAX, w->at))
			goto unread;
		if (w->block && n > 5) {
			if (st->role == ROLE_UNKNOWN)
				st->role = http2_block_role(piece[w->block == 2 ? 5 : 0],
							    op->rec.direction);
			w->block = 0;
		}
		w->out += n;
		if (w->inside)
			w->mid += n;
	}
	w->at += n;
	w->room -= n;
	w->rest -= n;
	half->left -= n;
	if (half->left == 0) {
		w->inside = 0;
		if (half->ends)
			w->tell = 1;
	}
	return true;
unread:
	w->unread = 1;
lost:
	w->lost = HTTP2_LOST;
	w->stop = 1;
	http2_lose(half);
	return false;
}

/* The segment has been gone through, or as much of it as one record takes. Whether there is a
 * record. */
INLINE bool http2_record(struct op_t *op, struct http2_walk_t *w, struct socket_state_t *st,
			 struct http2_half_t *half, char *to)
{
	struct __socket_data *r = &op->rec;
	u32 out = w->out & 0x1fff;

	if (!out && !w->tell) {
		half->untold |= w->lost;
		w->lost = 0;
		return false;
	}
	r->role = st->role;
	r->data_len = out;
	r->segments = 1;
	r->ref_ts = (u64)half->serial << 32 | (u64)(half->untold | w->told) << 16 | w->mid;
	r->size = (sizeof(*r) + out + 7) & ~7;
	__builtin_memcpy(to, r, sizeof(*r));
	half->serial += 1;
	half->untold = w->lost; /* behind these frames */
	w->lost = 0;
	w->out = 0;
	w->mid = 0;
	w->tell = 0;
	w->inside = half->left != 0;
	return true;
}

/* Whether uprobes tell of the header blocks that a Go program reads from this socket. */
INLINE u8 http2_told(struct op_t *op, struct socket_state_t *st, struct http2_conn_t *conn)
{
	u32 tgid = op->rec.tgid;
	struct proc_info_t *pi;

	if (!op->go || op->rec.direction != INGRESS)
		return 0;
	pi = proc_info_map.lookup(&tgid);
	if (!pi || !pi->headers.on)
		return 0;
	bool lacking = pi->headers.on == HEADERS_LACKING;
	if (lacking && http2_whole(conn, INGRESS))
		return 0;
	u8 told = pi->headers.told & (st->role ? 1 << (st->role & 3) : 0xff);
	return !told ? 0 : lacking ? HTTP2_TOLD_LACKING : HTTP2_TOLD;
}

/* When those uprobes fire, the segment has been read: they find its place here. */
INLINE void http2_note_place(struct op_t *op, struct http2_walk_t *w)
{
	u32 begin = op->rec.tcp_seq;
	struct http2_seq_key key = {
		.tgid = op->rec.tgid, .fd = op->rec.fd, .end = begin + (u32)op->count};

	if (w->told)
		http2_tcp_seq_map.update(&key, &begin);
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
