/* DNS: its header of 12 bytes says whether it can be one. */
#ifndef OTEL_EBPF_INFER_DNS_H
#define OTEL_EBPF_INFER_DNS_H

#include "infer_message.h"

#define PROTOCOL_DNS 120
#define DNS_HEADER 12
#define DNS_LEAST 17 /* with the root's name, a type and a class */

#define DNS_PORT 53
#define NBNS_PORT 137  /* NetBIOS' names, multicast DNS and LLMNR have the same header */
#define MDNS_PORT 5353
#define LLMNR_PORT 5355

/* A message's first 12 bytes: a query, an answer, or none. `certain`: nothing is known of the
 * socket; then it must be a plain query, of which few bits are free. */
INLINE u8 infer_dns_header(const u8 *p, bool certain)
{
	u8 opcode = p[2] >> 3 & 15;
	u32 counts = number_at(p + 4), others = number_at(p + 8);

	if (certain) /* no AA, TC, RA, code; one question, and up to two additional records */
		return (p[2] & 0xfe) || (p[3] & 0xcf) || counts != 1 << 16 || others > 2
			       ? BEGINS_NOTHING
			       : BEGINS_REQUEST;
	if ((p[3] & 0x40) || (opcode && opcode != 4 && opcode != 5))
		return BEGINS_NOTHING;
	if (p[2] & 0x80)
		return BEGINS_RESPONSE;
	return counts >> 16 ? BEGINS_REQUEST : BEGINS_NOTHING;
}

/* A datagram whose first n bytes are at p. `known`: the socket has sent or taken DNS before, or
 * one of its ports is DNS's own. */
INLINE u8 infer_dns_datagram(const u8 *p, u32 n, u64 length, bool known)
{
	if (n < DNS_HEADER || length < (known ? DNS_HEADER : DNS_LEAST))
		return BEGINS_NOTHING;
	/* A question begins with the length of a label. */
	if (!known && n > DNS_HEADER && p[DNS_HEADER] > 63)
		return BEGINS_NOTHING;
	return infer_dns_header(p, !known);
}

/* Over TCP each message has its length before it, in two bytes. */
INLINE u8 infer_dns(const u8 *p, u32 n, u64 total, u8 towards, bool start)
{
	u32 length = (u32)p[0] << 8 | p[1];

	if (towards != TOWARDS_UNKNOWN) {
		u8 begins = towards == TOWARDS_SERVER ? BEGINS_REQUEST : BEGINS_RESPONSE;
		if (n < 5) /* the length alone */
			return start || n == 2 ? begins : BEGINS_NOTHING;
		return length >= DNS_HEADER && (p[4] >> 7) == (towards == TOWARDS_CLIENT) &&
				       (start || length + 2 <= total)
			       ? begins
			       : BEGINS_NOTHING;
	}
	if (p[0] > 1 || (n > 4 && (p[4] & 0xfe)) || (n > 1 && length < DNS_LEAST))
		return BEGINS_NOTHING;
	if (n < DNS_HEADER + 2)
		return BEGINS_MAYBE;
	if (total < length + 2 || p[DNS_HEADER + 2] > 63)
		return BEGINS_NOTHING;
	return infer_dns_header(p + 2, true);
}

#endif
