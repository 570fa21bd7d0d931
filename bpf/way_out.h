/* The end of a segment's way: whoever can tell whose work it was, its last bytes, its record. */
#ifndef OTEL_EBPF_WAY_OUT_H
#define OTEL_EBPF_WAY_OUT_H

#include "maps.h"

/* Its last bytes are looked at where it is not captured to its end, unless they may be secret. */
INLINE void segment_ends(void *ctx, struct op_t *op)
{
	if (op->capture < op->rec.length && !op->secret)
		__progs_jmp_tp_map.call(ctx, PROG_TAIL);
	if (op->go)
		__progs_jmp_tp_map.call(ctx, PROG_GO);
	__progs_jmp_tp_map.call(ctx, PROG_OUTPUT);
}

/* Threads of a pool are asked of every segment of a response, the others where a message begins. */
INLINE void segment_leaves(void *ctx, struct op_t *op, struct socket_state_t *st, u8 begins)
{
	bool sent = op->rec.direction == EGRESS;

	if (op->pools && (begins != BEGINS_NOTHING || (st->role == ROLE_SERVER && sent)))
		__progs_jmp_tp_map.call(ctx, PROG_POOL);
	if (op->python && sent && begins != BEGINS_NOTHING)
		__progs_jmp_tp_map.call(ctx, PROG_PYTHON);
	if (op->turns && sent && begins != BEGINS_NOTHING)
		__progs_jmp_tp_map.call(ctx, PROG_TURN);
	segment_ends(ctx, op);
}

#endif
