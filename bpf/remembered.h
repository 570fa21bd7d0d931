/* What a call was given at its entry, for its exit. */
#ifndef OTEL_EBPF_REMEMBERED_H
#define OTEL_EBPF_REMEMBERED_H

#include "probe.h"

INLINE int remember(u8 call, s32 fd, s32 other)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 tgid = id >> 32;
	struct data_args_t args = {};

	if (!tracing(tgid))
		return 0;
	args.fd = fd;
	args.other_fd = other;
	args.call = call;
	args.ts = bpf_ktime_get_ns();
	if (__active_read_args_map.update(&id, &args))
		count(STAT_ARGS_MAP_FULL);
	return 0;
}

INLINE bool recall(u8 call, struct data_args_t *args)
{
	u64 id = bpf_get_current_pid_tgid();
	struct data_args_t *known = __active_read_args_map.lookup(&id);

	if (!known)
		return false;
	*args = *known;
	__active_read_args_map.delete(&id);
	return args->call == call;
}

#endif
