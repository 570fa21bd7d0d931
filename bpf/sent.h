/* Sends that are recorded as they enter, for their exit to confirm, or left to it. */
#ifndef OTEL_EBPF_SENT_H
#define OTEL_EBPF_SENT_H

#include "maps.h"

/* Leaves a send to its exit, where its pages are there and its length is certain. */
INLINE bool defer(struct op_t *op)
{
	u64 id = bpf_get_current_pid_tgid();
	struct data_args_t *known, args = {};
	int zero = 0;

	if (!op->at_entry)
		return false;
	known = __active_write_args_map.lookup(&id);
	if (known) {
		known->deferred = 1;
		return true;
	}
	/* Its exit would take its arguments from the registers. */
	args.ts = op->rec.ts;
	args.buf = op->buf;
	args.count = op->count;
	args.fd = op->rec.fd;
	args.seq = op->seq;
	args.call = op->rec.syscall;
	args.deferred = 1;
	if (__active_write_args_map.update(&id, &args)) {
		count(STAT_ARGS_MAP_FULL);
		return false;
	}
	u64 *sends = deferred_sends.lookup(&zero);
	if (sends)
		__sync_fetch_and_add(sends, 1);
	return true;
}

/* The run is again as it was before the socket's latest send. */
INLINE void take_back(struct socket_state_t *st)
{
	st->direction = st->sent.before_direction;
	st->captured = st->sent.before_captured;
	st->before_len = st->sent.before_len;
}

/* For the exit of a send to put right what its entry told. */
INLINE void note_sent(struct op_t *op, struct socket_state_t *st, u32 had)
{
	st->sent.generation = 0;
	st->sent.ts = op->rec.ts;
	st->sent.count = op->count;
	st->sent.tid = op->rec.tid;
	st->sent.before_captured = st->captured;
	st->sent.before_direction = st->direction;
	st->sent.before_len = had;
}

#endif
