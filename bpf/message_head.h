/* What a segment of these protocols begins, and how much of it is secret. */
#ifndef OTEL_EBPF_MESSAGE_HEAD_H
#define OTEL_EBPF_MESSAGE_HEAD_H

#include "head.h"
#include "infer_midway.h"
#include "infer_protocols.h"
#include "tls_record.h"

#define MESSAGE_HEADER 5 /* of a password, that is all that is taken */

/* A login, or what makes a user: of a message in one buffer; where its header is read alone the
 * parser leaves out what follows. */
INLINE bool message_mongodb_secret(struct op_t *op)
{
	u8 name[MONGODB_NAME] = {};

	return op->buf && !op->iovcnt && op->count > MONGODB_SECRET &&
	       !read_user(name, sizeof(name), op->buf + MONGODB_COMMAND) && mongodb_secret(name);
}

/* A request that is a login, of the protocols whose logins look like other requests. */
INLINE void message_login(struct op_t *op, struct socket_state_t *st, u8 *secret)
{
	if (st->protocol == PROTOCOL_KAFKA && kafka_secret(op->head))
		*secret = KAFKA_SECRET;
	if (st->protocol == PROTOCOL_MONGODB && message_mongodb_secret(op))
		*secret = MONGODB_SECRET;
}

/* What a segment of a known connection begins. `had` of the n bytes came alone, before it, and
 * are judged with it (BEGINS_MAYBE). *secret: how much of it may be taken, 0: all. */
INLINE u8 message_next(struct op_t *op, struct socket_state_t *st, u32 n, u32 had, u8 towards,
		       bool start, u8 *secret)
{
	u8 begins = JUDGED(op, infer_known(op, st->protocol, n, op->count + had, towards,
					   start || had));

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
	u64 before = st->bytes[INGRESS] + st->bytes[EGRESS];
	u8 protocol = 0, towards = TOWARDS_UNKNOWN, begins;
	/* The role is that of accept or connect, where these were seen. Of TLS the handshake had to
	 * be: its probe is the last one that a library gets. */
	bool made = st->role != ROLE_UNKNOWN && (!st->tls || st->tls_whole);

	op->seen = n;
	op->tail = last_bytes(op);
	WAYS_MEET();
	begins = infer_by_words(op, &protocol);
	if (begins == BEGINS_NOTHING)
		begins = infer_new(op, &protocol);
	if (begins == BEGINS_NOTHING && !made)
		begins = JUDGED(op, infer_midway(op, st, op->seen, op->tail, &protocol, &towards));
	n = op->seen;
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
	WAYS_MEET();
	protocol = st->protocol;
	if (towards == TOWARDS_UNKNOWN)
		towards = begins == BEGINS_REQUEST ? TOWARDS_SERVER : TOWARDS_CLIENT;
	else
		begins = JUDGED(op, infer_known(op, protocol, n, op->total, towards, true));
	st->role = (towards == TOWARDS_SERVER) == (r->direction == INGRESS) ? ROLE_SERVER
									       : ROLE_CLIENT;
	r->flags &= ~FLAG_FRESH;
	if (made && before + op->count == op->total)
		r->flags |= FLAG_FRESH;
	else if (protocol != PROTOCOL_FASTCGI) /* of which another is hardly under way */
		st->several = 1;
	return begins;
}

#endif
