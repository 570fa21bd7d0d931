/* What compiler and verifier need to be told, in every file. */
#ifndef OTEL_EBPF_VERIFIER_H
#define OTEL_EBPF_VERIFIER_H

#include "records.h"

/* Unrolled, the loops would cost seconds of compile time. Kernels since 5.3 take them. */
#define NO_UNROLL _Pragma("clang loop unroll(disable)")
/* The compiler knows the value's bounds and drops a mask that kernels before 6.18 need. */
#define FORGET_BOUNDS(value) asm volatile("" : "+r"(value))
/* Where the ways through a loop's body have become one: what was put into memory before is read
 * from there. The verifier would tell the ways apart by what only some of them know, a constant
 * say, and follow each through every further round. */
#define WAYS_MEET() asm volatile("" ::: "memory")
#define INLINE static inline __attribute__((always_inline))

/* An index into an array of `size` members, a power of two; the mask comes last. */
INLINE u64 within(u64 index, u64 size)
{
	FORGET_BOUNDS(index);
	return index & (size - 1);
}

#endif
