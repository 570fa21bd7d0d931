/* CPython: which context was copied from which, told by PyContext_CopyCurrent itself. A task or a
 * thread's job runs in a copy, and where nobody waits for it its origin shows nowhere else. This
 * takes a hit for each copy, so the probe is put only on processes that are seen to need it.
 *
 * May be preempted: the stack and hash maps only. */
#include "probe.h"

/* At its return: the copy is its result, what it was copied from is still current. */
int python_copied(struct pt_regs *regs)
{
	u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct python_info_t *py = python_info_map.lookup(&tgid);
	struct member_fields_offset *o = offsets();
	u64 copy = *(volatile unsigned long *)&regs->ax, state = 0, interpreter = 0;
	struct python_copy_t value = {};

	if (!py || !o || !copy || READ_USER(state, thread_pointer(o), (u64)py->tls) || !state)
		return 0;
	if (READ_USER(interpreter, state, py->thread_interpreter) ||
	    interpreter != py->interpreter)
		return 0;
	READ_USER(value.of, state, py->thread_context);
	value.ts = bpf_ktime_get_ns();
	struct python_copy_key key = {.context = copy, .tgid = tgid};
	python_copies.update(&key, &value);
	return 0;
}
