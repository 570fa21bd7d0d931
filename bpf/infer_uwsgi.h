/* What bytes can be uwsgi: a packet of CGI's variables, by its header and the first name. */
#ifndef OTEL_EBPF_INFER_UWSGI_H
#define OTEL_EBPF_INFER_UWSGI_H

#include "infer_message.h"

#define PROTOCOL_UWSGI 30 /* none of DeepFlow's */
#define UWSGI_HEADER 4
#define UWSGI_MODIFIERS 32 /* of request handlers; what lies above means something else */

/* Servers read the header by itself: 4 bytes, then what it tells of. */
INLINE u8 infer_uwsgi(const u8 *p, u32 n, u8 towards, bool start)
{
	u32 size = (u32)p[1] | (u32)p[2] << 8, name = (u32)p[4] | (u32)p[5] << 8;

	if (n == 0)
		return BEGINS_NOTHING;
	if (towards == TOWARDS_CLIENT)
		return start ? BEGINS_RESPONSE : BEGINS_NOTHING;
	/* One request a connection: what follows is its body. */
	if (towards || n < UWSGI_HEADER || p[0] >= UWSGI_MODIFIERS || p[3] >= UWSGI_MODIFIERS ||
	    size < 16)
		return BEGINS_NOTHING;
	if (n == UWSGI_HEADER)
		return BEGINS_MAYBE;
	if (n < INFER_BYTES || name < 5 || name > 64 || name + 4 > size)
		return BEGINS_NOTHING;
	NO_UNROLL
	for (u32 i = 6; i < INFER_BYTES; i++) {
		u8 c = p[i];
		if (i - 6 < name && c != '_' && (c < 'A' || c > 'Z'))
			return BEGINS_NOTHING;
	}
	return BEGINS_REQUEST;
}

#endif
