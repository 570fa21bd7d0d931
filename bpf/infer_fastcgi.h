/* What bytes can be FastCGI: the record that begins a request. */
#ifndef OTEL_EBPF_INFER_FASTCGI_H
#define OTEL_EBPF_INFER_FASTCGI_H

#include "infer_message.h"

#define PROTOCOL_FASTCGI 44

/* Programs read a record's header by itself: 8 bytes, then what it tells of. */
INLINE u8 infer_fastcgi(const u8 *p, u32 n, u8 towards, bool start)
{
	if (n == 0)
		return BEGINS_NOTHING;
	if (towards == TOWARDS_CLIENT)
		return start ? BEGINS_RESPONSE : BEGINS_NOTHING;
	/* Version 1, BEGIN_REQUEST, an id, 8 bytes of content. */
	if (p[0] != 1 || (n > 1 && p[1] != 1))
		return BEGINS_NOTHING;
	if (n < 8)
		return towards ? BEGINS_NOTHING : BEGINS_MAYBE;
	if (!(p[2] | p[3]) || p[4] || p[5] != 8 || p[7])
		return BEGINS_NOTHING;
	if (towards && n < INFER_BYTES)
		return BEGINS_REQUEST;
	if (n < INFER_BYTES)
		return p[6] ? BEGINS_NOTHING : BEGINS_MAYBE;
	/* A role of 1 to 3, one flag, 5 bytes kept for later. */
	if (p[8] || p[9] < 1 || p[9] > 3 || p[10] > 1 || p[11] || number_at(p + 12))
		return BEGINS_NOTHING;
	return BEGINS_REQUEST;
}

#endif
