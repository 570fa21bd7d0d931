/* The end of a collection of V8's garbage, on the thread whose memory that was: the frames that were
 * seen (node_frames.h) are looked for where they have been moved to.
 *
 * An object that was moved has left its new address in place of its first word; nothing has been
 * put there since, as the thread has not gone on yet. One that was not moved is alive where it is,
 * unless that was among what was to be cleared.
 *
 * May be preempted: the stack and hash maps only. */
#include "probe.h"

/* Tail calls follow each other 33 times at the most. */
#define FOLLOWED_AT_ONCE 64
#define V8_PAGE (256 << 10)
#define V8_FROM_PAGE 8 /* of a page's flags, its first word: what was alive in it has left */

/* Whether `word` is what objects of the frame's kind begin with; that is an object, too, and moves. */
INLINE bool node_is_frame(struct node_frame_t *frame, u64 word)
{
	u64 moved = 0;

	if (word == frame->shape)
		return true;
	if (READ_USER(moved, frame->shape, -V8_TAG) || moved & V8_TAG || moved + V8_TAG != word)
		return false;
	frame->shape = word;
	return true;
}

INLINE void node_follow(struct node_frame_t *frame, u64 number, u64 id)
{
	u64 address = frame->address, word = 0, flags = 0, shape = 0;

	if (!address)
		return;
	frame->address = 0;
	if (READ_USER(word, address, -V8_TAG))
		return;
	if (word & V8_TAG) {
		if (node_is_frame(frame, word) &&
		    !READ_USER(flags, address & ~(u64)(V8_PAGE - 1), 0) && !(flags & V8_FROM_PAGE))
			frame->address = address;
		return;
	}
	if (READ_USER(shape, word, 0) || !node_is_frame(frame, shape))
		return;
	struct node_place_t place = {.address = word + V8_TAG, .id = id};
	if (!node_place_map.update(&place, &number))
		frame->address = place.address;
}

/* KP_FRAMES: the next ones. One program for all would take the verifier a second. */
int kp_frames(struct pt_regs *regs)
{
	u64 id = bpf_get_current_pid_tgid();
	struct node_heap_t *heap = node_heap_map.lookup(&id);

	if (!heap)
		return 0;
	u32 first = heap->at;
	NO_UNROLL
	for (u32 i = 0; i < FOLLOWED_AT_ONCE; i++) {
		u32 at = first + i;
		if (at >= NODE_FRAMES || at >= heap->seen)
			return 0;
		/* Of the numbers that have this place, the latest. */
		u64 number = heap->seen - 1 - ((heap->seen - 1 - at) & (NODE_FRAMES - 1));
		node_follow(&heap->frames[within(at, NODE_FRAMES)], number, id);
	}
	heap->at = first + FOLLOWED_AT_ONCE;
	__progs_jmp_kp_map.call(regs, KP_FRAMES);
	return 0;
}

int node_collected(struct pt_regs *regs)
{
	u64 id = bpf_get_current_pid_tgid();
	struct node_heap_t *heap = node_heap_map.lookup(&id);

	if (heap && heap->seen) {
		heap->at = 0;
		__progs_jmp_kp_map.call(regs, KP_FRAMES);
	}
	return 0;
}
