/* What bytes can be MongoDB: a request's header, which is just what is looked at. */
#ifndef OTEL_EBPF_INFER_MONGODB_H
#define OTEL_EBPF_INFER_MONGODB_H

#include "infer_message.h"

#define PROTOCOL_MONGODB 81
#define MONGODB_HEADER 16 /* length, number, number that is answered, kind */
#define MONGODB_PREFIX 4  /* the length, which some read alone */
#define MONGODB_LONGEST 48016384
#define MONGODB_COMMAND 26 /* where a message's command has its name */
#define MONGODB_NAME 8
#define MONGODB_SECRET 48 /* of a login, that is all that is taken */

enum mongodb_kind {
	MONGODB_REPLY = 1,
	MONGODB_UPDATE = 2001,
	MONGODB_QUERY = 2004,
	MONGODB_KILL_CURSORS = 2007,
	MONGODB_COMPRESSED = 2012,
	MONGODB_MESSAGE = 2013
};

/* Their numbers have the lowest byte first. */
INLINE u32 mongodb_number(const u8 *p)
{
	return W4(p[0], p[1], p[2], p[3]);
}

INLINE u8 infer_mongodb(const u8 *p, u32 n, u64 total, u8 towards, bool start)
{
	u32 length = mongodb_number(p), kind = mongodb_number(p + 12);
	bool fits = length > MONGODB_HEADER && length < MONGODB_LONGEST;
	bool modern = kind == MONGODB_MESSAGE || kind == MONGODB_COMPRESSED;

	if (n == 0)
		return BEGINS_NOTHING;
	if (towards == TOWARDS_CLIENT)
		return start || (fits && ((n == MONGODB_PREFIX && total == MONGODB_PREFIX) ||
					  (n == INFER_BYTES && (modern || kind == MONGODB_REPLY))))
			       ? BEGINS_RESPONSE
			       : BEGINS_NOTHING;
	if (!fits)
		return BEGINS_NOTHING;
	if (n == MONGODB_PREFIX && total == MONGODB_PREFIX)
		return BEGINS_MAYBE;
	/* Only answers name what they answer. */
	if (n < INFER_BYTES || mongodb_number(p + 8))
		return BEGINS_NOTHING;
	if (modern || kind == MONGODB_QUERY)
		return BEGINS_REQUEST;
	return towards && kind >= MONGODB_UPDATE && kind <= MONGODB_KILL_CURSORS ? BEGINS_REQUEST
										: BEGINS_NOTHING;
}

/* A command that has a password or a proof of one; name: its first MONGODB_NAME bytes. */
INLINE bool mongodb_secret(const u8 *p)
{
	u32 w = mongodb_number(p), v = mongodb_number(p + 4);

	return (w == W4('s', 'a', 's', 'l') &&
		(v == W4('S', 't', 'a', 'r') || v == W4('C', 'o', 'n', 't'))) ||
	       ((w == W4('c', 'r', 'e', 'a') || w == W4('u', 'p', 'd', 'a')) &&
		v == W4('t', 'e', 'U', 's')) ||
	       (w == W4('a', 'u', 't', 'h') && v == W4('e', 'n', 't', 'i'));
}

#endif
