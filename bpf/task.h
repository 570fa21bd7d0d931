/* Memory of the kernel and of programs, and the running task's members. Where the kernel takes
 * typed pointers (5.11) those are read like memory of one's own, and where it makes them of any
 * address (6.2) all else is too; the loader tries that, and gives offsets, types and calls as
 * definitions. Elsewhere each read takes a call, with the offsets of __members_offset. */
#ifndef OTEL_EBPF_TASK_H
#define OTEL_EBPF_TASK_H

#include "maps.h"

/* Addresses travel as numbers: BCC follows pointers to rewrite their uses, and takes
 * seconds to follow these. */
INLINE long read_kernel(void *to, u32 size, u64 from)
{
	return bpf_probe_read_kernel(to, size, (void *)from);
}

INLINE long read_user(void *to, u32 size, u64 from)
{
	return bpf_probe_read_user(to, size, (void *)from);
}

/* A number of bytes that is known only as the program runs, at most `most`. */
INLINE long read_user_most(void *to, u64 size, u32 most, u64 from)
{
	FORGET_BOUNDS(size);
	return size > most ? -1 : bpf_probe_read_user(to, size, (void *)from);
}

#ifdef KERNEL_WORDS

/* bpf_rdonly_cast. The type is struct pt_regs: it begins with sixteen plain words, so that a part of a
 * word may be read at any place. What cannot be read is 0. */
static u64 (*kernel_words)(u64 at, u64 type) = (void *)KERNEL_WORDS;

#define KERNEL_AT(type, at) (*(volatile type *)kernel_words(at, KERNEL_WORDS_TYPE))

INLINE void read_kernel_now(void *to, u32 size, u64 from)
{
	if (size == 8)
		*(u64 *)to = KERNEL_AT(u64, from);
	else if (size == 4)
		*(u32 *)to = KERNEL_AT(u32, from);
	else if (size == 2)
		*(u16 *)to = KERNEL_AT(u16, from);
	else
		read_kernel(to, size, from);
}

/* `n` words that follow each other; 16 at most. */
INLINE void read_kernel_words(u64 *to, u32 n, u64 from)
{
	for (u32 i = 0; i < n; i++)
		to[i] = KERNEL_AT(u64, from + 8 * i);
}

#else

INLINE void read_kernel_now(void *to, u32 size, u64 from)
{
	read_kernel(to, size, from);
}

INLINE void read_kernel_words(u64 *to, u32 n, u64 from)
{
	read_kernel(to, 8 * n, from);
}

#endif

#define READ_KERNEL(dst, base, offset) read_kernel_now(&(dst), sizeof(dst), (base) + (offset))
/* x86-64: struct pt_regs of a system call ends its thread's kernel stack. */
#define KERNEL_STACK 16384
#define PT_REGS 168
#define PT_BP 32
#define PT_SP 152

#define READ_USER(dst, base, offset) read_user(&(dst), sizeof(dst), (base) + (offset))

#ifdef DIRECT_TASK_FILES

static u64 (*current_task_typed)(void) = (void *)158; /* bpf_get_current_task_btf */

#define DIRECT(type, base, offset) (*(volatile type *)((base) + (offset)))

/* Array of the process's open files, and its length; 0 when there is none. */
INLINE u64 open_files(struct member_fields_offset *o, u32 *room)
{
	u64 task = current_task_typed();
	u64 files = DIRECT(u64, task, DIRECT_TASK_FILES), fdt;

	if (!files)
		return 0;
	fdt = DIRECT(u64, files, DIRECT_FILES_FDT);
	if (!fdt)
		return 0;
	*room = DIRECT(u32, fdt, DIRECT_FDTABLE_MAX_FDS);
	return DIRECT(u64, fdt, DIRECT_FDTABLE_FD);
}

INLINE u64 thread_pointer(struct member_fields_offset *o)
{
	return DIRECT(u64, current_task_typed(), DIRECT_TASK_FSBASE);
}

INLINE u64 kernel_stack(struct member_fields_offset *o)
{
	return DIRECT(u64, current_task_typed(), DIRECT_TASK_STACK);
}

#else

INLINE u64 open_files(struct member_fields_offset *o, u32 *room)
{
	u64 task = bpf_get_current_task(), files = 0, fdt = 0;
	u64 table[2] = {}; /* struct fdtable: max_fds, then fd; the loader checks that */

	READ_KERNEL(files, task, o->task_files);
	if (!files)
		return 0;
	READ_KERNEL(fdt, files, o->files_fdt);
	READ_KERNEL(table, fdt, o->fdtable_max_fds);
	*room = table[0];
	return table[1];
}

INLINE u64 thread_pointer(struct member_fields_offset *o)
{
	u64 task = bpf_get_current_task(), base = 0;

	READ_KERNEL(base, task, o->task_fsbase);
	return base;
}

INLINE u64 kernel_stack(struct member_fields_offset *o)
{
	u64 task = bpf_get_current_task(), stack = 0;

	if (o->task_stack >= 0)
		READ_KERNEL(stack, task, o->task_stack);
	return stack;
}

#endif
#endif
