/* CPython: the job that a worker of a concurrent.futures pool is at, and the future of its result.
 *
 * It is an object in the frame of _WorkItem.run. A thread's frames do not change while it is in a
 * system call. */
#ifndef OTEL_EBPF_PYTHON_JOBS_H
#define OTEL_EBPF_PYTHON_JOBS_H

#include "python_tasks.h"

#define PY_WORK_FRAMES 128 /* frames looked through for the job */
#define PY_WORK_TRIES 4    /* looks at a thread that has never had a job */
#define PY_LIST_SIZE 16
#define PY_DICT_VALUES 40
#define PY_INSTANCE_DICT 16
#define PY_TAGS 7ULL       /* of references on a stack, since 3.14 */

INLINE struct py_walk_t *py_walk(void)
{
	int zero = 0;

	return py_walk_buf.lookup(&zero);
}

/* The thread's innermost frame, 0: none. */
INLINE u64 py_frame(struct member_fields_offset *o, struct python_info_t *py)
{
	u64 state = 0, interpreter = 0, frame = 0;

	if (READ_USER(state, thread_pointer(o), (u64)py->tls) || !state ||
	    READ_USER(interpreter, state, py->thread_interpreter) ||
	    interpreter != py->interpreter)
		return 0;
	READ_USER(frame, state, py->frame_of_thread);
	if (frame && py->frame_within >= 0) {
		u64 inner = frame;
		frame = 0;
		READ_USER(frame, inner, py->frame_within);
	}
	return frame;
}

/* An attribute of an instance of a plain class, by its place. */
INLINE u64 py_attribute(struct python_info_t *py, u64 thing, u32 place)
{
	u64 values, value = 0, at;

	if (py->object_values > 0) {
		values = thing + py->object_values;
	} else {
		at = py->object_values ? thing + py->object_values : thing + PY_INSTANCE_DICT;
		values = 0;
		READ_USER(values, at, 0);
		if (!py->object_values && values) {
			at = values;
			values = 0;
			READ_USER(values, at, PY_DICT_VALUES);
		}
		values += values & 1;
	}
	if (values)
		READ_USER(value, values, place);
	return value;
}

INLINE bool py_is(u64 thing, u64 type)
{
	u64 found = 0;

	return thing >= 4096 && !(thing & 7) && !READ_USER(found, thing, PY_TYPE) && found == type;
}

/* The job that is the first variable of this frame, as in one of _WorkItem.run, 0: it is none. */
INLINE u64 py_work_at(struct python_info_t *py, u64 frame)
{
	u64 self = 0;

	if (READ_USER(self, frame, py->frame_locals))
		return 0;
	self &= ~PY_TAGS;
	return py_is(self, py->work_type) ? self : 0;
}

/* The future of that job, 0: there is none. */
INLINE u64 py_job(struct python_info_t *py, u64 frame)
{
	u64 work = frame ? py_work_at(py, frame) : 0, future;

	if (!work)
		return 0;
	future = py_attribute(py, work, py->work_future);
	return py_is(future, py->future_type) ? future : 0;
}

/* The future of the job that the running thread is at, 0: none. `runs`: if it is a worker, then
 * in a job; it does not wait for the next one. */
INLINE u64 py_own_job(struct member_fields_offset *o, struct python_info_t *py, u64 id, bool runs)
{
	struct py_worker_t *known = py_workers.lookup(&id), fresh = {};
	struct py_walk_t *w = py_walk();
	u64 future;

	if (!w || !py->work_type)
		return 0;
	if (known && known->frame && runs) {
		future = py_job(py, known->frame);
		if (future)
			return future;
	} else if (known && known->tries >= PY_WORK_TRIES && runs) {
		return 0;
	}
	/* The outermost one; its place stays the same from job to job. */
	w->frame = py_frame(o, py);
	w->found = 0;
	w->future = 0;
	NO_UNROLL
	for (int i = 0; i < PY_WORK_FRAMES; i++) {
		u64 at = w->frame, previous = 0;
		if (!at)
			break;
		w->job = py_work_at(py, at);
		WAYS_MEET();
		if (w->job)
			w->found = at;
		READ_USER(previous, at, py->frame_previous);
		w->frame = previous;
	}
	w->future = py_job(py, w->found);
	if (!w->future)
		w->found = 0;
	if (!runs)
		return w->future;
	if (w->found)
		fresh.frame = py->code_locals ? w->found : 0; /* before 3.11 frames move */
	else
		fresh.tries = known ? known->tries + 1 : 1;
	py_workers.update(&id, &fresh);
	return w->future;
}

/* The task that is woken when the job of this future is done: asyncio has a future of its own for
 * it, which that one's first callback will set. */
INLINE u64 py_asked_by(struct python_info_t *py, u64 future, u64 *context)
{
	u64 list = py_attribute(py, future, py->future_callbacks), size = 0, items = 0;
	u64 callback = 0, tuple = 0, count = 0, task;

	if (!py_is(list, py->list_type) || READ_USER(size, list, PY_LIST_SIZE) || size != 1 ||
	    READ_USER(items, list, PY_LIST_ITEMS) || READ_USER(callback, items, 0))
		return 0;
	if (READ_USER(tuple, callback, py->function_closure) || !py_is(tuple, py->tuple_type) ||
	    READ_USER(count, tuple, PY_SIZE) || count > PY_CELLS)
		return 0;
	NO_UNROLL
	for (int i = 0; i < PY_CELLS; i++) {
		u64 cell = 0, item = 0;
		if (i >= count)
			break;
		READ_USER(cell, tuple, py->tuple_items + i * 8);
		if (!py_is(cell, py->cell_type))
			continue;
		READ_USER(item, cell, PY_CELL);
		if (!py_is(item, py->aio_future_type))
			continue;
		task = py_parent(py, item, context);
		if (task)
			return task;
		/* Its first callback is asyncio's own: who waits may be behind the next one. */
		list = 0;
		items = 0;
		callback = 0;
		READ_USER(list, item, PY_CALLBACK + 16);
		if (!py_is(list, py->list_type) || READ_USER(items, list, PY_LIST_ITEMS) ||
		    READ_USER(tuple, items, 0) || !py_is(tuple, py->tuple_type) ||
		    READ_USER(callback, tuple, py->tuple_items) || !callback)
			return 0;
		return py_by_callback(py, callback, context);
	}
	return 0;
}

#endif
