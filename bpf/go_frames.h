/* The frames of the goroutine that makes a system call: Go keeps the innermost one's address in
 * rbp, and the address of each frame's caller in the frame. */
#ifndef OTEL_EBPF_GO_FRAMES_H
#define OTEL_EBPF_GO_FRAMES_H

#include "task.h"

/* The innermost frame. False: the registers make no sense, or it is another goroutine, whose
 * stack is from lo to hi, that is taken for the running one. */
INLINE bool go_first_frame(struct member_fields_offset *o, u64 lo, u64 hi, u64 *frame)
{
	u64 stack = kernel_stack(o), sp = 0;

	if (!stack)
		return false;
	stack += KERNEL_STACK - PT_REGS;
	NO_UNROLL
	for (int i = 0; i < 2; i++) {
		READ_KERNEL(*frame, stack, PT_BP);
		READ_KERNEL(sp, stack, PT_SP);
		if (lo <= sp && sp <= *frame && *frame < hi)
			return true;
		stack -= 16; /* kernels with FRED leave two words above */
	}
	return false;
}

#endif
