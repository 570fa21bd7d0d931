/* What bytes can be Apache Thrift: a call's head, as it is or behind the frame's length. */
#ifndef OTEL_EBPF_INFER_THRIFT_H
#define OTEL_EBPF_INFER_THRIFT_H

#include "infer_message.h"

#define PROTOCOL_THRIFT 31 /* none of DeepFlow's */
#define THRIFT_PREFIX 4	   /* the frame's length, which some read alone */
#define THRIFT_SHORTEST 6
#define THRIFT_LONGEST (1U << 28)
#define THRIFT_NAME 128

enum thrift_kind { THRIFT_CALL = 1, THRIFT_REPLY = 2, THRIFT_EXCEPTION = 3, THRIFT_ONEWAY = 4 };

INLINE bool thrift_named(u8 c)
{
	return is_letter(c) || is_digit(c) || c == '_' || c == ':' || c == '.';
}

/* What a message is, 0: none begins here. Of the binary protocol these are bytes of its version. */
INLINE u8 thrift_kind(const u8 *p)
{
	if (p[0] == 0x80 && p[1] == 1)
		return p[3] <= THRIFT_ONEWAY ? p[3] : 0;
	if (p[0] == 0x82 && (p[1] & 0x1f) == 1)
		return p[1] >> 5 <= THRIFT_ONEWAY ? p[1] >> 5 : 0;
	return 0;
}

INLINE bool thrift_asks(u8 kind)
{
	return kind == THRIFT_CALL || kind == THRIFT_ONEWAY;
}

/* A call for certain, of `left` bytes at most: behind its kind a name's length, and the name. */
INLINE bool thrift_calls(const u8 *p, u64 left)
{
	if (!thrift_asks(thrift_kind(p)))
		return false;
	if (p[0] == 0x80) {
		u32 size = number_at(p + 4);

		return !p[2] && size && size <= THRIFT_NAME && size + 8 <= left && is_letter(p[8]) &&
		       (size < 2 || thrift_named(p[9])) && (size < 3 || thrift_named(p[10])) &&
		       (size < 4 || thrift_named(p[11]));
	}
	/* A number of up to five bytes comes first: what is behind it is moved to its place. */
	u64 rest = (u64)W4(p[2], p[3], p[4], p[5]) | (u64)W4(p[6], p[7], p[8], p[9]) << 32;

	if (rest & 0x80) {
		rest = rest >> 8 | (u64)p[10] << 56;
		if (rest & 0x80) {
			rest = rest >> 8 | (u64)p[11] << 56;
			if (rest & 0x80) {
				rest = rest >> 8;
				if (rest & 0x80)
					rest = rest >> 8;
			}
		}
	}
	if (rest & 0x80)
		return false;
	rest >>= 8;
	u32 size = rest & 0xff;

	return size && size <= THRIFT_NAME && size + 4 <= left && is_letter(rest >> 8) &&
	       (size < 2 || thrift_named(rest >> 16)) && (size < 3 || thrift_named(rest >> 24)) &&
	       (size < 4 || thrift_named(rest >> 32));
}

/* THeader: magic, no flags, a number, its size in words, its protocol, how many transforms. */
INLINE bool thrift_header(const u8 *p)
{
	return p[0] == 0x0f && p[1] == 0xff && !p[2] && !p[3] && !p[8] && p[9] &&
	       (p[10] == 0 || p[10] == 2) && p[11] <= 2;
}

/* On an unknown connection. total: bytes of the segment; tail: its last 8, the last one highest, or
 * 0. A message ends with 0, the end of its struct. */
INLINE u8 infer_thrift_new(const u8 *p, u32 n, u64 total, u64 tail)
{
	u32 length = number_at(p);

	if (n == THRIFT_PREFIX && total == THRIFT_PREFIX &&
	    ((length >= THRIFT_SHORTEST && length < THRIFT_LONGEST) || thrift_asks(thrift_kind(p))))
		return BEGINS_MAYBE;
	if (p[0] & 0x80) {
		/* Read or written in small pieces. */
		if (p[0] == 0x80 && n < 12 && n == total && n > 3 && !p[2] && thrift_asks(thrift_kind(p)))
			return BEGINS_MAYBE;
		/* A whole frame of WebSocket begins so, too. */
		if (n < 6 || (p[0] == 0x82 && (tail >> 56 || total == (u64)p[1] + 2)))
			return BEGINS_NOTHING;
		return thrift_calls(p, total) ? BEGINS_REQUEST : BEGINS_NOTHING;
	}
	if (n < 10 || length < THRIFT_SHORTEST || length >= THRIFT_LONGEST ||
	    (length + (u64)THRIFT_PREFIX < total && !thrift_asks(thrift_kind(p + 4))))
		return BEGINS_NOTHING;
	if (thrift_header(p + 4))
		return n == INFER_BYTES && length + (u64)THRIFT_PREFIX >= total ? BEGINS_REQUEST
									       : BEGINS_NOTHING;
	return thrift_calls(p + 4, length) ? BEGINS_REQUEST : BEGINS_NOTHING;
}

/* On a connection that is known to speak it. */
INLINE u8 infer_thrift_next(const u8 *p, u32 n, u64 total, u8 towards, bool start)
{
	u32 length = number_at(p);
	bool framed = length >= THRIFT_SHORTEST && length < THRIFT_LONGEST;
	u8 kind = framed ? thrift_kind(p + 4) : thrift_kind(p);

	if (n == 0)
		return BEGINS_NOTHING;
	framed = framed && (n == THRIFT_PREFIX ? total == THRIFT_PREFIX
					       : n > 5 && (kind || (p[4] == 0x0f && p[5] == 0xff)));
	if (towards == TOWARDS_CLIENT)
		return start || framed || kind == THRIFT_REPLY || kind == THRIFT_EXCEPTION
			       ? BEGINS_RESPONSE
			       : BEGINS_NOTHING;
	/* Who reads the length alone reads the rest next. */
	if (n == THRIFT_PREFIX && framed)
		return BEGINS_MAYBE;
	return thrift_asks(kind) || (framed && !kind) || (start && p[0] & 0x80) ? BEGINS_REQUEST
									       : BEGINS_NOTHING;
}

#endif
