/* What bytes can be Kafka: a request's header, behind its length. */
#ifndef OTEL_EBPF_INFER_KAFKA_H
#define OTEL_EBPF_INFER_KAFKA_H

#include "infer_message.h"

#define PROTOCOL_KAFKA 100
#define KAFKA_APIS 96        /* more than there are */
#define KAFKA_VERSIONS 24    /* the same */
#define KAFKA_API_VERSIONS 18
#define KAFKA_SASL 36
#define KAFKA_PREFIX 4       /* the length */
#define KAFKA_SECRET 12      /* of a login, that is all that is taken: up to its number */
#define KAFKA_SHORTEST 8     /* behind the length; most have the client's name, too */
#define KAFKA_LONGEST (1U << 28)

/* Produce and Fetch of clients without a name: what comes next is a transaction's name that is
 * null, or a replica's number that is none. */
INLINE bool infer_kafka_nameless(const u8 *p)
{
	if (p[5] > 1 || p[7] < 3)
		return false;
	return (p[14] & p[15]) == 0xff || (p[5] && p[7] >= 12 && !p[14] && p[15] == 0xff);
}

/* A request's length and header. Joined: nothing is known of the connection. */
INLINE bool infer_kafka_request(const u8 *p, u32 n, u64 total, bool joined)
{
	u32 length = number_at(p), name = (u32)p[12] << 8 | p[13];
	u64 whole = (u64)length + KAFKA_PREFIX;

	if (n < 14 || length < KAFKA_SHORTEST + 2 || length >= KAFKA_LONGEST || p[4] ||
	    p[5] >= KAFKA_APIS || p[6] || p[7] >= KAFKA_VERSIONS || p[8] >> 7)
		return false;
	/* The client's name: none, empty, or text. */
	bool named = name && name < 256;
	if (!named && name && name != 0xffff)
		return false;
	if (named && (n < 15 || p[14] < ' '))
		return false;
	if (!joined)
		return true;
	if (named && (p[14] == ' ' || p[14] >= 127))
		return false;
	if (named && name > 1 && n > 15 && (p[15] < ' ' || p[15] >= 127))
		return false;
	/* What is sent in pieces is messages, or whoever sends pieces is not Kafka. */
	if (p[5] <= 1 ? whole < total : whole != total)
		return false;
	return named || p[5] == KAFKA_API_VERSIONS || (n == INFER_BYTES && infer_kafka_nameless(p));
}

/* total: bytes of the segment, with those of earlier ones that are judged with it. */
INLINE u8 infer_kafka(const u8 *p, u32 n, u64 total, u8 towards, bool start)
{
	u32 length = number_at(p);
	bool prefix = n == KAFKA_PREFIX && total == KAFKA_PREFIX && length >= KAFKA_SHORTEST &&
		      length < KAFKA_LONGEST;

	if (n == 0)
		return BEGINS_NOTHING;
	if (towards == TOWARDS_CLIENT)
		return start || prefix || (n > KAFKA_PREFIX && length + KAFKA_PREFIX == total)
			       ? BEGINS_RESPONSE
			       : BEGINS_NOTHING;
	/* Who reads the length alone reads the rest next. */
	if (prefix)
		return BEGINS_MAYBE;
	return infer_kafka_request(p, n, total, !towards) ? BEGINS_REQUEST : BEGINS_NOTHING;
}

/* A request is part of a login. */
INLINE bool kafka_secret(const u8 *p)
{
	return !p[4] && p[5] == KAFKA_SASL;
}

#endif
