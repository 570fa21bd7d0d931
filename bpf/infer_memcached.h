/* What bytes can be Memcached: a command's line, or a binary request. */
#ifndef OTEL_EBPF_INFER_MEMCACHED_H
#define OTEL_EBPF_INFER_MEMCACHED_H

#include "infer_message.h"

#define PROTOCOL_MEMCACHED 82
#define MEMCACHED_REQUEST 0x80
#define MEMCACHED_RESPONSE 0x81

/* A binary request: lengths that fit each other and the segment, and no virtual bucket. */
INLINE bool infer_memcached_binary(const u8 *p, u32 n, u64 total)
{
	u32 key = (u32)p[2] << 8 | p[3], body = number_at(p + 8);

	return n == INFER_BYTES && p[1] <= 0x22 && key <= 250 && p[4] <= 20 && !p[5] && !p[6] &&
	       !p[7] && key + p[4] <= body && (u64)body + 24 <= total;
}

/* Length of the command that the bytes begin with, of those that have a key; 0: none. */
INLINE u32 infer_memcached_verb(const u8 *p)
{
	u32 w = W4(p[0], p[1], p[2], p[3]);

	if (p[0] == 'm' && (p[1] == 'g' || p[1] == 's' || p[1] == 'd' || p[1] == 'a') && p[2] == ' ')
		return 2;
	if (w == W4('g', 'e', 't', ' ') || w == W4('s', 'e', 't', ' ') ||
	    w == W4('a', 'd', 'd', ' ') || w == W4('c', 'a', 's', ' ') || w == W4('g', 'a', 't', ' '))
		return 3;
	if ((w == W4('g', 'e', 't', 's') || w == W4('i', 'n', 'c', 'r') ||
	     w == W4('d', 'e', 'c', 'r') || w == W4('g', 'a', 't', 's')) &&
	    p[4] == ' ')
		return 4;
	if (w == W4('t', 'o', 'u', 'c') && p[4] == 'h' && p[5] == ' ')
		return 5;
	if (w == W4('d', 'e', 'l', 'e') && p[4] == 't' && p[5] == 'e' && p[6] == ' ')
		return 6;
	return 0;
}

/* tail: as infer_postgresql's. */
INLINE u8 infer_memcached(const u8 *p, u32 n, u64 total, u64 tail, u8 towards, bool start)
{
	u32 verb;

	if (n == 0)
		return BEGINS_NOTHING;
	if (towards == TOWARDS_CLIENT)
		return start || p[0] == MEMCACHED_RESPONSE ? BEGINS_RESPONSE : BEGINS_NOTHING;
	if (p[0] == MEMCACHED_REQUEST)
		return towards || infer_memcached_binary(p, n, total) ? BEGINS_REQUEST
								      : BEGINS_NOTHING;
	verb = infer_memcached_verb(p);
	if (towards)
		return verb || (start && is_letter(p[0])) ? BEGINS_REQUEST : BEGINS_NOTHING;
	/* A key behind it, and the end of a line at the segment's. */
	if (!verb || n < verb + 4)
		return BEGINS_NOTHING;
	u8 key = p[(verb + 1) & 7];
	if (n < 8)
		tail = (u64)p[(n - 2) & 7] << 48 | (u64)p[(n - 1) & 7] << 56;
	return key > ' ' && key < 127 && tail >> 48 == W2('\r', '\n') ? BEGINS_REQUEST
								  : BEGINS_NOTHING;
}

#endif
