/* From frame to frame of a segment, and from buffer to buffer. */
#ifndef OTEL_EBPF_HTTP2_FRAMES_H
#define OTEL_EBPF_HTTP2_FRAMES_H

#include "head.h"
#include "http2_conn.h"

/* A frame's header is complete: what becomes of its payload. False: it is none. */
INLINE bool http2_begin(struct op_t *op, struct http2_walk_t *w, struct http2_half_t *half,
			char *to)
{
	const u8 *p = w->head;

	if (!http2_plausible(p))
		return false;
	/* Read again: the verifier knows the type by now, and would follow each to the end. */
	WAYS_MEET();
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
	WAYS_MEET();
	if (half->keep || half->ends) {
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
		WAYS_MEET();
		if (w->room == 0)
			return true;
	}
	if (half->left == 0) {
		if (w->out > HTTP2_ROOM - HTTP2_ENTRY) {
			w->full = 1;
			return false;
		}
		if (half->got == 0 && w->room >= HTTP2_HEADER) {
			if (read_moved(op, w->head, HTTP2_HEADER, w->at))
				goto unread;
			w->step = HTTP2_HEADER;
		} else {
			n = HTTP2_HEADER - (half->got & 15);
			w->step = n < w->room ? n : w->room;
			WAYS_MEET();
			if (read_moved(op, w->head + (half->got & 15), w->step & 15, w->at))
				goto unread;
		}
		WAYS_MEET();
		n = w->step;
		w->at += n;
		w->room -= n;
		w->rest -= n;
		half->got += n;
		if (half->got < HTTP2_HEADER)
			return true;
		/* A reader that asks for a header alone asks for its payload next: one record
		 * has room for both. */
		if (w->rest == 0 && !w->trial && w->head[3] == HTTP2_HEADERS)
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
		w->step = n;
		WAYS_MEET();
		n = w->step;
		char *piece = to + (w->out & (CAPTURE_MAX - 1));
		if (n == 0 || read_moved_most(op, piece, n, CAPTURE_MAX, w->at))
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

#endif
