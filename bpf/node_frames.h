/* Frames of Node's AsyncLocalStorage: which one runs, and which it is wherever it has moved to.
 *
 * V8 keeps the frame that runs now in its isolate (otel_ebpf/discovery/node_runtime.py). Frames are
 * objects, and move when memory is collected: a request that sleeps or waits meanwhile would not be
 * known again by its frame's address. So where frames are used, a probe at the end of each
 * collection (node_frames.c) goes after those that were seen, and records have their numbers
 * instead of addresses. The numbers of a process's threads differ. */
#ifndef OTEL_EBPF_NODE_FRAMES_H
#define OTEL_EBPF_NODE_FRAMES_H

#include "task.h"

#define V8_TAG 1 /* of pointers to objects */

/* The async context that Node runs in, 0: not known. */
INLINE u64 node_context(struct member_fields_offset *o, struct proc_info_t *pi)
{
	u64 isolate = 0, context = 0;

	if (!o || !pi || !pi->node_data ||
	    READ_USER(isolate, thread_pointer(o), (s64)pi->node_isolate) || !isolate)
		return 0;
	READ_USER(context, isolate, (u64)pi->node_data);
	return context;
}

/* The number of the frame at this address, in which the thread runs now; the address where none
 * can be given. */
INLINE u64 node_frame(struct proc_info_t *pi, u64 address)
{
	u64 id = bpf_get_current_pid_tgid();
	struct node_place_t place = {.address = address, .id = id};
	int zero = 0;

	if (!pi || !pi->node_follows || !(address & V8_TAG))
		return address;
	struct node_heap_t *heap = node_heap_map.lookup(&id);
	if (!heap) {
		struct node_heap_t *empty = node_empty.lookup(&zero);
		if (!empty || node_heap_map.update(&id, empty))
			return address;
		heap = node_heap_map.lookup(&id);
		if (!heap)
			return address;
	}
	u64 *known = node_place_map.lookup(&place);
	u64 number = known ? *known : 0;
	struct node_frame_t *frame = &heap->frames[within(number, NODE_FRAMES)];
	if (!known || frame->address != address) {
		number = heap->seen++;
		frame = &heap->frames[within(number, NODE_FRAMES)];
		frame->address = READ_USER(frame->shape, address, -V8_TAG) ? 0 : address;
		node_place_map.update(&place, &number);
	}
	return NODE_FRAME_NUMBER | (id & 0x3fffffff) << 32 | (u32)number;
}

#endif
