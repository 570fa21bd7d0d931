/* Processes that user space is to look at again: they encrypt what they say, by nobody knows what. */
#ifndef OTEL_EBPF_ASKING_H
#define OTEL_EBPF_ASKING_H

#include "maps.h"

/* `why`: PROCESS_SPEAKS_TLS, _QUIC or PROCESS_HAS_KERNEL_TLS. Told once in a while, for a library may be
 * loaded at any time, and what is told may be lost. `ts`: now. */
INLINE void ask_about(void *ctx, u32 tgid, u32 why, u64 ts)
{
	u32 key = why == PROCESS_SPEAKS_TLS ? tgid : tgid | why;
	u32 now = SSL_ASKED + (u32)(ts >> SSL_ASK_SHIFT);
	u32 *known = ssl_process_map.lookup(&key);

	if (known && (*known == SSL_CALLED || now - *known < SSL_ASK_AGAIN))
		return;
	if (ssl_process_map.update(&key, &now))
		return;
	tgid |= why;
	process_events.perf_submit(ctx, &tgid, sizeof(tgid));
}

#endif
