/* What bytes can be AMQP 0-9-1: the header that a client begins with. */
#ifndef OTEL_EBPF_INFER_AMQP_H
#define OTEL_EBPF_INFER_AMQP_H

#include "infer_message.h"

#define PROTOCOL_AMQP 102
#define AMQP_SECRET 11 /* of what holds a password, that is all that is taken */
#define AMQP_BASIC 60

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
