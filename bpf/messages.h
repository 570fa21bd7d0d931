/* Protocols of requests and replies other than HTTP: databases, caches, queues.
 *
 * Which one a connection speaks is told once, by bytes that can hardly be anything else. From
 * then on every segment is judged that can begin a message, not only where the connection
 * turns: their clients write on while replies are due. Which reply answers which request is
 * the parsers' matter in user space.
 *
 * A protocol has a function in an infer_<name>.h and a line in each of the two below. */
#ifndef OTEL_EBPF_MESSAGES_H
#define OTEL_EBPF_MESSAGES_H

#include "head.h"
#include "infer_amqp.h"
#include "infer_fastcgi.h"
#include "infer_kafka.h"
#include "infer_dns.h"
#include "infer_memcached.h"
#include "infer_mongodb.h"
#include "infer_mqtt.h"
#include "infer_mysql.h"
#include "infer_nats.h"
#include "infer_postgresql.h"
#include "infer_redis.h"
#include "infer_uwsgi.h"
#include "payload.h"
#include "pools.h"
#include "sent.h"
#include "socket_record.h"
#include "tls.h"
#include "turns.h"

#define MESSAGE_SLICES 32 /* times what is captured of a run in HTTP */
#define MESSAGE_MOST 32768
#define MESSAGE_RECORDS 10 /* of one segment; each takes two of 33 jumps */
#define MESSAGE_HEADER 5 /* of a password, that is all that is taken */

/* Tries the protocols on a connection of which nothing is known. op->head has n bytes. */
INLINE u8 infer_new(struct op_t *op, u32 n, u64 total, u64 tail, u8 *protocol)
{
	u8 begins = infer_fastcgi(op->head, n, TOWARDS_UNKNOWN, true);

	*protocol = PROTOCOL_FASTCGI;
	if (begins != BEGINS_NOTHING && protocol_on(PROTOCOL_FASTCGI))
		return begins;
	begins = infer_uwsgi(op->head, n, TOWARDS_UNKNOWN, true);
	*protocol = PROTOCOL_UWSGI;
	if (begins != BEGINS_NOTHING && protocol_on(PROTOCOL_UWSGI))
		return begins;
	*protocol = PROTOCOL_REDIS;
	begins = infer_redis(op->head, n, TOWARDS_UNKNOWN, true);
	if (begins != BEGINS_NOTHING)
		return begins;
	*protocol = PROTOCOL_MYSQL;
	begins = infer_mysql(op->head, n, total, TOWARDS_UNKNOWN, true);
	if (begins != BEGINS_NOTHING && protocol_on(PROTOCOL_MYSQL))
		return begins;
	*protocol = PROTOCOL_POSTGRESQL;
	begins = infer_postgresql(op->head, n, total, tail, TOWARDS_UNKNOWN, true);
	if (begins != BEGINS_NOTHING)
		return begins;
	*protocol = PROTOCOL_MEMCACHED;
	begins = infer_memcached(op->head, n, total, tail, TOWARDS_UNKNOWN, true);
	if (begins != BEGINS_NOTHING)
		return begins;
	*protocol = PROTOCOL_KAFKA;
	begins = infer_kafka(op->head, n, total, TOWARDS_UNKNOWN, true);
	if (begins != BEGINS_NOTHING)
		return begins;
	*protocol = PROTOCOL_MONGODB;
	begins = infer_mongodb(op->head, n, total, TOWARDS_UNKNOWN, true);
	if (begins != BEGINS_NOTHING)
		return begins;
	*protocol = PROTOCOL_DNS;
	return infer_dns(op->head, n, total, TOWARDS_UNKNOWN, true);
}

/* Those that are known by long words of their own, before any other. */
INLINE u8 infer_by_words(struct op_t *op, u32 n, u64 tail, u8 *protocol)
{
	u8 begins = infer_mqtt(op->head, n, TOWARDS_UNKNOWN);

	*protocol = PROTOCOL_MQTT;
	if (begins != BEGINS_NOTHING)
		return begins;
	*protocol = PROTOCOL_AMQP;
	begins = infer_amqp(op->head, n, TOWARDS_UNKNOWN);
	if (begins != BEGINS_NOTHING)
		return begins;
	*protocol = PROTOCOL_NATS;
	return infer_nats(op->head, n, tail, TOWARDS_UNKNOWN);
}

/* What a segment begins, of a connection whose protocol is known. */
INLINE u8 infer_known(struct op_t *op, u8 protocol, u32 n, u64 total, u8 towards, bool start)
{
	if (protocol == PROTOCOL_FASTCGI)
		return infer_fastcgi(op->head, n, towards, start);
	if (protocol == PROTOCOL_UWSGI)
		return infer_uwsgi(op->head, n, towards, start);
	if (protocol == PROTOCOL_REDIS)
		return infer_redis(op->head, n, towards, start);
	if (protocol == PROTOCOL_POSTGRESQL)
		return infer_postgresql(op->head, n, total, 0, towards, start);
	if (protocol == PROTOCOL_MEMCACHED)
		return infer_memcached(op->head, n, total, 0, towards, start);
	if (protocol == PROTOCOL_MYSQL)
		return infer_mysql(op->head, n, total, towards, start);
	if (protocol == PROTOCOL_KAFKA)
		return infer_kafka(op->head, n, total, towards, start);
	if (protocol == PROTOCOL_MONGODB)
		return infer_mongodb(op->head, n, total, towards, start);
	if (protocol == PROTOCOL_MQTT)
		return infer_mqtt(op->head, n, towards);
	if (protocol == PROTOCOL_AMQP)
		return infer_amqp(op->head, n, towards);
	if (protocol == PROTOCOL_NATS)
		return infer_nats(op->head, n, 0, towards);
	if (protocol == PROTOCOL_DNS)
		return infer_dns(op->head, n, total, towards, start);
	return BEGINS_NOTHING;
}

/* A login, or what makes a user: of a message in one buffer; where its header is read alone the
 * parser leaves out what follows. */
INLINE bool message_mongodb_secret(struct op_t *op)
{
	u8 name[MONGODB_NAME] = {};

	return op->buf && !op->iovcnt && op->count > MONGODB_SECRET &&
	       !read_user(name, sizeof(name), op->buf + MONGODB_COMMAND) && mongodb_secret(name);
}

/* What a segment of a known connection begins. `had` of the n bytes came alone, before it, and
 * are judged with it (BEGINS_MAYBE). *secret: how much of it may be taken, 0: all. */
INLINE u8 message_next(struct op_t *op, struct socket_state_t *st, u32 n, u32 had, u8 towards,
		       bool start, u8 *secret)
{
	u8 begins = infer_known(op, st->protocol, n, op->count + had, towards, start || had);

	st->before_len = 0;
	if (begins == BEGINS_MAYBE) {
		__builtin_memcpy(st->before, op->head, INFER_BYTES);
		st->before_len = n & (INFER_BYTES - 1);
	}
	/* Two requests in a row: from here on a reply need not be the latest one's. */
	if (begins == BEGINS_REQUEST && !start && !had)
		st->several = 1;
	if (towards != TOWARDS_SERVER)
		return begins;
	if (st->protocol == PROTOCOL_POSTGRESQL && op->head[0] == 'p')
		*secret = MESSAGE_HEADER;
	else if (st->protocol == PROTOCOL_MYSQL && (start || had) && mysql_secret(op->head, n))
		*secret = MYSQL_HEADER;
	else if (st->protocol == PROTOCOL_AMQP && amqp_secret(op->head))
		*secret = AMQP_SECRET;
	return begins;
}

/* STARTTLS: no message of these protocols begins like a handshake's record. MySQL's client goes
 * on with it in the direction in which it asked. */
INLINE bool message_starts_tls(struct op_t *op, struct socket_state_t *st, u32 n, bool start)
{
	if (n < TLS_RECORD_HEADER || op->head[0] != TLS_HANDSHAKE_RECORD || !tls_header(op->head))
		return false;
	return start || (st->protocol == PROTOCOL_MYSQL &&
			 st->bytes[INGRESS] + st->bytes[EGRESS] < MYSQL_BEFORE_TLS);
}

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

/* The last bytes of a segment of one buffer, the last one highest. */
INLINE u64 last_bytes(struct op_t *op)
{
	u64 tail = 0;

	if (!op->buf || op->iovcnt || op->mmsg || op->count < 8 ||
	    read_user(&tail, sizeof(tail), op->buf + op->count - 8))
		return 0;
	return tail;
}

/* The first segment of a run on a connection of which nothing is known; op->head has its
 * first bytes, op->done of them. */
INLINE u8 message_first(struct op_t *op, struct socket_state_t *st)
{
	struct __socket_data *r = &op->rec;
	u32 n = op->done > INFER_BYTES ? INFER_BYTES : op->done;
	u64 before = st->bytes[INGRESS] + st->bytes[EGRESS], total = op->total;
	u8 protocol = 0, begins;
	/* The role is that of accept or connect, where these were seen. */
	bool made = st->role != ROLE_UNKNOWN;

	u64 tail = last_bytes(op);

	begins = infer_by_words(op, n, tail, &protocol);
	if (begins == BEGINS_NOTHING)
		begins = infer_new(op, n, total, tail, &protocol);
	if (begins == BEGINS_NOTHING || !protocol_on(protocol))
		return BEGINS_NOTHING;
	if (begins == BEGINS_MAYBE) {
		if (n >= INFER_BYTES)
			return BEGINS_NOTHING;
		__builtin_memcpy(st->before, op->head, INFER_BYTES);
		st->before_len = n;
		return begins;
	}
	spoken(r->tgid, protocol);
	st->protocol = protocol;
	st->role = (begins == BEGINS_REQUEST) == (r->direction == INGRESS) ? ROLE_SERVER
									      : ROLE_CLIENT;
	r->flags &= ~FLAG_FRESH;
	if (made && before + op->count == total)
		r->flags |= FLAG_FRESH;
	else if (protocol != PROTOCOL_FASTCGI) /* of which another is hardly under way */
		st->several = 1;
	return begins;
}

/* How much of the segment goes into records: `most` of each message's run of segments, in
 * records of at most CAPTURE_MAX bytes. */
INLINE void take_payload(struct op_t *op, struct socket_state_t *st, u32 most)
{
	u32 room = most > st->captured ? most - st->captured : 0;

	op->capture = 0;
	op->slices = 0;
	if (!op->buf || !room)
		return;
	u64 n = op->count < room ? op->count : room;
	if (op->limit && op->limit < n)
		n = op->limit;
	op->capture = n < CAPTURE_MAX ? n : CAPTURE_MAX;
	st->captured += n;
	if (n > CAPTURE_MAX && !op->limit && !op->at_entry) {
		op->slices = MESSAGE_RECORDS;
		op->room = n - CAPTURE_MAX;
		op->iovs = op->iovcnt ? op->buf : 0;
		op->iovn = op->iovcnt;
		op->place = 0;
		op->rec.length = CAPTURE_MAX;
	}
}

/* Program 22: what follows in a long segment, as a record of its own. */
INLINE int run_slice(void *ctx)
{
	struct op_t *op = operation();

	if (!op || !op->slices)
		return 0;
	struct __socket_data *r = &op->rec;
	u64 told = r->length, n;
	op->place += told;
	op->count -= told;
	op->buf += told;
	op->slices -= 1;
	op->kin.count = 0;
	op->copied = 0;
	op->iovcnt = 0;
	r->tcp_seq += (u32)told;
	r->begins = BEGINS_NOTHING;
	r->tail_len = 0;
	n = op->count;
	if (op->iovs) { /* the rest of the buffer that is next */
		op->left = op->place;
		op->buf = 0;
		NO_UNROLL
		for (int i = 0; i < IOVECS; i++) {
			struct iovec_t iov = {};
			u64 before = op->left;
			if (i >= op->iovn || read_user(&iov, sizeof(iov), op->iovs + i * 16))
				break;
			if (before < iov.len) {
				op->buf = iov.base + before;
				n = iov.len - before;
				break;
			}
			op->left = before - iov.len;
		}
		if (!op->buf)
			n = 0;
	}
	if (n > op->count)
		n = op->count;
	if (n > op->room)
		n = op->room;
	if (n > CAPTURE_MAX)
		n = CAPTURE_MAX;
	op->capture = n;
	op->room -= n;
	if (!op->room || !n || n == op->count)
		op->slices = 0;
	r->length = op->slices ? n : op->count; /* the last one tells of all that is left */
	if (n < r->length && !op->iovs)
		__progs_jmp_tp_map.call(ctx, PROG_TAIL);
	__progs_jmp_tp_map.call(ctx, PROG_OUTPUT);
	return 0;
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
	if (st->protocol == PROTOCOL_KAFKA && begins == BEGINS_REQUEST && kafka_secret(op->head))
		secret = KAFKA_SECRET;
	if (st->protocol == PROTOCOL_MONGODB && begins == BEGINS_REQUEST &&
	    message_mongodb_secret(op))
		secret = MONGODB_SECRET;
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
		st->captured = MESSAGE_MOST; /* nor what follows in the same run */
	if (begins != BEGINS_REQUEST || (r->direction == EGRESS && !op->works))
		op->go = 0;
	if (op->pools && (begins != BEGINS_NOTHING || pool_answers(st, r)))
		__progs_jmp_tp_map.call(ctx, PROG_POOL);
	if (op->python && r->direction == EGRESS && begins != BEGINS_NOTHING)
		__progs_jmp_tp_map.call(ctx, PROG_PYTHON);
	if (op->turns && r->direction == EGRESS && begins != BEGINS_NOTHING)
		__progs_jmp_tp_map.call(ctx, PROG_TURN);
	if (op->capture < r->length)
		__progs_jmp_tp_map.call(ctx, PROG_TAIL);
	if (op->go)
		__progs_jmp_tp_map.call(ctx, PROG_GO);
	__progs_jmp_tp_map.call(ctx, PROG_OUTPUT);
	return 0;
}

#endif
