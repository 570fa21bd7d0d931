/* How many programs may follow each other for what a segment leads to. */
#ifndef OTEL_EBPF_GO_JUMPS_H
#define OTEL_EBPF_GO_JUMPS_H

#include "maps.h"

#define GO_JUMPS 26
#define GO_JUMPS_READ 6
#define GO_AFTER 27 /* behind the frames of a segment, less the programs that these took */

INLINE bool go_jumps_left(struct op_t *op, u32 n)
{
	u32 most = op->at_entry ? GO_JUMPS : op->after ? op->after : GO_JUMPS_READ;

	return op->jumps + n <= most;
}

/* Goes on with another program, as long as enough calls are left for the segment itself:
 * they follow each other 33 times at the most, and what is read may hold many frames. */
INLINE void go_jump(void *ctx, struct op_t *op, u32 program)
{
	if (go_jumps_left(op, 1)) {
		op->jumps += 1;
		__progs_jmp_tp_map.call(ctx, program);
	}
}

/* Looks through a server's streams, as w->kind asks, and comes back to `resume`. */
INLINE void go_look(void *ctx, struct op_t *op, struct go_scan_t *s, u32 resume)
{
	s->resume = resume;
	if (s->walk.kind == GO_CONN_GRPC_SERVER)
		go_jump(ctx, op, PROG_GO_PROOF);
	else
		go_jump(ctx, op, PROG_GO_SERVER);
}

#endif
