/* Java: which virtual thread runs.
 *
 * A virtual thread is a continuation that a thread of the system carries for a while. What the
 * JVM keeps of that thread names the Java thread that runs now by a number, which is never used
 * again. The offsets come from otel_ebpf/discovery/java_runtime.py.
 *
 * For tracepoint programs only. */
#ifndef OTEL_EBPF_JAVA_H
#define OTEL_EBPF_JAVA_H

#include "trace.h"

#define JAVA_IDENTITY (1ULL << 63) /* Python's have no such bit */

/* The virtual thread's identity, 0: none runs, or it is not known. */
INLINE u64 java_identity(struct member_fields_offset *o, struct proc_info_t *pi)
{
	u64 thread = 0, continuation = 0, number = 0;

	if (!pi || !pi->java_number ||
	    READ_USER(thread, thread_pointer(o), (s64)pi->java_thread) || !thread ||
	    READ_USER(continuation, thread, (s64)pi->java_continuation) || !continuation ||
	    READ_USER(number, thread, (s64)pi->java_number) || !number)
		return 0;
	return JAVA_IDENTITY | number;
}

#endif
