/* Protocols of requests and replies other than HTTP: databases, caches, queues.
 *
 * Which one a connection speaks is told once, by bytes that can hardly be anything else. From
 * then on every segment is judged that can begin a message, not only where the connection
 * turns: their clients write on while replies are due. Which reply answers which request is
 * the parsers' matter in user space. */
#ifndef OTEL_EBPF_MESSAGES_H
#define OTEL_EBPF_MESSAGES_H

#include "message_head.h"
#include "pools.h"
#include "sent.h"
#include "slices.h"
#include "socket_record.h"
#include "tls.h"
#include "turns.h"
#include "way_out.h"

#define MESSAGE_SLICES 32 /* times what is captured of a run in HTTP */
#define MESSAGE_MOST 32768

/* A broker delivered a message that will be acknowledged. The unit that read it carries it, if
 * it carries no request: one that waits for a message within a request does so for that. It is
 * not counted as open, for nobody can tell whether the acknowledgement comes from here. */
INLINE void carry_delivery(struct op_t *op, struct socket_state_t *st, u64 now)
{
	u64 unit = op->unit;
	struct trace_info_t *t;

	if (!unit || (st->protocol == PROTOCOL_MQTT ? !mqtt_waits(op->head)
						    : !amqp_delivers(op->head)))
		return;
	t = __trace_map.lookup(&unit);
	if (t && (t->open || (t->loop & LOOP_STREAMS)))
		return;
	if (t && !t->inherited && t->goid == op->rec.goid) {
		t->uid = st->uid;
		t->socket_id = st->socket_id;
		t->ts = now;
		t->begun = now;
		t->responded = 0;
		return;
	}
	struct trace_info_t fresh = {.uid = st->uid,
				     .socket_id = st->socket_id,
				     .ts = now,
				     .begun = now,
				     .goid = op->rec.goid};
	if (__trace_map.update(&unit, &fresh))
		count(STAT_TRACE_MAP_FULL);
	else if (!t)
		count(STAT_TRACES_OPENED);
	if (!st->counted)
		st->trace_key = unit;
}

/* Program 24: the first segment of a run on a connection of which nothing is known. */
INLINE int run_message_first(void *ctx)
{
	struct op_t *op = operation();

	if (!op)
		return 0;
	u64 sk = op->sk;
	struct socket_state_t *st = socket_state_map.lookup(&sk);
	if (!st)
		return 0;
	u8 begins = message_first(op, st);
	if (begins != BEGINS_NOTHING) {
		op->rec.begins = begins;
		op->secret = 0;
		__progs_jmp_tp_map.call(ctx, PROG_MESSAGE);
	}
	if (!op->go && op->done >= TLS_RECORD_HEADER && tls_header(op->head))
		ssl_ask(ctx, op);
	st->bytes[op->rec.direction & 1] += op->count;
	count(STAT_UNKNOWN_PROTOCOL);
	return 0;
}

INLINE u32 message_most(struct trace_conf_t *conf)
{
	u32 most = conf->capture * MESSAGE_SLICES;

	return most > MESSAGE_MOST ? MESSAGE_MOST : most;
}

/* Program 21: what a segment begins is judged here, by one protocol's function or by all; what
 * follows from it is a program of its own, so that the verifier need not go on with each. */
INLINE int run_messages(void *ctx)
{
	struct op_t *op = operation();
	struct trace_conf_t *conf = config();

	if (!op || !conf)
		return 0;
	struct __socket_data *r = &op->rec;
	u64 sk = op->sk;
	struct socket_state_t *st = socket_state_map.lookup(&sk);
	if (!st)
		return 0;
	op->most = message_most(conf);
	if (!st->protocol)
		__progs_jmp_tp_map.call(ctx, PROG_MESSAGE_FIRST);
	if (!st->protocol)
		return 0;
	/* A long send, or one of which only the length counts, is told of at its exit, when it is
	 * certain how much of it moved. */
	if (op->at_entry && op->buf &&
	    (op->count > CAPTURE_MAX ||
	     (st->direction == r->direction && st->captured >= op->most)) &&
	    defer(op))
		return 0;
	bool start = st->direction != r->direction;
	u32 had = start ? 0 : st->before_len & (INFER_BYTES - 1);
	u8 secret = 0;
	if (op->at_entry)
		note_sent(op, st, had);
	s32 n = op->buf ? peek_head(op, st, had) : 0;
	if (n < 0 && defer(op))
		return 0;
	if (n < 0)
		n = 0;
	/* The protocol that was switched to is HTTP/2: by its preface. */
	if (st->protocol == PROTOCOL_WEBSOCKET && n >= 4 &&
	    W4(op->head[0], op->head[1], op->head[2], op->head[3]) == W4('P', 'R', 'I', ' ')) {
		st->protocol = PROTOCOL_HTTP1;
		__progs_jmp_tp_map.call(ctx, PROG_DATA);
		return 0;
	}
	if (start) {
		st->direction = r->direction;
		st->captured = 0;
		st->before_len = 0;
	}
	bool serves = st->role == ROLE_SERVER;
	u8 towards = serves == (r->direction == INGRESS) ? TOWARDS_SERVER : TOWARDS_CLIENT;
	if (st->bytes[r->direction & 1])
		r->flags |= FLAG_BEHIND;
	r->begins = message_next(op, st, n, had, towards, start, &secret);
	op->secret = secret;
	if (st->protocol == PROTOCOL_REDIS && towards == TOWARDS_CLIENT && op->head[0] == '$' &&
	    is_digit(op->head[5]))
		op->most = conf->capture; /* a long string says itself where it ends */
	if (st->protocol == PROTOCOL_WEBSOCKET) {
		st->captured = 0; /* frames begin in every segment */
		op->most = CAPTURE_MAX;
	} else if (message_starts_tls(op, st, n, start)) {
		tell(ctx, RECORD_CLOSE, (u64)r->tgid << 32 | r->tid, st, 0, 0, 0);
		carry_release(st);
		st->protocol = 0;
		st->is_request = 0;
		return 0;
	}
	__progs_jmp_tp_map.call(ctx, PROG_MESSAGE);
	return 0;
}

/* Program 25: the segment's record, once it is known what it begins (`begins`), how much of it may
 * be taken (`most`), and whether it holds a secret, of which only so many bytes are (`secret`). */
INLINE int run_message(void *ctx)
{
	struct op_t *op = operation();
	struct member_fields_offset *o = offsets();

	if (!op || !o)
		return 0;
	struct __socket_data *r = &op->rec;
	u64 sk = op->sk;
	struct socket_state_t *st = socket_state_map.lookup(&sk);
	if (!st)
		return 0;
	u8 begins = r->begins, secret = op->secret;
	if (begins != BEGINS_MAYBE)
		begin_message(op, st, begins);
	if (begins == BEGINS_REQUEST || begins == BEGINS_RESPONSE)
		st->captured = 0;
	/* Of those that read a message's first bytes one by one each is taken, behind a long
	 * message in the same run too, but not behind a secret. */
	if (begins == BEGINS_MAYBE && op->count < INFER_BYTES && st->captured <= MESSAGE_MOST &&
	    st->captured + op->count > op->most)
		st->captured = op->most - op->count;
	if (begins == BEGINS_REQUEST)
		message_login(op, st, &secret);
	fill_address(r, st);
	read_seq(o, op, st);
	st->bytes[r->direction & 1] += op->count;
	if (st->role == ROLE_SERVER && r->direction == INGRESS && st->is_request)
		carry(op, st, r->ts);
	else if (st->role == ROLE_CLIENT && r->direction == INGRESS && begins == BEGINS_REQUEST)
		carry_delivery(op, st, r->ts);
	r->uid = begins == BEGINS_RESPONSE && st->several ? 0 : st->uid;
	if (op->turns && r->direction == INGRESS)
		turn_does(st->role == ROLE_CLIENT ? TURN_SEGMENT | r->ts : r->uid);
	take_payload(op, st, secret ? secret : op->most);
	if (secret)
		st->captured = MESSAGE_MOST + 1; /* nor what follows in the same run */
	op->secret = st->captured > MESSAGE_MOST; /* nor the last bytes of either */
	if (begins != BEGINS_REQUEST || (r->direction == EGRESS && !op->works))
		op->go = 0;
	segment_leaves(ctx, op, st, begins);
	return 0;
}

#endif
