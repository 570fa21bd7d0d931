/* Protocol inference from the first bytes of a run. One function a protocol; HTTP/2's is in
 * infer_http2.h. */
#ifndef OTEL_EBPF_INFER_H
#define OTEL_EBPF_INFER_H

#include "maps.h"

#define PROTOCOL_HTTP1 20
#define PROTOCOL_TLS 121
#define INFER_BYTES 16

#define W2(a, b) ((u32)(u8)(a) | (u32)(u8)(b) << 8)
#define W4(a, b, c, d) (W2(a, b) | W2(c, d) << 16)

#include "infer_http2.h"
#include "infer_websocket.h"

/* p holds n valid bytes, zeros behind them; INFER_BYTES in all. */
INLINE u8 infer_http1(const u8 *p, u32 n)
{
	u32 w = W4(p[0], p[1], p[2], p[3]);
	u32 v = W4(p[4], p[5], p[6], p[7]);
	/* The part of v that is there: what is not may still become anything. */
	u32 seen = n >= 8 ? ~0U : n <= 4 ? 0 : (1U << (8 * (n - 4))) - 1;
	u8 after; /* the byte behind the method's space */

	if (n < 4) {
		/* Bytes that may still grow into one of the words below. Few begin so. */
		u8 c = p[0];
		if (n == 0)
			return BEGINS_MAYBE;
		if (c != 'G' && c != 'P' && c != 'H' && c != 'D' && c != 'O' && c != 'C' &&
		    c != 'T' && c != 'L' && c != 'M' && c != 'Q' && c != 'R' && c != 'S')
			return BEGINS_NOTHING;
		if (n >= 2 && (p[1] < 'A' || p[1] > 'Z'))
			return BEGINS_NOTHING;
		if (n >= 3 && (p[2] < 'A' || p[2] > 'Z'))
			return BEGINS_NOTHING;
		return BEGINS_MAYBE;
	}
	if (w == W4('H', 'T', 'T', 'P')) {
		if ((v ^ W4('/', '1', '.', p[7])) & seen)
			return BEGINS_NOTHING;
		if (n < 10)
			return BEGINS_MAYBE;
		if (p[8] != ' ')
			return BEGINS_NOTHING;
		return p[9] == '1' ? BEGINS_INTERIM : BEGINS_RESPONSE;
	}
	if (w == W4('G', 'E', 'T', ' ') || w == W4('P', 'U', 'T', ' ')) {
		after = p[4];
	} else if (w == W4('P', 'O', 'S', 'T') || w == W4('H', 'E', 'A', 'D') ||
		   w == W4('L', 'O', 'C', 'K') || w == W4('M', 'O', 'V', 'E') ||
		   w == W4('C', 'O', 'P', 'Y')) {
		if ((v ^ ' ') & seen & 0xff)
			return BEGINS_NOTHING;
		after = p[5];
	} else if (w == W4('P', 'A', 'T', 'C') || w == W4('T', 'R', 'A', 'C') ||
		   w == W4('M', 'K', 'C', 'O') || w == W4('Q', 'U', 'E', 'R')) {
		u8 last = w == W4('P', 'A', 'T', 'C')   ? 'H'
			  : w == W4('T', 'R', 'A', 'C') ? 'E'
			  : w == W4('M', 'K', 'C', 'O') ? 'L'
							: 'Y';
		if ((v ^ W2(last, ' ')) & seen & 0xffff)
			return BEGINS_NOTHING;
		after = p[6];
	} else if (w == W4('D', 'E', 'L', 'E') || w == W4('R', 'E', 'P', 'O') ||
		   w == W4('S', 'E', 'A', 'R')) {
		u32 rest = w == W4('D', 'E', 'L', 'E')   ? W2('T', 'E')
			   : w == W4('R', 'E', 'P', 'O') ? W2('R', 'T')
							 : W2('C', 'H');
		if ((v ^ (rest | ' ' << 16)) & seen & 0xffffff)
			return BEGINS_NOTHING;
		after = p[7];
	} else if (w == W4('O', 'P', 'T', 'I') || w == W4('C', 'O', 'N', 'N')) {
		u32 rest = w == W4('O', 'P', 'T', 'I') ? W4('O', 'N', 'S', ' ')
						       : W4('E', 'C', 'T', ' ');
		if ((v ^ rest) & seen)
			return BEGINS_NOTHING;
		after = p[8];
	} else if (w == W4('P', 'R', 'O', 'P')) {
		if (((v ^ W4('F', 'I', 'N', 'D')) & seen) && ((v ^ W4('P', 'A', 'T', 'C')) & seen))
			return BEGINS_NOTHING;
		after = n < 8 ? 0 : '/';
	} else {
		return BEGINS_NOTHING;
	}
	/* A target begins with a slash, a star, a letter (absolute form, CONNECT), a
	 * digit or a bracket (CONNECT to an address). */
	if (after == 0 && n < 9)
		return BEGINS_MAYBE;
	if (after == '/' || after == '*' || after == '[' || (after >= '0' && after <= '9') ||
	    (after >= 'a' && after <= 'z') || (after >= 'A' && after <= 'Z'))
		return BEGINS_REQUEST;
	return BEGINS_NOTHING;
}

INLINE bool protocol_on(u32 protocol)
{
	int key = protocol & 0xff;
	u32 *on = __protocol_filter.lookup(&key);
	return on && *on;
}

INLINE void spoken(u32 tgid, u8 protocol)
{
	int slot = tgid & 4095;
	struct proto_infer_cache_t *cache = __proto_infer_cache_map.lookup(&slot);

	if (cache && (cache->tgid != tgid || cache->protocol != protocol)) {
		cache->tgid = tgid;
		cache->protocol = protocol;
	}
}

/* Tries the protocols in turn. Sets *protocol. `had`: of the n bytes, those of segments
 * before this one; `count`: bytes of this one; `known`: what the socket speaks so far. */
INLINE u8 infer(u32 tgid, const u8 *p, u32 n, u32 had, u64 count, u8 known, u8 *protocol)
{
	u8 begins = infer_http1(p, n);

	if (begins != BEGINS_NOTHING && begins != BEGINS_MAYBE) {
		*protocol = PROTOCOL_HTTP1;
		spoken(tgid, PROTOCOL_HTTP1);
		return begins;
	}
	if (n >= 4) {
		u8 http2 = infer_http2(p, n, had, count);
		/* A guess is for sockets of which nothing is known. */
		if (http2 == BEGINS_REQUEST || (http2 == BEGINS_FRAMES && !known)) {
			*protocol = PROTOCOL_HTTP2;
			spoken(tgid, PROTOCOL_HTTP2);
			return http2;
		}
		if (http2 == BEGINS_MAYBE)
			return http2;
	}
	return begins;
}

#endif
