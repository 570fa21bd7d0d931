/* What bytes can be NATS: the server's INFO, or lines of its client. */
#ifndef OTEL_EBPF_INFER_NATS_H
#define OTEL_EBPF_INFER_NATS_H

#include "infer_message.h"

#define PROTOCOL_NATS 104

/* The first word, in capitals, and what is behind it. */
INLINE u32 nats_word(const u8 *p)
{
	return W4(p[0], p[1], p[2], p[3]) & 0xdfdfdfdf;
}

/* tail: as infer_postgresql's. */
INLINE u8 infer_nats(const u8 *p, u32 n, u64 tail, u8 towards)
{
	u32 word = nats_word(p);
	bool message = word == (W4('P', 'U', 'B', ' ') & 0xdfdfdfdf) || word == W4('H', 'P', 'U', 'B');

	if (n < 4)
		return BEGINS_NOTHING;
	if (towards == TOWARDS_UNKNOWN) {
		/* INFO {"server_id and CONNECT { */
		if (n == INFER_BYTES && W4(p[0], p[1], p[2], p[3]) == W4('I', 'N', 'F', 'O') &&
		    W4(p[4], p[5], p[6], p[7]) == W4(' ', '{', '"', 's') &&
		    W4(p[8], p[9], p[10], p[11]) == W4('e', 'r', 'v', 'e') &&
		    W4(p[12], p[13], p[14], p[15]) == W4('r', '_', 'i', 'd'))
			return BEGINS_RESPONSE;
		if (n >= 10 && W4(p[0], p[1], p[2], p[3]) == W4('C', 'O', 'N', 'N') &&
		    W4(p[4], p[5], p[6], p[7]) == W4('E', 'C', 'T', ' ') && p[8] == '{' &&
		    (p[9] == '"' || p[9] == '}'))
			return BEGINS_REQUEST;
		return n >= 12 && W4(p[0], p[1], p[2], p[3]) == W4('P', 'U', 'B', ' ') && p[4] > ' ' &&
				       p[4] < 127 && p[5] < 127 && tail >> 48 == W2('\r', '\n')
			       ? BEGINS_REQUEST
			       : BEGINS_NOTHING;
	}
	if (towards == TOWARDS_SERVER)
		return message || word == (W4('S', 'U', 'B', ' ') & 0xdfdfdfdf) ||
				       word == W4('U', 'N', 'S', 'U') || word == W4('C', 'O', 'N', 'N') ||
				       word == W4('P', 'I', 'N', 'G')
			       ? BEGINS_REQUEST
			       : BEGINS_NOTHING;
	if (word == (W4('M', 'S', 'G', ' ') & 0xdfdfdfdf) || word == W4('H', 'M', 'S', 'G'))
		return BEGINS_REQUEST;
	return p[0] == '+' || p[0] == '-' || word == W4('P', 'O', 'N', 'G') ? BEGINS_RESPONSE
									    : BEGINS_NOTHING;
}

#endif
