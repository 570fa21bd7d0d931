/* What bytes can be HTTP/2: the client's preface, and frames' headers. */
#ifndef OTEL_EBPF_INFER_HTTP2_H
#define OTEL_EBPF_INFER_HTTP2_H

#include "maps.h"

#define PROTOCOL_HTTP2 21
#define HTTP2_PREFACE 24
#define HTTP2_HEADER 9
#define HTTP2_LONGEST 65536 /* frame that is kept; longer ones are not believed */

enum http2_frame {
	HTTP2_DATA = 0,
	HTTP2_HEADERS = 1,
	HTTP2_PRIORITY = 2,
	HTTP2_RST_STREAM = 3,
	HTTP2_SETTINGS = 4,
	HTTP2_PUSH_PROMISE = 5,
	HTTP2_PING = 6,
	HTTP2_GOAWAY = 7,
	HTTP2_WINDOW_UPDATE = 8,
	HTTP2_CONTINUATION = 9
};

#define HTTP2_END_STREAM 1

/* A frame's header that can be meant: flags, length and stream fit its type. */
INLINE bool http2_plausible(const u8 *p)
{
	u32 length = (u32)p[0] << 16 | (u32)p[1] << 8 | p[2];
	u32 stream = (u32)p[5] << 24 | (u32)p[6] << 16 | (u32)p[7] << 8 | p[8];
	u8 type = p[3], flags = p[4];

	if (stream >> 31)
		return false;
	if (type == HTTP2_DATA)
		return stream && !(flags & ~0x9);
	if (type == HTTP2_HEADERS)
		return stream && length && length <= HTTP2_LONGEST && !(flags & ~0x2d);
	if (type == HTTP2_PRIORITY)
		return stream && length == 5 && !flags;
	if (type == HTTP2_RST_STREAM)
		return stream && length == 4 && !flags;
	if (type == HTTP2_SETTINGS)
		return !stream && ((flags == 0 && length % 6 == 0 && length <= 6 * 64) ||
				   (flags == 1 && !length));
	if (type == HTTP2_PUSH_PROMISE)
		return stream && length > 4 && length <= HTTP2_LONGEST && !(flags & ~0xc);
	if (type == HTTP2_PING)
		return !stream && length == 8 && flags < 2;
	if (type == HTTP2_GOAWAY)
		return !stream && length >= 8 && length <= HTTP2_LONGEST && !flags;
	if (type == HTTP2_WINDOW_UPDATE)
		return length == 4 && !flags;
	if (type == HTTP2_CONTINUATION)
		return stream && length <= HTTP2_LONGEST && !(flags & ~4);
	/* Extensions: ALTSVC, ORIGIN, PRIORITY_UPDATE and what may come near them. */
	return type < 0x20 && length <= HTTP2_LONGEST;
}

/* Of the 4 bytes at `at`, those that are there when n are. */
INLINE u32 http2_seen(u32 n, u32 at)
{
	return n >= at + 4 ? ~0U : n <= at ? 0 : (1U << (8 * (n - at))) - 1;
}

/* Whether a segment of `count` bytes begins a conversation in HTTP/2, or can be part of one
 * that began unseen; then the walk over it decides. p: its first n bytes, 4 at least, of
 * which `had` came in segments before it. */
INLINE u8 infer_http2(const u8 *p, u32 n, u32 had, u64 count)
{
	if (W4(p[0], p[1], p[2], p[3]) == W4('P', 'R', 'I', ' ')) {
		u32 b = W4(p[4], p[5], p[6], p[7]), c = W4(p[8], p[9], p[10], p[11]);
		u32 d = W4(p[12], p[13], p[14], p[15]);
		if (((b ^ W4('*', ' ', 'H', 'T')) & http2_seen(n, 4)) ||
		    ((c ^ W4('T', 'P', '/', '2')) & http2_seen(n, 8)) ||
		    ((d ^ W4('.', '0', '\r', '\n')) & http2_seen(n, 12)))
			return BEGINS_NOTHING;
		return n >= 14 ? BEGINS_REQUEST : BEGINS_MAYBE;
	}
	if (had || n < HTTP2_HEADER || p[0] || p[3] > HTTP2_WINDOW_UPDATE || !p[3])
		return BEGINS_NOTHING;
	/* Some readers take a header and its payload apart, as Go's do. */
	if ((((u32)p[1] << 8 | p[2]) + HTTP2_HEADER > count) &&
	    (count != HTTP2_HEADER || p[3] != HTTP2_HEADERS || !(p[8] & 1)))
		return BEGINS_NOTHING;
	return BEGINS_FRAMES;
}

#endif
