/* What bytes can be Redis: a command as an array of bulk strings. */
#ifndef OTEL_EBPF_INFER_REDIS_H
#define OTEL_EBPF_INFER_REDIS_H

#include "infer_message.h"

#define PROTOCOL_REDIS 80

/* "*3\r\n$3\r\nSET\r\n": a count, the first argument's length, and a letter of it. */
INLINE u8 infer_redis_command(const u8 *p, u32 n)
{
	u32 at = 0; /* what was seen last: 1 count, 2 \r, 3 \n, 4 $, 5 length, 6 \r, 7 \n */

	NO_UNROLL
	for (u32 i = 1; i < INFER_BYTES; i++) {
		u8 c = p[i];
		if (i >= n)
			return BEGINS_MAYBE;
		if (at == 7)
			return is_letter(c) ? BEGINS_REQUEST : BEGINS_NOTHING;
		/* Behind which of these the byte goes on, and behind which it changes nothing. */
		u32 on = less((u8)(c - '1'), 9) * 0x11 | same(c, '\r') * 0x22 |
			 same(c, '\n') * 0x44 | same(c, '$') * 0x08;
		u32 stays = less((u8)(c - '0'), 10) * 0x22;
		if (!((on | stays) >> at & 1))
			return BEGINS_NOTHING;
		at += on >> at & 1;
	}
	return at >= 5 ? BEGINS_REQUEST : BEGINS_NOTHING;
}

INLINE u8 infer_redis(const u8 *p, u32 n, u8 towards, bool start)
{
	u8 c = p[0];

	if (n == 0)
		return BEGINS_NOTHING;
	if (towards == TOWARDS_CLIENT) {
		/* Types of replies, RESP2's and RESP3's. */
		if (start || c == '+' || c == '-' || c == ':' || c == '$' || c == '*' || c == '%' ||
		    c == '~' || c == '_' || c == '#' || c == ',' || c == '(' || c == '=' ||
		    c == '>' || c == '|' || c == '!')
			return BEGINS_RESPONSE;
		return BEGINS_NOTHING;
	}
	if (c == '*') {
		u8 begins = infer_redis_command(p, n);
		/* Of a connection that is known, a command cut anywhere is one. */
		return towards && begins == BEGINS_MAYBE ? BEGINS_REQUEST : begins;
	}
	/* Words alone tell nothing of an unknown connection: NATS has its PING, too. */
	return towards && start && is_letter(c) ? BEGINS_REQUEST : BEGINS_NOTHING;
}

#endif
