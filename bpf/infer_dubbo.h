/* What bytes can be Dubbo 2: the header of a request. */
#ifndef OTEL_EBPF_INFER_DUBBO_H
#define OTEL_EBPF_INFER_DUBBO_H

#include "infer_message.h"

#define PROTOCOL_DUBBO 40
#define DUBBO_LONGEST (1U << 23) /* what its servers take, unless told otherwise */

enum dubbo_flags {
	DUBBO_EVENT = 0x20, /* is the other side alive */
	DUBBO_ASKS = 0x80,
	DUBBO_WRITTEN = 0x1f /* how the body is written; 0 is no way */
};

INLINE u8 infer_dubbo(const u8 *p, u32 n, u8 towards)
{
	if (n < INFER_BYTES || p[0] != 0xda || p[1] != 0xbb || !(p[2] & DUBBO_WRITTEN) ||
	    p[2] & DUBBO_EVENT)
		return BEGINS_NOTHING;
	if (!(p[2] & DUBBO_ASKS))
		return towards == TOWARDS_CLIENT ? BEGINS_RESPONSE : BEGINS_NOTHING;
	if (towards == TOWARDS_CLIENT) /* the server calls back */
		return BEGINS_NOTHING;
	/* A request's status is none. */
	return towards || (!p[3] && number_at(p + 12) && number_at(p + 12) <= DUBBO_LONGEST)
		       ? BEGINS_REQUEST
		       : BEGINS_NOTHING;
}

#endif
