/* A segment's bytes, from the buffers that hold them into its record. */
#ifndef OTEL_EBPF_PAYLOAD_H
#define OTEL_EBPF_PAYLOAD_H

#include "burst.h"
#include "head.h"
#include "task.h"

#define TAIL_IOVECS 16 /* most buffers of a segment whose last bytes are looked at */

/* Joins n more bytes, 1 to 8, to the last bytes so far: in memory's order, at the top end. */
INLINE u32 add_tail(u64 *tail, u32 len, u64 more, u32 n)
{
	more <<= 8 * (8 - n) & 63;
	*tail = n < 8 ? *tail >> (8 * n & 63) | more : more;
	return len + n > 8 ? 8 : len + n;
}

INLINE void set_tail(struct __socket_data *r, u64 tail, u32 len)
{
	tail = len ? tail >> (8 * (8 - len) & 63) : 0;
	r->tail_len = len;
	__builtin_memcpy(r->tail, &tail, 8);
}

/* Adds a segment without payload to the record of the one before it, when that is still
 * in this CPU's burst and nothing is missing between them. */
INLINE bool coalesce(struct op_t *op, struct socket_state_t *st)
{
	struct __socket_data *r = &op->rec;
	struct __socket_data *last = burst_record(st->co_generation, st->co_offset);

	if (!last || last->socket_id != r->socket_id || last->direction != r->direction ||
	    last->type != RECORD_DATA || last->data_len ||
	    last->tcp_seq + (u32)last->length != r->tcp_seq || last->segments == 0xffff)
		return false;
	last->length += r->length;
	last->segments += 1;
	last->end_ts = r->end_ts;
	u64 before = 0, tail = 0;
	u32 len = r->tail_len;
	__builtin_memcpy(&tail, r->tail, 8);
	if (len && len < 8 && len == r->length) {
		u32 had = last->tail_len;
		__builtin_memcpy(&before, last->tail, 8);
		before = had && had <= 8 ? before << (8 * (8 - had) & 63) : 0;
		len = add_tail(&before, had, tail, len);
		set_tail(last, before, len);
	} else {
		last->tail_len = len;
		__builtin_memcpy(last->tail, &tail, 8);
	}
	count(STAT_COALESCED);
	return true;
}

/* The last bytes of a segment, up to 8: where a chunked body's end shows. They may lie in
 * several buffers, of which the last one need not be full. */
INLINE void read_tail(struct op_t *op)
{
	struct __socket_data *r = &op->rec;

	r->tail_len = 0;
	if (op->mmsg || !op->buf || op->iovcnt > TAIL_IOVECS)
		return;
	/* Kept in memory: the verifier then sees the same in every round. */
	op->tail = 0;
	op->done = 0;
	op->left = op->count;
	NO_UNROLL
	for (int i = 0; i < TAIL_IOVECS; i++) {
		u64 left = op->left;
		struct iovec_t iov = {.base = op->buf, .len = left};
		u64 piece[2] = {};
		u32 n = 8;

		if (left == 0)
			break;
		if (op->iovcnt) {
			if (i >= op->iovcnt)
				break;
			if (read_user(&iov, sizeof(iov), op->buf + i * 16))
				return;
		} else if (i) {
			break;
		}
		if (iov.len > left)
			iov.len = left;
		if (iov.len == 0)
			continue;
		left -= iov.len;
		op->left = left;
		if (iov.len < n)
			n = iov.len;
		else if (left >= 8)
			continue; /* more than enough follows */
		if (read_user(piece, n & 15, iov.base + iov.len - n))
			return;
		op->done = add_tail(&op->tail, op->done, piece[0], n);
	}
	set_tail(r, op->tail, op->done);
}

/* Copies op->capture bytes behind the header. Returns how many, or -1 on a fault. */
INLINE s64 copy_payload(struct op_t *op, char *to)
{
	u64 want = op->capture, got = 0;

	if (want > CAPTURE_MAX)
		want = CAPTURE_MAX;
	if (want == 0)
		return 0;
	if (!op->iovcnt) {
		if (read_moved_most(op, to, want, CAPTURE_MAX, op->buf))
			return -1;
		return want;
	}
	/* What is left is kept in memory: the verifier then sees the same in every round. */
	op->capture = want;
	NO_UNROLL
	for (int i = 0; i < IOVECS; i++) {
		struct iovec_t iov = {};
		u64 left = op->capture, n;

		if (i >= op->iovcnt || left == 0 || left > want)
			break;
		if (read_user(&iov, sizeof(iov), op->buf + i * 16))
			return -1;
		n = iov.len < left ? iov.len : left;
		if (n > CAPTURE_MAX)
			break;
		if (read_user_most(to + ((want - left) & (CAPTURE_MAX - 1)), n, CAPTURE_MAX, iov.base))
			return -1;
		op->capture = left - n;
	}
	got = want - op->capture;
	return got > CAPTURE_MAX ? -1 : got;
}

/* The usual message, whole in one buffer on a socket whose protocol is known: its payload
 * goes to its place in the burst at once, and is judged there. False: the long way. */
INLINE bool copy_at_once(void *ctx, struct op_t *op, struct socket_state_t *st, u32 capture)
{
	u64 want = op->count, at = 0;

	if (!op->buf || op->iovcnt || op->limit || want < INFER_BYTES)
		return false;
	if (want > capture)
		want = capture;
	if (want > CAPTURE_MAX || want < INFER_BYTES)
		return false;
	struct __socket_data_buffer *b = burst_reserve(ctx, op->rec.end_ts, &at);
	if (!b || at > BURST_DATA - RECORD_ROOM)
		return false;
	char *to = b->data + at + sizeof(struct __socket_data);
	if (read_user_most(to, want, CAPTURE_MAX, op->buf))
		return false;
	set_head(op, *(u64 *)to, *(u64 *)(to + 8));
	op->copied = 1;
	if (op->at_entry) {
		st->sent.generation = b->generation;
		st->sent.offset = at;
	}
	return true;
}

#endif
