/* Which protocol of requests and replies a connection speaks, and what a segment of it begins. A
 * protocol has a function in an infer_<name>.h, and a line in infer_new or infer_by_words, and in
 * infer_known. */
#ifndef OTEL_EBPF_INFER_PROTOCOLS_H
#define OTEL_EBPF_INFER_PROTOCOLS_H

#include "infer.h"
#include "infer_amqp.h"
#include "infer_dns.h"
#include "infer_dubbo.h"
#include "infer_fastcgi.h"
#include "infer_kafka.h"
#include "infer_memcached.h"
#include "infer_mongodb.h"
#include "infer_mqtt.h"
#include "infer_mysql.h"
#include "infer_nats.h"
#include "infer_postgresql.h"
#include "infer_redis.h"
#include "infer_thrift.h"
#include "infer_uwsgi.h"

/* What a protocol's function says. The ways through it have met then, see verifier.h. */
#define JUDGED(op, says)             \
	({                           \
		(op)->judged = says; \
		WAYS_MEET();         \
		(op)->judged;        \
	})

/* Tries the protocols on a connection of which nothing is known. Its head has
 * op->seen bytes, and op->tail is as infer_postgresql's. */
INLINE u8 infer_new(struct op_t *op, u8 *protocol)
{
	u8 begins = JUDGED(op, infer_fastcgi(op->head, op->seen, TOWARDS_UNKNOWN, true));

	*protocol = PROTOCOL_FASTCGI;
	if (begins != BEGINS_NOTHING && protocol_on(PROTOCOL_FASTCGI))
		return begins;
	begins = JUDGED(op, infer_uwsgi(op->head, op->seen, TOWARDS_UNKNOWN, true));
	*protocol = PROTOCOL_UWSGI;
	if (begins != BEGINS_NOTHING && protocol_on(PROTOCOL_UWSGI))
		return begins;
	*protocol = PROTOCOL_REDIS;
	begins = JUDGED(op, infer_redis(op->head, op->seen, TOWARDS_UNKNOWN, true));
	if (begins != BEGINS_NOTHING)
		return begins;
	*protocol = PROTOCOL_MYSQL;
	begins = JUDGED(op, infer_mysql(op->head, op->seen, op->total, TOWARDS_UNKNOWN, true));
	if (begins != BEGINS_NOTHING && protocol_on(PROTOCOL_MYSQL))
		return begins;
	*protocol = PROTOCOL_POSTGRESQL;
	begins = JUDGED(op, infer_postgresql(op->head, op->seen, op->total, op->tail, TOWARDS_UNKNOWN, true));
	if (begins != BEGINS_NOTHING)
		return begins;
	*protocol = PROTOCOL_MEMCACHED;
	begins = JUDGED(op, infer_memcached(op->head, op->seen, op->total, op->tail, TOWARDS_UNKNOWN, true));
	if (begins != BEGINS_NOTHING)
		return begins;
	*protocol = PROTOCOL_THRIFT;
	begins = JUDGED(op, infer_thrift_new(op->head, op->seen, op->total, op->tail));
	if (begins != BEGINS_NOTHING && protocol_on(PROTOCOL_THRIFT))
		return begins;
	*protocol = PROTOCOL_DUBBO;
	begins = JUDGED(op, infer_dubbo(op->head, op->seen, TOWARDS_UNKNOWN));
	if (begins != BEGINS_NOTHING)
		return begins;
	*protocol = PROTOCOL_KAFKA;
	begins = JUDGED(op, infer_kafka(op->head, op->seen, op->total, TOWARDS_UNKNOWN, true));
	if (begins != BEGINS_NOTHING)
		return begins;
	*protocol = PROTOCOL_MONGODB;
	begins = JUDGED(op, infer_mongodb(op->head, op->seen, op->total, TOWARDS_UNKNOWN, true));
	if (begins != BEGINS_NOTHING)
		return begins;
	*protocol = PROTOCOL_DNS;
	return JUDGED(op, infer_dns(op->head, op->seen, op->total, TOWARDS_UNKNOWN, true));
}

/* Those that are known by long words of their own, before any other. */
INLINE u8 infer_by_words(struct op_t *op, u8 *protocol)
{
	u8 begins = JUDGED(op, infer_mqtt(op->head, op->seen, TOWARDS_UNKNOWN));

	*protocol = PROTOCOL_MQTT;
	if (begins != BEGINS_NOTHING)
		return begins;
	*protocol = PROTOCOL_AMQP;
	begins = JUDGED(op, infer_amqp(op->head, op->seen, TOWARDS_UNKNOWN));
	if (begins != BEGINS_NOTHING)
		return begins;
	*protocol = PROTOCOL_NATS;
	return JUDGED(op, infer_nats(op->head, op->seen, op->tail, TOWARDS_UNKNOWN));
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
	if (protocol == PROTOCOL_THRIFT)
		return infer_thrift_next(op->head, n, total, towards, start);
	if (protocol == PROTOCOL_DUBBO)
		return infer_dubbo(op->head, n, towards);
	if (protocol == PROTOCOL_DNS)
		return infer_dns(op->head, n, total, towards, start);
	return BEGINS_NOTHING;
}

#endif
