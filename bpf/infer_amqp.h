/* What bytes can be AMQP 0-9-1: the header that a client begins with; of a connection that is older
 * than the tracer, a message or the wish for one. */
#ifndef OTEL_EBPF_INFER_AMQP_H
#define OTEL_EBPF_INFER_AMQP_H

#include "infer_message.h"

#define PROTOCOL_AMQP 102
#define AMQP_SECRET 11 /* of what holds a password, that is all that is taken */
#define AMQP_BASIC 60
#define AMQP_FRAME_END 0xce
#define AMQP_CHANNEL_HIGH 7 /* of a channel's number: brokers allow 2047 */
#define AMQP_NAMES 800	    /* the most that a method's three names and numbers take */

/* Class and method of a frame that begins with p; 0: it is no method's. */
INLINE u32 amqp_method(const u8 *p, u32 n)
{
	if (n < 11 || p[0] != 1 || p[7] || p[9])
		return 0;
	return (u32)p[8] << 8 | p[10];
}

/* A delivery; whether it is acknowledged is not known here. */
INLINE bool amqp_delivers(const u8 *p)
{
	return amqp_method(p, INFER_BYTES) == (AMQP_BASIC << 8 | 60);
}

/* Connection.StartOk and SecureOk. */
INLINE bool amqp_secret(const u8 *p)
{
	u32 method = amqp_method(p, INFER_BYTES);

	return method == (10 << 8 | 11) || method == (10 << 8 | 21);
}

/* Where a segment goes that begins with a method that only a client, or only a broker, sends: a
 * publish, a get, a delivery. Some 80 bits of it are fixed. `tail`: its last bytes; a frame's end is
 * one of them. */
INLINE u8 infer_amqp_midway(const u8 *p, u32 n, u64 total, u64 tail)
{
	u32 method = amqp_method(p, n), size = number_at(p + 3);

	if (n < INFER_BYTES || method >> 8 != AMQP_BASIC || p[1] > AMQP_CHANNEL_HIGH ||
	    !(p[1] | p[2]) || size < 9 || size > AMQP_NAMES || total < size + 8 ||
	    tail >> 56 != AMQP_FRAME_END)
		return TOWARDS_UNKNOWN;
	method &= 0xff;
	if (method == 60)
		return p[11] && p[11] + 16u <= size ? TOWARDS_CLIENT : TOWARDS_UNKNOWN;
	if (p[11] || p[12])
		return TOWARDS_UNKNOWN;
	if (method == 40)
		return p[13] + 9u <= size ? TOWARDS_SERVER : TOWARDS_UNKNOWN;
	return method == 70 && size == p[13] + 8u && total == size + 8 ? TOWARDS_SERVER
								       : TOWARDS_UNKNOWN;
}

INLINE u8 infer_amqp(const u8 *p, u32 n, u8 towards)
{
	u32 method;

	if (towards == TOWARDS_UNKNOWN)
		return n >= 8 && W4(p[0], p[1], p[2], p[3]) == W4('A', 'M', 'Q', 'P') &&
				       (W4(p[4], p[5], p[6], p[7]) == W4(0, 0, 9, 1) ||
					W4(p[4], p[5], p[6], p[7]) == W4(1, 1, 0, 9))
			       ? BEGINS_REQUEST
			       : BEGINS_NOTHING;
	method = amqp_method(p, n);
	if (!method)
		return BEGINS_NOTHING;
	if (method == (AMQP_BASIC << 8 | 80) || method == (AMQP_BASIC << 8 | 90) ||
	    method == (AMQP_BASIC << 8 | 120)) /* ack, reject, nack */
		return BEGINS_RESPONSE;
	if (towards == TOWARDS_SERVER)
		return BEGINS_REQUEST;
	return amqp_delivers(p) ? BEGINS_REQUEST : BEGINS_RESPONSE;
}

#endif
