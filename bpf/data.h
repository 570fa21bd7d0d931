/* The way of every segment: socket, protocol, who and why, then into the burst. Programs that hand
 * on op_buf by tail calls, so that each stays small. */
#ifndef OTEL_EBPF_DATA_H
#define OTEL_EBPF_DATA_H

#include "go_witnesses.h"
#include "http2.h"
#include "messages.h"
#include "payload.h"
#include "pools.h"
#include "python.h"
#include "python_pools.h"
#include "sent.h"
#include "tls.h"
#include "turns.h"
#include "way_out.h"

/* Program 0. op_buf holds direction, fd, sk, buffer and the bytes moved. */
INLINE int run_data(void *ctx)
{
	struct op_t *op = operation();
	struct member_fields_offset *o = offsets();
	struct trace_conf_t *conf = config();
	struct socket_state_t *st;
	u8 begins = BEGINS_NOTHING;

	if (!op || !o || !conf)
		return 0;
	struct __socket_data *r = &op->rec;
	st = socket_find(o, r->tgid, r->fd, op->sk, r->ts, &op->state);
	if (!st || st->ignore) {
		if (st)
			count(STAT_SELF);
		return 0;
	}
	find_unit(o, op, st);
	if (op->turns && r->direction == INGRESS)
		turn_does(0); /* until it is known what that was */
	u32 first = op->go && !op->streams ? go_new_streams(op, st) : 0;
	if (first == PROG_GO_STREAMS && !op->at_entry && st->protocol == PROTOCOL_HTTP2 && !st->tls)
		op->after = GO_AFTER;
	else if (first)
		__progs_jmp_tp_map.call(ctx, first);
	if (!op->plain && (st->tls || (!st->protocol && (op->go || ssl_process(op)))))
		__progs_jmp_tp_map.call(ctx, PROG_TLS);
	if (st->protocol >= PROTOCOL_HTTP2) {
		if (st->protocol == PROTOCOL_HTTP2)
			http2_segment(ctx, o, op, http2_walk(), st, false, 0, false);
		else
			__progs_jmp_tp_map.call(ctx, PROG_MESSAGES);
		return 0;
	}
	bool start = st->direction != r->direction;
	u32 had = start ? 0 : st->before_len & (INFER_BYTES - 1);
	bool unclear = op->buf && (start || had);
	s32 n = 0;
	if (op->at_entry)
		note_sent(op, st, had);
	if (start && st->protocol && copy_at_once(ctx, op, st, conf->capture)) {
		n = INFER_BYTES;
	} else if (unclear) {
		n = peek_head(op, st, had);
		if (n < 0 && defer(op))
			return 0;
		if (n < 0)
			n = 0;
	} else if (st->protocol && st->captured >= conf->capture && defer(op)) {
		return 0; /* only its length will count */
	}
	if (start) {
		st->direction = r->direction;
		st->captured = 0;
		st->before_len = 0;
		r->flags |= FLAG_RUN_START;
	}
	if (unclear) {
		/* A length-only start (sendfile) begins nothing that can be judged. */
		u8 found = 0;
		begins = judge(op, st, n, had, &found);
		if (found == PROTOCOL_HTTP2) {
			bool preface = begins == BEGINS_REQUEST;
			if (op->at_entry) { /* judged again at its exit */
				take_back(st);
				st->sent.generation = 0;
			}
			http2_segment(ctx, o, op, http2_walk(), st, !preface,
				      preface ? HTTP2_PREFACE - had : 0, false);
			return 0;
		}
		if (begins == BEGINS_NOTHING && !st->protocol) {
			op->total = op->count + had;
			__progs_jmp_tp_map.call(ctx, PROG_MESSAGES);
		}
		if (begins != BEGINS_MAYBE)
			begin_message(op, st, begins);
	}
	r->begins = begins;
	fill_address(r, st);
	if (begins == BEGINS_INTERIM && switches_protocols(op->head) &&
	    protocol_on(PROTOCOL_WEBSOCKET))
		st->protocol = PROTOCOL_WEBSOCKET;
	read_seq(o, op, st);
	st->bytes[r->direction & 1] += op->count;
	if (!st->protocol && begins != BEGINS_MAYBE) {
		count(STAT_UNKNOWN_PROTOCOL);
		return 0;
	}
	if (st->role == ROLE_SERVER && r->direction == INGRESS && st->is_request)
		carry(op, st, r->ts);
	r->uid = st->uid;
	if (op->turns && r->direction == INGRESS)
		turn_does(st->uid);
	op->capture = 0;
	if (op->buf && st->captured < conf->capture) {
		op->capture = conf->capture - st->captured;
		if (op->count < op->capture)
			op->capture = op->count;
		if (op->limit && op->limit < op->capture)
			op->capture = op->limit;
		st->captured += op->capture;
	}
	if (unclear && begins == BEGINS_NOTHING && op->head[0] == TLS_HANDSHAKE_RECORD) {
		op->plain = 1;
		__progs_jmp_tp_map.call(ctx, PROG_TLS);
	}
	/* Nothing is asked of a Go program's memory on the way out, but where databases are
	 * called with contexts, nor again of a server's connection that is known, unless
	 * ancestry is of use. */
	if ((r->direction == EGRESS && (!op->works || begins != BEGINS_REQUEST)) || begins == BEGINS_NOTHING ||
	    (st->context && begins == BEGINS_REQUEST && !op->births))
		op->go = 0;
	segment_leaves(ctx, op, st, begins);
	return 0;
}

/* Program 7: a segment that is not captured to its end. */
INLINE int run_tail(void *ctx)
{
	struct op_t *op = operation();

	if (!op)
		return 0;
	u64 sk = op->sk;
	struct socket_state_t *st = socket_state_map.lookup(&sk);
	read_tail(op);
	if (op->capture == 0 && st && coalesce(op, st))
		return 0;
	if (op->go)
		__progs_jmp_tp_map.call(ctx, PROG_GO);
	__progs_jmp_tp_map.call(ctx, PROG_OUTPUT);
	return 0;
}

/* Program 2: the record goes into the burst. */
INLINE int run_output(void *ctx)
{
	struct op_t *op = operation();
	u64 at = 0;

	if (!op)
		return 0;
	u64 now = op->rec.end_ts; /* a moment ago */
	struct __socket_data *r = &op->rec;
	if (r->syscall == CALL_TLS_READ) {
		tls_keep_caller(op);
		return 0;
	}
	struct __socket_data_buffer *b = burst_reserve(ctx, now, &at);
	if (!b || at > BURST_DATA - RECORD_ROOM)
		return 0;
	char *to = b->data + at;
	s64 payload = op->copied ? op->capture : copy_payload(op, to + sizeof(*r));
	if (payload < 0) {
		u64 key = op->sk;
		struct socket_state_t *state = socket_state_map.lookup(&key);
		if (state && defer(op)) {
			state->bytes[EGRESS] -= op->count;
			take_back(state);
			return 0;
		}
		count(STAT_READ_FAULT);
		payload = 0;
	}
	u32 data_len = (u32)payload & 0x1fff;
	r->data_len = data_len;
	r->segments = 1;
	r->size = (sizeof(*r) + data_len + 7) & ~7;
	*(struct __socket_data *)to = *r; /* by words, unlike bytes' memcpy */
	bool merges = data_len == 0 && r->type == RECORD_DATA;
	bool place = op->at_entry && !op->copied;
	if (place || merges) {
		u64 sk = op->sk;
		struct socket_state_t *st = socket_state_map.lookup(&sk);
		if (st && place) {
			st->sent.generation = b->generation;
			st->sent.offset = at;
		}
		if (st && merges) {
			st->co_generation = b->generation;
			st->co_offset = at;
		}
	}
	burst_commit(b, r->size);
	if (op->slices) /* there is more of this call */
		__progs_jmp_tp_map.call(ctx, r->type == RECORD_DATAGRAM ? PROG_DATAGRAM : PROG_SLICE);
	if (op->kin.count)
		__progs_jmp_tp_map.call(ctx, PROG_GO_LINEAGE);
	return 0;
}

#endif
