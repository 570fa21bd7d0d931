/* Goroutines that serve one stream each: known where user space has asked for it, because
 * calls were seen that no context explains. */
#ifndef OTEL_EBPF_GO_HANDLERS_H
#define OTEL_EBPF_GO_HANDLERS_H

#include "unit.h"

/* The request that this goroutine serves. `born`: it is asked for on behalf of a goroutine
 * that it started; where it serves one request after another, that proves nothing. */
INLINE u64 go_handler_uid(u32 tgid, u64 goid, bool born)
{
	struct go_key key = {.goid = goid, .tgid = tgid};
	struct go_handler_t *handler = go_handler_map.lookup(&key);

	if (!handler || (born && handler->again))
		return 0;
	return handler->uid;
}

#endif
