/* Where the bytes are of calls that take lists of buffers, or of messages. */
#ifndef OTEL_EBPF_MSGHDR_H
#define OTEL_EBPF_MSGHDR_H

#include "data.h"

#define MMSGS 1024 /* UIO_MAXIOV: the kernel takes no more */

/* Sum of a message's buffers, or -1 when there are more than are looked at. What the loop
 * knows is in memory: the verifier then sees the same after every round. */
INLINE s64 iov_total(struct op_t *op, u64 iov, u32 n)
{
	if (n > IOVECS)
		return -1;
	op->left = 0;
	op->done = n;
	NO_UNROLL
	for (int i = 0; i < IOVECS; i++) {
		u64 len = 0;
		if (i >= op->done)
			break;
		if (read_user(&len, sizeof(len), iov + i * 16 + 8))
			return -1;
		op->left += len;
	}
	return op->left;
}

/* msghdr: name, namelen, iov, iovlen... */
INLINE void read_msghdr(u64 msg, u64 *iov, u64 *n)
{
	READ_USER(*iov, msg, 16);
	READ_USER(*n, msg, 24);
}

/* Bytes of the first n messages of an mmsghdr array: each a msghdr, then the bytes moved;
 * 64 bytes apart. Payload is taken of the first; the others are a gap. */
INLINE void read_mmsg(struct op_t *op, u64 messages, long n)
{
	u64 iov = 0, iovcnt = 0;
	u32 first = 0;

	op->mmsg = n;
	op->left = 0;
	NO_UNROLL
	for (int i = 0; i < MMSGS; i++) {
		u32 len = 0;
		if (i >= op->mmsg)
			break;
		READ_USER(len, messages, i * 64 + 56);
		op->left += len;
	}
	read_msghdr(messages, &iov, &iovcnt);
	READ_USER(first, messages, 56);
	op->buf = iov;
	op->iovcnt = iovcnt;
	op->count = op->left;
	if (n > 1)
		op->limit = first;
}

#endif
