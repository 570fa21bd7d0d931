/* What bytes can be MQTT 3.1, 3.1.1 or 5: a client's CONNECT. */
#ifndef OTEL_EBPF_INFER_MQTT_H
#define OTEL_EBPF_INFER_MQTT_H

#include "infer_message.h"

#define PROTOCOL_MQTT 101

/* Types of packets, the high half of their first byte. */
enum mqtt_packet {
	MQTT_CONNECT = 1,
	MQTT_CONNACK = 2,
	MQTT_PUBLISH = 3,
	MQTT_PUBACK = 4,
	MQTT_PUBREC = 5,
	MQTT_PUBREL = 6,
	MQTT_PUBCOMP = 7,
	MQTT_SUBSCRIBE = 8,
	MQTT_SUBACK = 9,
	MQTT_UNSUBSCRIBE = 10,
	MQTT_UNSUBACK = 11,
	MQTT_PINGREQ = 12,
	MQTT_PINGRESP = 13,
	MQTT_MORE = 0xff
};

#define MQTT_PORT 1883
#define MQTT_NOBODY 0x10 /* "no matching subscribers": a broker says that alone */

/* A delivery that its receiver acknowledges. */
INLINE bool mqtt_waits(const u8 *p)
{
	return p[0] >> 4 == MQTT_PUBLISH && (p[0] & 6);
}

/* Bytes of the packet's length, 1 to 4, behind its first; 0: they are not all there, as many
 * programs read each of them alone. */
INLINE u32 mqtt_length(const u8 *p, u32 n)
{
	NO_UNROLL
	for (u32 i = 1; i < 5; i++)
		if (i >= n)
			return 0;
		else if (!(p[i] & 0x80))
			return i;
	return 4;
}

/* 0x10, the length, and the protocol's name with its level. */
INLINE u8 infer_mqtt_connect(const u8 *p, u32 n)
{
	u32 length = mqtt_length(p, n), at = (length + 1) & 7, seen = n - at, name;

	if (p[0] != 0x10)
		return BEGINS_NOTHING;
	if (!length || n <= at)
		return BEGINS_MAYBE;
	if (seen < 7)
		return p[at] ? BEGINS_NOTHING : BEGINS_MAYBE;
	name = number_at(p + at);
	if (name == 0x00044d51) /* 4, "MQ" */
		return p[at + 4] == 'T' && p[at + 5] == 'T' && (p[at + 6] == 4 || p[at + 6] == 5)
			       ? BEGINS_REQUEST
			       : BEGINS_NOTHING;
	if (name != 0x00064d51)
		return BEGINS_NOTHING;
	if (seen < 9)
		return BEGINS_MAYBE;
	return number_at(p + at + 4) == 0x49736470 && p[at + 8] == 3 ? BEGINS_REQUEST
								      : BEGINS_NOTHING;
}

/* A packet that waits for an answer, on a connection that is older than the tracer. *id: its
 * identifier, or (*at) where in the packet that is, if that is not among the n bytes. Returns its
 * type, with MQTT_MORE while but its length is there, 0: it is none. `total`: bytes so far. */
INLINE u8 mqtt_asks(const u8 *p, u32 n, u64 total, u16 *id, u32 *at)
{
	u32 length = mqtt_length(p, n), first = length + 1, size = 0, type = p[0] >> 4;
	bool publishes = type == MQTT_PUBLISH && (p[0] & 6) && (p[0] & 6) != 6;

	*at = 0;
	if (!publishes && p[0] != 0x82 && p[0] != 0xa2 && p[0] != 0xc0)
		return 0;
	if (!length)
		return n < 5 && total == n ? MQTT_MORE : 0;
	NO_UNROLL
	for (u32 i = 1; i < 5; i++)
		if (i <= length)
			size |= (u32)(p[i] & 0x7f) << 7 * (i - 1);
	if (total < first + size)
		return total == first ? MQTT_MORE : 0;
	if (total != first + size || length > 4 || (!size != (type == MQTT_PINGREQ)))
		return 0;
	*id = 0;
	if (type == MQTT_PINGREQ)
		return type;
	first &= 7;
	if (publishes) { /* a topic of up to 255 letters */
		u32 topic = p[first + 1];
		if (size < 5 || p[first] || !topic || topic + 4 > size || p[first + 2] < ' ')
			return 0;
		*at = first + 2 + topic;
		return type;
	}
	*id = (u32)p[first] << 8 | p[first + 1];
	return size < 5 || !*id ? 0 : type;
}

/* The answer to a packet of type `asked`: the same of it. *code: what it says, 0: nothing. */
INLINE u8 mqtt_answers(const u8 *p, u32 n, u64 total, u8 asked, u16 *id, u8 *code)
{
	u8 type = p[0] >> 4;
	u32 size = p[1];
	bool right = asked == MQTT_PUBLISH ? type == MQTT_PUBACK || type == MQTT_PUBREC
					   : type == asked + 1;

	if (!right || p[0] & 15)
		return 0;
	if (n < 2 || (total == 2 && size))
		return total == n ? MQTT_MORE : 0;
	if (size > 0x7f || total != size + 2 || (size < 2) != (asked == MQTT_PINGREQ))
		return 0;
	*id = asked == MQTT_PINGREQ ? 0 : (u32)p[2] << 8 | p[3];
	*code = size > 2 ? p[4] : 0;
	return asked == MQTT_PINGREQ && size ? 0 : type;
}

INLINE u8 infer_mqtt(const u8 *p, u32 n, u8 towards)
{
	u8 type = p[0] >> 4;

	if (n == 0)
		return BEGINS_NOTHING;
	if (towards == TOWARDS_UNKNOWN)
		return infer_mqtt_connect(p, n);
	if (!type || (type == MQTT_PUBLISH && (p[0] & 6) == 6))
		return BEGINS_NOTHING;
	if (!mqtt_length(p, n))
		return BEGINS_MAYBE;
	if (type == MQTT_PUBLISH)
		return BEGINS_REQUEST;
	if (p[0] & 15 && p[0] != 0x62 && p[0] != 0x82 && p[0] != 0xa2)
		return BEGINS_NOTHING;
	if (type == MQTT_PUBACK || type == MQTT_PUBREC || type == MQTT_PUBCOMP)
		return BEGINS_RESPONSE;
	if (towards == TOWARDS_SERVER)
		return type == MQTT_CONNECT || type == MQTT_SUBSCRIBE || type == MQTT_UNSUBSCRIBE ||
				       type == MQTT_PINGREQ
			       ? BEGINS_REQUEST
			       : BEGINS_NOTHING;
	return type == MQTT_CONNACK || type == MQTT_SUBACK || type == MQTT_UNSUBACK ||
			       type == MQTT_PINGRESP
		       ? BEGINS_RESPONSE
		       : BEGINS_NOTHING;
}

#endif
