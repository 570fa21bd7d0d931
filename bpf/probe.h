/* What the probe entries share. */
#ifndef OTEL_EBPF_PROBE_H
#define OTEL_EBPF_PROBE_H

#include "data.h"

#define EINTR 4
#define EAGAIN 11
#define EINPROGRESS 115

/* An errno that ends a connection's conversation, as opposed to "try again". */
INLINE bool fatal(long ret)
{
	return ret == -104 || ret == -32 || ret == -110 || ret == -111 || ret == -113 ||
	       ret == -101 || ret == -103;
}

struct sys_enter_args {
	u64 common;
	long nr;
	unsigned long args[6];
};

struct sys_exit_args {
	u64 common;
	long nr;
	long ret;
};

INLINE bool tracing(u32 tgid)
{
	struct trace_conf_t *conf = config();

	return conf && tgid != conf->self_tgid && process_chosen(conf, tgid);
}

/* The arguments that a thread's send has left in the map. */
INLINE void forget_send(u64 id)
{
	struct data_args_t *known = __active_write_args_map.lookup(&id);
	struct trace_conf_t *conf = config();
	int zero = 0;

	if (!known || !conf)
		return;
	bool counted = conf->registers && known->deferred && !known->iovcnt &&
		       known->call != CALL_SENDMMSG;
	__active_write_args_map.delete(&id);
	u64 *sends = deferred_sends.lookup(&zero);
	if (counted && sends && *sends)
		__sync_fetch_and_add(sends, -1);
}

INLINE struct op_t *op_start(u64 id, u8 direction, s32 fd, u8 call, u64 ts)
{
	struct op_t *op = operation();

	if (!op)
		return 0;
	__builtin_memset(op, 0, OP_CLEARED);
	op->rec.type = RECORD_DATA;
	op->rec.direction = direction;
	op->rec.tgid = id >> 32;
	op->rec.tid = (u32)id;
	op->rec.ts = ts;
	op->rec.end_ts = ts;
	op->rec.fd = fd;
	op->rec.syscall = call;
	return op;
}

#endif
