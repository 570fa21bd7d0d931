/* What bytes can be PostgreSQL: a connection's start, or a query that fills its segment. */
#ifndef OTEL_EBPF_INFER_POSTGRESQL_H
#define OTEL_EBPF_INFER_POSTGRESQL_H

#include "infer_message.h"

#define PROTOCOL_POSTGRESQL 61

/* Packets without a type, which begin a connection. total: bytes so far. */
INLINE bool infer_postgresql_start(const u8 *p, u32 n, u64 total)
{
	u32 length = number_at(p), code = number_at(p + 4);

	if (n < 8 || length != total)
		return false;
	if (code >> 8 == 0x300) /* 3.0 to 3.255: the name of a parameter follows */
		return length < 10000 && n > 8 && is_letter(p[8]);
	/* GSSENCRequest, SSLRequest, CancelRequest */
	return (length == 8 && (code == 80877104 || code == 80877103)) ||
	       (length == 16 && code == 80877102);
}

/* tail: the segment's last 5 bytes at the top, the last one highest; 0: not known. */
INLINE u8 infer_postgresql(const u8 *p, u32 n, u64 total, u64 tail, u8 towards, bool start)
{
	u32 length = number_at(p + 1);
	u8 c = p[0];

	if (n == 0)
		return BEGINS_NOTHING;
	if (towards == TOWARDS_CLIENT)
		return start ? BEGINS_RESPONSE : BEGINS_NOTHING;
	if (c == 0)
		return infer_postgresql_start(p, n, total) ? BEGINS_REQUEST : BEGINS_NOTHING;
	if (towards) {
		bool type = c == 'Q' || c == 'P' || c == 'B' || c == 'E' || c == 'D' || c == 'C' ||
			    c == 'F' || c == 'S';
		/* Copied data and passwords begin nothing. */
		return type && (n < 5 || (length >= 4 && length < 1 << 30)) ? BEGINS_REQUEST
									    : BEGINS_NOTHING;
	}
	if (n < 12 || length < 5)
		return BEGINS_NOTHING;
	/* Joined midway: one whole query; or what ends with Sync. */
	if (c == 'Q' && (u64)length + 1 == total && p[5] >= ' ' && p[5] < 127 && p[6] >= ' ' &&
	    p[6] < 127 && !(tail >> 56))
		return BEGINS_REQUEST;
	if ((c == 'P' || c == 'B') && (u64)length + 1 < total &&
	    tail >> 24 == ((u64)'S' | 4ULL << 32))
		return BEGINS_REQUEST;
	return BEGINS_NOTHING;
}

#endif
