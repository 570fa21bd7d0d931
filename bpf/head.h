/* A run's first bytes, and the message that they begin. */
#ifndef OTEL_EBPF_HEAD_H
#define OTEL_EBPF_HEAD_H

#include "infer.h"
#include "trace.h"

struct iovec_t {
	u64 base;
	u64 len;
};

#define IOVECS 64

#define JUDGED_IOVECS 12 /* buffers that a message's first bytes are looked for in */

/* Some of what was moved. */
INLINE long read_moved(struct op_t *op, void *to, u32 size, u64 from)
{
	return op->kept ? read_kernel(to, size, from) : read_user(to, size, from);
}

INLINE long read_moved_most(struct op_t *op, void *to, u64 size, u32 most, u64 from)
{
	if (!op->kept)
		return read_user_most(to, size, most, from);
	FORGET_BOUNDS(size);
	return size > most ? -1 : read_kernel(to, size, from);
}

/* Words, for the compiler would copy and clear arrays of bytes one by one. */
INLINE void set_head(struct op_t *op, u64 first, u64 second)
{
	u64 *head = (u64 *)op->head;

	head[0] = first;
	head[1] = second;
	for (u32 i = INFER_BYTES / 8; i < sizeof(op->head) / 8; i++)
		head[i] = 0;
}

/* Fills op->head with the first bytes of the run: `had` from earlier segments, the others
 * from this one, however many buffers they are spread over. Returns their number, or -1
 * when this segment cannot be read. */
INLINE s32 peek_head(struct op_t *op, struct socket_state_t *st, u32 had)
{
	set_head(op, had ? st->before[0] : 0, had ? st->before[1] : 0);
	/* What has been done is kept in memory: the verifier then sees the same after every
	 * round, and what follows the loop is looked at once. */
	op->left = op->limit && op->limit < op->count ? op->limit : op->count;
	op->done = had;
	NO_UNROLL
	for (int i = 0; i < JUDGED_IOVECS; i++) {
		struct iovec_t iov = {.base = op->buf, .len = op->count};
		u64 n, left = op->left;
		u32 at = op->done;

		if (op->iovcnt) {
			if (i >= op->iovcnt)
				break;
			if (read_user(&iov, sizeof(iov), op->buf + i * 16))
				return -1;
		} else if (i) {
			break;
		}
		n = iov.len < left ? iov.len : left;
		if (n > INFER_BYTES)
			n = INFER_BYTES;
		op->left = n; /* of which the verifier knows more on some ways than on others */
		WAYS_MEET();
		n = op->left;
		if (read_moved(op, op->head + (at & 15), n & 31, iov.base))
			return -1;
		op->left = left - n;
		op->done = at + n;
		if (at + n >= INFER_BYTES || left == n)
			break;
	}
	return op->done > INFER_BYTES ? INFER_BYTES : op->done;
}

/* What the run begins, at its start or while that was not clear. op->head has n bytes. */
INLINE u8 judge(struct op_t *op, struct socket_state_t *st, u32 n, u32 had, u8 *found)
{
	u8 begins, protocol = 0;

	begins = infer(op->rec.tgid, op->head, n, had, op->count, st->protocol, &protocol);
	if (protocol == PROTOCOL_HTTP2) {
		*found = protocol_on(protocol) ? protocol : 0;
		return *found ? begins : BEGINS_NOTHING;
	}
	if (begins == BEGINS_MAYBE && n < INFER_BYTES) {
		__builtin_memcpy(st->before, op->head, INFER_BYTES);
		st->before_len = n;
		return begins;
	}
	st->before_len = 0;
	if (begins == BEGINS_MAYBE)
		begins = BEGINS_NOTHING;
	if (begins != BEGINS_NOTHING) {
		if (!protocol_on(protocol))
			return BEGINS_NOTHING;
		st->protocol = protocol;
		bool request = begins == BEGINS_REQUEST;
		st->role = request == (op->rec.direction == INGRESS) ? ROLE_SERVER : ROLE_CLIENT;
	}
	return begins;
}

/* A request or response begins: ids, who carries it, who caused it. */
INLINE void begin_message(struct op_t *op, struct socket_state_t *st, u8 begins)
{
	struct __socket_data *r = &op->rec;
	struct trace_conf_t *conf = config();

	if (begins == BEGINS_REQUEST && conf) {
		st->uid = conf->uid++;
		st->is_request = 1;
		/* Who asks over a pool's connection is known when the response comes. */
		if (r->direction == EGRESS && !st->go_pool)
			find_parent(op);
	} else if (begins == BEGINS_RESPONSE) {
		st->is_request = 0;
		if (r->direction == EGRESS)
			carry_release(st);
	}
}

#endif
