/* Goroutines: who they are, who bore whom, and what their stacks hold. */
#ifndef OTEL_EBPF_GO_UNIT_TYPES_H
#define OTEL_EBPF_GO_UNIT_TYPES_H

#include "verifier.h"

/* A thread is in runtime.newproc1. */
struct go_newproc_caller {
	u64 goid;
	u64 sp; /* stack pointer at its entry */
};

/* The goroutine that asked last for a request on a client connection. */
struct go_caller_t {
	u64 goid;
	u64 parent_goid;
	u64 site;
};

/* A goroutine whose birth was seen. */
struct go_newborn_t {
	u64 ts;   /* 0: the birth itself was not seen */
	u64 site; /* address of the function it was started with */
};

#define GO_ANCESTORS 5 /* generations */

/* Goroutines between one that calls and the one that it inherits from. */
struct go_kin_t {
	u64 goid[4];
	u32 count;
	u32 pad;
};

#define GO_STACK_WORDS 64 /* a power of two */

struct go_stack_t {
	u64 words[GO_STACK_WORDS];
};

/* The top of a goroutine's stack down to the frame of its connection's loop, and more. */
#define GO_LOOP_WORDS 128 /* a power of two */

struct go_older_t {
	u64 words[GO_LOOP_WORDS];
	u64 lo;       /* the stack's ends */
	u64 hi;
	u64 frame;    /* the frame at hand: where it keeps the address of the one above */
	u64 kind;     /* enum go_conn_kind of the loop that the goroutine runs; 0: none */
	u64 below;    /* words of that loop's frame, and of those above it */
	u64 receiver;
};

#define BIRTH_PS 16

/* Goroutine ids that had not been handed out when a request was read. */
struct go_birth_t {
	u64 goidgen;
	u64 uid;
	u64 from[BIRTH_PS];
	u64 to[BIRTH_PS];
};

#endif
