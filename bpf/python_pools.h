/* CPython: for whom a worker of a concurrent.futures pool works, by the future of its job: the
 * thread that waits and holds that too, or the task that waits for what asyncio has made of it
 * (run_in_executor, to_thread). Tracepoint programs only. */
#ifndef OTEL_EBPF_PYTHON_POOLS_H
#define OTEL_EBPF_PYTHON_POOLS_H

#include "pools.h"
#include "python_holds.h"

/* Program 30: a thread that carries nothing writes a request, or reads a response. */
INLINE int run_py_work(void *ctx)
{
	struct op_t *op = operation();
	struct member_fields_offset *o = offsets();

	if (!op || !o)
		return 0;
	struct __socket_data *r = &op->rec;
	u64 id = bpf_get_current_pid_tgid();
	u32 tgid = r->tgid;
	struct python_info_t *py = python_info_map.lookup(&tgid);
	u64 future = py ? py_own_job(o, py, id, true) : 0, segment;
	struct pool_thread_t *t = pool_threads.lookup(&id);
	op->job_looked = 1;
	if (future && t && (r->begins == BEGINS_REQUEST || t->told != r->uid)) {
		segment = py_held_by(tgid, future);
		if (segment && r->uid) {
			t->told = r->uid;
			tell_wake(ctx, id, r->uid, segment, POOL_HELD, bpf_ktime_get_ns());
			op->copied = 0; /* the payload was where this record is now */
		}
	}
	if (r->direction == EGRESS) {
		if (future)
			op->job_task = py_asked_by(py, future, &op->job_context);
		__progs_jmp_tp_map.call(ctx, PROG_PYTHON);
	}
	if (op->capture < r->length)
		__progs_jmp_tp_map.call(ctx, PROG_TAIL);
	__progs_jmp_tp_map.call(ctx, PROG_OUTPUT);
	return 0;
}

#endif
