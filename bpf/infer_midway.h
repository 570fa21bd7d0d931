/* AMQP and MQTT on a connection that is older than the tracer, whose greeting nobody saw: by what
 * can be nothing else, and tells which side is the broker. */
#ifndef OTEL_EBPF_INFER_MIDWAY_H
#define OTEL_EBPF_INFER_MIDWAY_H

#include "infer_protocols.h"
#include "task.h"

/* MQTT's packets have few fixed bits. So one that waits for an answer is remembered, and the answer
 * has to be the next that comes, with its number. Who gave that is the broker where only a broker
 * can, or where the port says so. */
INLINE u8 infer_mqtt_midway(struct op_t *op, struct socket_state_t *st, u32 n, u8 *towards)
{
	u64 total = op->total, had = total - op->count;
	u8 direction = op->rec.direction, asked = st->mqtt_asked, code = 0, found;
	u16 id = 0;
	u32 at = 0;

	if (asked && st->mqtt_direction != direction) {
		found = mqtt_answers(op->head, n, total, asked, &id, &code);
		if (found == MQTT_MORE)
			return BEGINS_MAYBE;
		if (found && id == st->mqtt_id) {
			if (asked != MQTT_PUBLISH || code == MQTT_NOBODY ||
			    (direction == INGRESS ? st->peer_port : st->local_port) == MQTT_PORT)
				*towards = TOWARDS_CLIENT;
			else if ((direction == INGRESS ? st->local_port : st->peer_port) == MQTT_PORT)
				*towards = TOWARDS_SERVER;
			return *towards ? BEGINS_RESPONSE : BEGINS_NOTHING;
		}
	}
	st->mqtt_asked = 0;
	found = mqtt_asks(op->head, n, total, &id, &at);
	if (found == MQTT_MORE)
		return BEGINS_MAYBE;
	if (at) {
		if (op->iovcnt || !op->buf || at < had || at - had + 2 > op->count ||
		    read_user(&id, sizeof(id), op->buf + at - had))
			return BEGINS_NOTHING;
		id = id << 8 | id >> 8;
	}
	if (found && (id || found == MQTT_PINGREQ)) {
		st->mqtt_asked = found;
		st->mqtt_direction = direction;
		st->mqtt_id = id;
	}
	return BEGINS_NOTHING;
}

/* As infer_new; *towards: where the segment goes. */
INLINE u8 infer_midway(struct op_t *op, struct socket_state_t *st, u32 n, u64 tail, u8 *protocol,
		       u8 *towards)
{
	*protocol = PROTOCOL_AMQP;
	*towards = infer_amqp_midway(op->head, n, op->total, tail);
	if (*towards)
		return *towards == TOWARDS_SERVER ? BEGINS_REQUEST : BEGINS_RESPONSE;
	*protocol = PROTOCOL_MQTT;
	return infer_mqtt_midway(op, st, n, towards);
}

#endif
