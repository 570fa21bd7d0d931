/* CPython: the futures that a thread holds while it waits.
 *
 * Whoever asked for a pool's job holds its future in its frames, while it waits for this or another
 * result. An object that two hold at one moment is one and the same, so no address that is used
 * again can mislead. Only what is certainly there is looked at: a frame's variables, and as much of
 * its stack as it tells. */
#ifndef OTEL_EBPF_PYTHON_HOLDS_H
#define OTEL_EBPF_PYTHON_HOLDS_H

#include "python_jobs.h"
#include "trace.h"

#define PY_WAIT_FRAMES 7   /* of who waits, the innermost first */
#define PY_WAIT_STEPS 40   /* variables and items of these that one program looks at */
#define PY_WAIT_ROUNDS 4   /* and programs that follow each other on them */
#define PY_WAIT_SLOTS 32   /* of one frame */
#define PY_WAIT_ITEMS 32   /* of one collection */
#define PY_ITERATED 24     /* what a list's iterator goes through */
#define PY_SET_MASK 32
#define PY_SET_TABLE 40
#define PY_SET_ENTRY 16

/* The thread that waits holds this future. */
INLINE void py_holds(struct py_walk_t *w, u64 future)
{
	struct python_copy_key key = {.context = future, .tgid = w->owner.id >> 32};
	struct py_owner_t *before = py_owners.lookup(&key);

	if (future == w->owner.future)
		return;
	w->owner.mixed = 0;
	if (before && before->id != w->owner.id) {
		u64 other = before->id;
		struct pool_thread_t *t = pool_threads.lookup(&other);
		if (t && t->waits && t->since == before->since)
			w->owner.mixed = 1; /* two wait for it: either may have asked for it */
	}
	py_owners.update(&key, &w->owner);
}

/* The next frame of who waits. */
INLINE bool py_next_frame(struct python_info_t *py, struct py_walk_t *w)
{
	u64 at = w->frame, code = 0, previous = 0, top = 0, n;
	s32 count = -1;

	if (!at || !w->frames_left)
		return false;
	w->frames_left--;
	if (py->frame_counts) {
		READ_USER(count, at, py->frame_top);
	} else {
		READ_USER(top, at, py->frame_top);
		if (top > at)
			count = (top - at - py->frame_locals) >> 3;
	}
	if (count < 0 && py->code_locals && !READ_USER(code, at, py->frame_code)) {
		code &= ~PY_TAGS;
		READ_USER(count, code, py->code_locals);
	}
	n = count < 0 ? 0 : count;
	w->slots_left = n > PY_WAIT_SLOTS ? PY_WAIT_SLOTS : n;
	w->slots = at + py->frame_locals;
	READ_USER(previous, at, py->frame_previous);
	w->frame = previous;
	return true;
}

/* The things in a collection are looked at next. */
INLINE void py_look_into(struct python_info_t *py, struct py_walk_t *w, u64 thing, u64 type)
{
	u64 n = 0, items = 0;

	w->stride = 8;
	if (type == py->cell_type) {
		w->items = thing + PY_CELL;
		w->items_left = 1;
		w->cell = 1;
		return;
	}
	if (type == py->list_iterator_type) {
		u64 iterator = thing;
		thing = 0;
		READ_USER(thing, iterator, PY_ITERATED);
		if (!thing || READ_USER(type, thing, PY_TYPE))
			return;
	}
	if (type == py->list_type) {
		READ_USER(n, thing, PY_LIST_SIZE);
		READ_USER(items, thing, PY_LIST_ITEMS);
	} else if (type == py->tuple_type) {
		READ_USER(n, thing, PY_LIST_SIZE);
		items = thing + py->tuple_items;
	} else if (type == py->set_type) {
		READ_USER(n, thing, PY_SET_MASK);
		n++;
		READ_USER(items, thing, PY_SET_TABLE);
		w->stride = PY_SET_ENTRY;
	}
	if (items) {
		w->items = items;
		w->items_left = n > PY_WAIT_ITEMS ? PY_WAIT_ITEMS : n;
	}
}

/* The thread serves one request at a time. It may wait for a connection by epoll, as gunicorn's
 * threads do, and be no loop. */
INLINE bool py_serves_one(struct pool_thread_t *t, u64 id)
{
	struct trace_info_t *carried = __trace_map.lookup(&id);

	return !t->loop || (carried && !carried->loop && carried->open <= 1);
}

/* Program 31: a thread that works for a request waits. Which futures does it hold? */
INLINE int run_py_wait(void *ctx)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 tgid = id >> 32;
	struct python_info_t *py = python_info_map.lookup(&tgid);
	struct pool_thread_t *t = pool_threads.lookup(&id);
	struct member_fields_offset *o = offsets();
	struct py_walk_t *w = py_walk();

	if (!w)
		return 0;
	u32 round = w->round;
	w->round = 0; /* whatever comes: the next thread that waits is looked at from its beginning */
	if (!py || !t || !o || !py->future_type)
		return 0;
	if (!round) {
		__builtin_memset(w, 0, sizeof(*w));
		w->owner.id = id;
		w->owner.since = t->since;
		if (t->serves)
			w->owner.segment = py_serves_one(t, id) ? t->segment : 0;
		else
			w->owner.future = py_own_job(o, py, id, false);
		if (!w->owner.segment && !w->owner.future)
			return 0;
		w->frame = py_frame(o, py);
		w->frames_left = PY_WAIT_FRAMES;
	}
	NO_UNROLL
	for (int i = 0; i < PY_WAIT_STEPS; i++) {
		u64 thing = 0, type = 0, at;
		u32 left = w->items_left;

		if (left) {
			at = w->items;
			w->items = at + w->stride;
			w->items_left = left - 1;
		} else if (w->slots_left) {
			at = w->slots;
			w->slots = at + 8;
			w->slots_left--;
			w->cell = 0;
		} else {
			if (!py_next_frame(py, w))
				return 0;
			continue;
		}
		if (READ_USER(thing, at, 0))
			continue;
		thing &= ~PY_TAGS;
		if (thing < 4096 || READ_USER(type, thing, PY_TYPE) || !type)
			continue;
		if (type == py->future_type)
			py_holds(w, thing);
		else if (!left || w->cell)
			py_look_into(py, w, thing, type);
		if (left && w->cell && type != py->cell_type)
			w->cell = 0;
	}
	if (round + 1 < PY_WAIT_ROUNDS) {
		w->round = round + 1;
		__progs_jmp_tp_map.call(ctx, PROG_PY_WAIT);
		w->round = 0;
	}
	return 0;
}

/* The segment of the thread that holds this future now, 0: none is known. */
INLINE u64 py_held_by(u32 tgid, u64 future)
{
	NO_UNROLL
	for (int i = 0; i < 3; i++) {
		struct python_copy_key key = {.context = future, .tgid = tgid};
		struct py_owner_t *owner = future ? py_owners.lookup(&key) : 0;
		if (!owner || owner->mixed)
			return 0;
		u64 id = owner->id;
		struct pool_thread_t *t = pool_threads.lookup(&id);
		if (!t || !t->waits || t->since != owner->since)
			return 0;
		if (owner->segment)
			return owner->segment == t->segment ? owner->segment : 0;
		future = owner->future;
	}
	return 0;
}

#endif
