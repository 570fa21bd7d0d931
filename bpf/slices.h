/* Segments that are too long for one record: told in slices. */
#ifndef OTEL_EBPF_SLICES_H
#define OTEL_EBPF_SLICES_H

#include "payload.h"

#define MESSAGE_RECORDS 10 /* of one segment; each takes two of 33 jumps */

/* How much of the segment goes into records: `most` of each message's run of segments, in
 * records of at most CAPTURE_MAX bytes. */
INLINE void take_payload(struct op_t *op, struct socket_state_t *st, u32 most)
{
	u32 room = most > st->captured ? most - st->captured : 0;

	op->capture = 0;
	op->slices = 0;
	if (!op->buf || !room)
		return;
	u64 n = op->count < room ? op->count : room;
	if (op->limit && op->limit < n)
		n = op->limit;
	op->capture = n < CAPTURE_MAX ? n : CAPTURE_MAX;
	st->captured += n;
	if (n > CAPTURE_MAX && !op->limit && !op->at_entry) {
		op->slices = MESSAGE_RECORDS;
		op->room = n - CAPTURE_MAX;
		op->iovs = op->iovcnt ? op->buf : 0;
		op->iovn = op->iovcnt;
		op->place = 0;
		op->rec.length = CAPTURE_MAX;
	}
}

/* Program 22: what follows in a long segment, as a record of its own. */
INLINE int run_slice(void *ctx)
{
	struct op_t *op = operation();

	if (!op || !op->slices)
		return 0;
	struct __socket_data *r = &op->rec;
	u64 told = r->length, n;
	op->place += told;
	op->count -= told;
	op->buf += told;
	op->slices -= 1;
	op->kin.count = 0;
	op->copied = 0;
	op->iovcnt = 0;
	r->tcp_seq += (u32)told;
	r->begins = BEGINS_NOTHING;
	r->tail_len = 0;
	n = op->count;
	if (op->iovs) { /* the rest of the buffer that is next */
		op->left = op->place;
		op->buf = 0;
		NO_UNROLL
		for (int i = 0; i < IOVECS; i++) {
			struct iovec_t iov = {};
			u64 before = op->left;
			if (i >= op->iovn || read_user(&iov, sizeof(iov), op->iovs + i * 16))
				break;
			if (before < iov.len) {
				op->buf = iov.base + before;
				n = iov.len - before;
				break;
			}
			op->left = before - iov.len;
		}
		if (!op->buf)
			n = 0;
	}
	if (n > op->count)
		n = op->count;
	if (n > op->room)
		n = op->room;
	if (n > CAPTURE_MAX)
		n = CAPTURE_MAX;
	op->capture = n;
	op->room -= n;
	if (!op->room || !n || n == op->count)
		op->slices = 0;
	r->length = op->slices ? n : op->count; /* the last one tells of all that is left */
	if (n < r->length && !op->iovs)
		__progs_jmp_tp_map.call(ctx, PROG_TAIL);
	__progs_jmp_tp_map.call(ctx, PROG_OUTPUT);
	return 0;
}

#endif
