/* CPython's memory: the task that runs, and those that wait for a task. Nothing is believed that is
 * not of the type it should be. */
#ifndef OTEL_EBPF_PYTHON_TASKS_H
#define OTEL_EBPF_PYTHON_TASKS_H

#include "task.h"

#define PY_TYPE 8      /* ob_type */
#define PY_SIZE 16     /* ob_size */
#define PY_LIST_ITEMS 24
#define PY_CELL 16     /* what a cell holds */
#define PY_DICT_KEYS 32
#define PY_ENTRY 24    /* hash, key, value */
#define PY_CALLBACK 24 /* a future's first callback; its context is behind it */
#define PY_SELF 24     /* a bound method's object */
#define PY_ENTERED 40  /* of a context: it runs by Context.run */
#define PY_TYPE_FLAGS 168
#define PY_IS_INT (1ULL << 24)
#define PY_NAME 16     /* bytes of a task's name that count */
#define PY_LOOPS 4     /* event loops looked through for the running task */
#define PY_CELLS 8     /* variables of a callback looked through */
#define PY_PARENT_SLOT 4 /* asyncio.TaskGroup: its attributes in order of assignment */

INLINE bool py_context(struct python_info_t *py, u64 at)
{
	u64 type = 0;

	return at && !READ_USER(type, at, PY_TYPE) && type == py->context_type;
}

/* The task's own context, 0 when this is no task. */
INLINE u64 py_task_context(struct python_info_t *py, u64 task)
{
	u64 context = 0;

	if (task < 4096 || (task & 7) || READ_USER(context, task, py->task_context))
		return 0;
	return py_context(py, context) ? context : 0;
}

/* The task's context and, above its 48 bits, 15 of the task's number: addresses are used again,
 * numbers are not. The number is in its name, which is a string or, since 3.12, the number. */
INLINE u64 py_identity(struct python_info_t *py, u64 task, u64 context)
{
	u64 name = 0, type = 0, flags = 0, number = 0;
	char text[PY_NAME] = {};
	u32 digit = 0;

	if (READ_USER(name, task, py->task_context - 8) || !name)
		return context;
	READ_USER(type, name, PY_TYPE);
	READ_USER(flags, type, PY_TYPE_FLAGS);
	if (flags & PY_IS_INT) {
		READ_USER(digit, name, 24);
		number = digit;
	} else if (!READ_USER(text, name, 48)) {
		NO_UNROLL
		for (int i = 0; i < PY_NAME; i++) {
			if (!text[i])
				break;
			number = number * 31 + text[i];
		}
	}
	return context | (number & 0x7fff) << 48;
}

/* The running task, among those of all loops: the one that runs in this context. */
INLINE u64 py_running(struct python_info_t *py, u64 state, u64 context)
{
	u64 keys = 0, entries = 0, n = 0, size = 0;
	u8 log2 = 0;

	if (py->thread_task) {
		u64 task = 0;
		READ_USER(task, state, py->thread_task);
		return py_task_context(py, task) == context ? task : 0;
	}
	if (!py->tasks || READ_USER(keys, py->tasks, PY_DICT_KEYS))
		return 0;
	if (py->dict_keys_old) {
		READ_USER(size, keys, 8);
		READ_USER(n, keys, 32);
		if (size > 128)
			return 0;
		entries = keys + 40 + size;
	} else {
		READ_USER(log2, keys, 9);
		READ_USER(n, keys, 24);
		if (log2 > 16)
			return 0;
		entries = keys + 32 + (1ULL << log2);
	}
	NO_UNROLL
	for (int i = 0; i < PY_LOOPS; i++) {
		u64 task = 0, own = 0;

		if (i >= n)
			break;
		/* The latest entry is the last one. */
		READ_USER(task, entries, (n - 1 - i) * PY_ENTRY + 16);
		if (!task || READ_USER(own, task, py->task_context))
			continue;
		if (own == context)
			return task;
	}
	return 0;
}

/* The task that the callback `back` (function, context) wakes; *context is its own. */
INLINE u64 py_woken(struct python_info_t *py, u64 *back, u64 *context)
{
	u64 task = 0, own = 0;

	if (!back[0] || !py_context(py, back[1]) || READ_USER(task, back[0], py->wakeup_self))
		return 0;
	if (task < 4096 || (task & 7) || READ_USER(own, task, py->task_context) || own != back[1])
		return 0;
	*context = own;
	return task;
}

/* The task that is woken when this future is done, by its first callback or its second. */
INLINE u64 py_waiter(struct python_info_t *py, u64 future, u64 *context)
{
	u64 back[3] = {}, items = 0, pair = 0, task;

	if (future < 4096 || (future & 7) || READ_USER(back, future, PY_CALLBACK))
		return 0;
	task = py_woken(py, back, context);
	if (task || !back[2] || !py_context(py, back[1]))
		return task;
	/* A list of (function, context). */
	READ_USER(items, back[2], PY_LIST_ITEMS);
	if (!items || READ_USER(pair, items, 0) || !pair || READ_USER(back, pair, py->tuple_items))
		return 0;
	return py_woken(py, back, context);
}

/* The task that entered the asyncio.TaskGroup of which this callback is a bound method. */
INLINE u64 py_group(struct python_info_t *py, u64 callback, u64 *context)
{
	u64 group = 0, values, task = 0, own;

	if (!py->group_values || READ_USER(group, callback, PY_SELF) || group < 4096 || (group & 7))
		return 0;
	values = group + py->group_values;
	if (py->group_values < 0) { /* a pointer in front of the object, tagged in 3.12 */
		u64 at = values;
		values = 0;
		READ_USER(values, at, 0);
		values += values & 1;
	}
	if (!values || READ_USER(task, values, PY_PARENT_SLOT * 8))
		return 0;
	own = py_task_context(py, task);
	if (!own)
		return 0;
	*context = own;
	return task;
}

/* The task that awaits what this callback will set: by a variable of the function (gather, wait,
 * shield), an argument of a partial (wait_for), or in a group of tasks. */
INLINE u64 py_by_callback(struct python_info_t *py, u64 callback, u64 *context)
{
	u64 parent = 0, tuple = 0, count = 0, item = 0;

	if (!READ_USER(tuple, callback, py->function_closure) && tuple > 4096 && !(tuple & 7) &&
	    !READ_USER(count, tuple, PY_SIZE) && count && count < 64) {
		NO_UNROLL
		for (int i = 0; i < PY_CELLS; i++) {
			u64 cell = 0;
			if (i >= count)
				break;
			item = 0;
			READ_USER(cell, tuple, py->tuple_items + i * 8);
			READ_USER(item, cell, PY_CELL);
			parent = py_waiter(py, item, context);
			if (parent)
				return parent;
		}
	}
	if (!READ_USER(tuple, callback, py->partial_args) && tuple > 4096 && !(tuple & 7) &&
	    !READ_USER(item, tuple, py->tuple_items)) {
		parent = py_waiter(py, item, context);
		if (parent)
			return parent;
	}
	return py_group(py, callback, context);
}

/* The task that awaits this one: directly, or by its first callback. Since 3.14 asyncio keeps it
 * in all these cases. */
INLINE u64 py_parent(struct python_info_t *py, u64 task, u64 *context)
{
	u64 parent = 0, callback = 0, item = 0;

	if (py->future_awaited_by && !READ_USER(item, task, py->future_awaited_by)) {
		*context = py_task_context(py, item);
		if (*context)
			return item;
	}
	parent = py_waiter(py, task, context);
	if (parent || READ_USER(callback, task, PY_CALLBACK) || !callback)
		return parent;
	return py_by_callback(py, callback, context);
}

#endif
