/* What the functions share that tell a protocol of requests and replies by its first bytes,
 * one in an infer_<name>.h for each protocol. They see INFER_BYTES bytes, of which n are
 * there and zeros follow, and are plain C: the tests compile them with gcc and feed them. */
#ifndef OTEL_EBPF_INFER_MESSAGE_H
#define OTEL_EBPF_INFER_MESSAGE_H

#include "records.h"

#ifdef OTEL_EBPF_HOST_COMPILE
#include <stdbool.h>
#define INLINE static inline
#define NO_UNROLL
#define WAYS_MEET()
#define FORGET_BOUNDS(value)
#define INFER_BYTES 16
#define W2(a, b) ((u32)(u8)(a) | (u32)(u8)(b) << 8)
#define W4(a, b, c, d) (W2(a, b) | W2(c, d) << 16)
#endif

/* Where the bytes go, as far as that is known of the connection. */
enum towards {
	TOWARDS_UNKNOWN = 0, /* nothing is known of it: only certain bytes count */
	TOWARDS_SERVER = 1,
	TOWARDS_CLIENT = 2
};

INLINE bool is_digit(u8 c)
{
	return c >= '0' && c <= '9';
}

INLINE bool is_letter(u8 c)
{
	u8 low = c | 32;
	return low >= 'a' && low <= 'z';
}

/* 1 where a < b, for numbers below 1 << 31. Without a branch, of which the verifier would follow
 * both ways in every round of a loop. */
INLINE u32 less(u32 a, u32 b)
{
	u32 apart = a - b;

	FORGET_BOUNDS(apart); /* or the compiler would make it a branch */
	return apart >> 31;
}

/* 1 where they are equal: the same. */
INLINE u32 same(u8 a, u8 b)
{
	return less(a ^ b, 1);
}

/* A number in network order. */
INLINE u32 number_at(const u8 *p)
{
	return (u32)p[0] << 24 | (u32)p[1] << 16 | (u32)p[2] << 8 | p[3];
}

#endif
