/* The arguments of a system call at its exit, from the registers that the kernel has saved. */
#ifndef OTEL_EBPF_REGISTERS_H
#define OTEL_EBPF_REGISTERS_H

#include "probe.h"

/* x86-64: call numbers, and where struct pt_regs keeps their arguments; see task.h. */
#define NR_READ 0
#define NR_READV 19
#define NR_RECVFROM 45
#define NR_RECVMSG 47
#define NR_RECVMMSG 299
#define PT_R10 56

/* The registers with which the thread entered the kernel lie at the top of its kernel
 * stack: r10, r9, r8, ax, cx, dx, si, di, orig_ax. */
#define ENTRY_REGS 9
struct entry_regs {
	u64 r10, r9, r8, ax, cx, dx, si, di, orig_ax;
};

INLINE bool read_entry_regs(struct member_fields_offset *o, long nr, struct entry_regs *regs)
{
	u64 stack = kernel_stack(o);

	if (!stack)
		return false;
	stack += KERNEL_STACK - PT_REGS + PT_R10;
	read_kernel_words((u64 *)regs, ENTRY_REGS, stack);
	if (regs->orig_ax == (u32)nr) /* the upper half of nr is not set */
		return true;
	read_kernel_words((u64 *)regs, ENTRY_REGS, stack - 16); /* kernels with FRED leave two words above */
	return regs->orig_ax == (u32)nr;
}

#endif
