/* Go's witnesses: what the memory of the goroutine that moves bytes tells of why. */
#ifndef OTEL_EBPF_GO_WITNESSES_H
#define OTEL_EBPF_GO_WITNESSES_H

#include "go_conns.h"
#include "go_round_trip.h"

/* Program 1: Go's witnesses. */
INLINE int run_go(void *ctx)
{
	struct op_t *op = operation();
	int zero = 0;
	struct go_birth_t *scratch = birth_buf.lookup(&zero);

	if (!op)
		return 0;
	struct __socket_data *r = &op->rec;
	u32 tgid = r->tgid;
	u64 sk = op->sk;
	struct proc_info_t *pi = proc_info_map.lookup(&tgid);
	struct socket_state_t *st = socket_state_map.lookup(&sk);
	if (r->direction == EGRESS) {
		if (pi)
			go_find_work(ctx, op, pi);
	} else if (pi && st && st->go_pool && !pi->round_trip && r->begins != BEGINS_REQUEST) {
		go_find_caller(ctx, op, st, pi, st->go_pool);
	} else if (pi && st && (pi->http1 || pi->round_trip)) {
		struct go_key key = {.goid = r->goid, .tgid = tgid};
		struct go_conn_t *gc = go_conn_map.lookup(&key);

		/* What is too short to judge was read ahead, on a goroutine of its own. */
		if (!gc && op->g && !op->go_looked && r->begins != BEGINS_MAYBE &&
		    r->protocol == PROTOCOL_HTTP1 && st->go_tries < GO_STACK_TRIES)
			__progs_jmp_tp_map.call(ctx, PROG_GO_STACK);
		if (r->begins == BEGINS_REQUEST && op->births) {
			pi->births += 1;
			note_births(op, pi, scratch);
		}
		if (gc) {
			st->go_key = r->goid;
			if (gc->kind == GO_CONN_SERVER && !st->context)
				go_bind_server(op, st, pi, gc->receiver);
			if (gc->kind == GO_CONN_CLIENT && r->begins != BEGINS_REQUEST) {
				if (pi->round_trip)
					go_told_caller(op, gc->receiver);
				else
					go_find_caller(ctx, op, st, pi, gc->receiver);
			}
		}
	} else if (pi && st && r->begins == BEGINS_REQUEST && op->births) {
		pi->births += 1;
		note_births(op, pi, scratch);
	}
	__progs_jmp_tp_map.call(ctx, PROG_OUTPUT);
	return 0;
}

#endif
