/* CPython: in which context the running task runs, and the tasks that wait for it.
 *
 * Every asyncio task runs in a contextvars.Context of its own. The thread's state names the one
 * that runs now; the running task is in asyncio's table; who waits for a task is its first
 * callback. All of it is read from memory. See docs/correlation.md; the offsets come from
 * otel_ebpf/discovery/python_runtime.py.
 *
 * For tracepoint programs only, as part of their way through __progs_jmp_tp_map. */
#ifndef OTEL_EBPF_PYTHON_H
#define OTEL_EBPF_PYTHON_H

#include "java.h"
#include "python_tasks.h"
#include "tokio.h"
#include "trace.h"
#include "way_out.h"

/* What the context was copied from, and when; 0: not known, or that one has ended since and
 * another has its address. Without the probe nobody sees how an address is used again. */
INLINE u64 py_origin(u32 tgid, u64 context, u64 *when)
{
	struct python_copy_key key = {.context = context, .tgid = tgid};
	struct python_copy_t *copy = python_copies.lookup(&key), *before;
	u64 *since = python_copies_since.lookup(&tgid);

	if (!since || !copy || !copy->of || copy->ts < *since)
		return 0;
	*when = copy->ts;
	key.context = copy->of;
	before = python_copies.lookup(&key);
	if (before && before->ts > copy->ts)
		return 0;
	return copy->of;
}

/* When the first context was made. The place in a TLS stream that ref_ts may hold moves to fd. */
INLINE void py_tell_when(struct __socket_data *r, u64 when)
{
	if ((r->syscall & ~TLS_WHOLE) == CALL_TLS_WRITE)
		r->fd = r->ref_ts & TLS_PLACE ? (u32)(r->ref_ts >> TLS_PLACE_END_SHIFT) : 0;
	r->ref_ts = when;
}

/* Program 17: whose work a Python program's request or response is, or one of Java's virtual
 * threads. */
INLINE int run_python(void *ctx)
{
	struct op_t *op = operation();
	struct member_fields_offset *o = offsets();
	u64 state = 0, interpreter = 0, context = 0, task = 0;

	if (!op || !o)
		return 0;
	struct __socket_data *r = &op->rec;
	u32 tgid = r->tgid;
	if (op->python != IDENTITY_PYTHON) {
		struct proc_info_t *pi = proc_info_map.lookup(&tgid);
		r->caller_goid = op->python == IDENTITY_JAVA ? java_identity(o, pi)
							     : tokio_identity(o, pi);
		if (r->caller_goid)
			r->flags |= FLAG_TASK;
		goto out;
	}
	struct python_info_t *py = python_info_map.lookup(&tgid);
	if (!py || READ_USER(state, thread_pointer(o), (u64)py->tls) || !state)
		goto out;
	if (READ_USER(interpreter, state, py->thread_interpreter) ||
	    interpreter != py->interpreter)
		goto out;
	READ_USER(context, state, py->thread_context);
	bool known = py_context(py, context);
	if (known)
		task = py_running(py, state, context);
	if (!task && py->work_type && r->begins == BEGINS_REQUEST) {
		/* A thread of an executor, perhaps: then its job tells who asked for it. */
		if (!op->job_looked)
			__progs_jmp_tp_map.call(ctx, PROG_PY_WORK);
		if (op->job_task) {
			r->flags |= FLAG_TASK;
			r->caller_goid = known ? context : 0;
			r->caller_site = py_identity(py, op->job_task, op->job_context);
			u64 above = 0, waits = py_parent(py, op->job_task, &above);
			if (waits)
				r->context_uid = py_identity(py, waits, above);
			goto out;
		}
	}
	if (!known)
		goto out;
	/* A thread's first context is no copy, though it may have the address of an old one. */
	u32 entered = 0;
	READ_USER(entered, context, PY_ENTERED);
	if (task)
		r->flags |= FLAG_TASK;
	r->caller_goid = task ? py_identity(py, task, context) : context;
	if (r->begins == BEGINS_RESPONSE && entered)
		py_origin(tgid, context, &r->ref_ts);
	if (r->begins == BEGINS_REQUEST && entered) {
		NO_UNROLL
		for (int i = 0; i < 2; i++) {
			u64 above = 0, when = 0, named;
			if (task)
				task = py_parent(py, task, &above);
			if (above) {
				named = py_identity(py, task, above);
			} else {
				above = named = py_origin(tgid, context, &when);
				task = 0;
			}
			if (!above)
				break;
			context = above;
			if (i == 0) {
				r->caller_site = named;
				if (when)
					py_tell_when(r, when);
			} else {
				r->context_uid = named;
				r->caller_uid = when;
			}
		}
	}
out:
	op->python = 0;
	segment_ends(ctx, op);
	return 0;
}

#endif
