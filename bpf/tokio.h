/* Tokio: which task runs. Its number is in a thread-local variable, and never used again; the place
 * comes from otel_ebpf/discovery/tokio_runtime.py. For tracepoint programs only. */
#ifndef OTEL_EBPF_TOKIO_H
#define OTEL_EBPF_TOKIO_H

#include "trace.h"

#define TOKIO_IDENTITY (3ULL << 62) /* Python's and Java's have no such bits */

/* The task's identity, 0: none runs. */
INLINE u64 tokio_identity(struct member_fields_offset *o, struct proc_info_t *pi)
{
	u64 number = 0;

	if (!pi || !pi->tokio_task ||
	    READ_USER(number, thread_pointer(o), (s64)pi->tokio_task) || !number ||
	    number >> 32)
		return 0;
	return TOKIO_IDENTITY | number;
}

#endif
