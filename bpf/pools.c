/* Who wakes whom: the probes of futex. */
#include "probe.h"

#define FUTEX_COMMAND 127 /* without flags */
#define FUTEX_WAIT 0
#define FUTEX_WAKE 1
#define FUTEX_WAIT_BITSET 9
#define FUTEX_WAKE_BITSET 10
#define LOCK_CONTENDED 2 /* value of a lock (glibc, Rust) that others wait for */

int enter_futex(struct sys_enter_args *c)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 tgid = id >> 32;
	struct pool_info_t *pool = pool_map.lookup(&tgid);

	if (!pool)
		return 0;
	u64 address = c->args[0];
	u32 command = c->args[1] & FUTEX_COMMAND;
	if (address >= pool->ignore_from && address < pool->ignore_to)
		return 0;
	if (command == FUTEX_WAKE || command == FUTEX_WAKE_BITSET) {
		pool_wakes_at(id, address);
	} else if (command == FUTEX_WAIT || command == FUTEX_WAIT_BITSET) {
		/* Who waits for a lock is let go by somebody who has nothing to do with it. */
		if ((u32)c->args[2] == LOCK_CONTENDED)
			return 0;
		struct pool_thread_t *t = pool_thread(id);
		if (t) {
			t->waits = address;
			t->since = bpf_ktime_get_ns();
			if (pool->ignore_to) /* CPython */
				__progs_jmp_tp_map.call(c, PROG_PY_WAIT);
		}
	}
	return 0;
}

int exit_futex(struct sys_exit_args *c)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 tgid = id >> 32;

	if (!pool_map.lookup(&tgid))
		return 0;
	struct pool_thread_t *t = pool_threads.lookup(&id);
	if (!t || !t->waits)
		return 0;
	u64 address = t->waits;
	t->waits = 0;
	if (c->ret >= 0) /* else it was not woken */
		pool_woken_at(c, t, id, address, t->since);
	return 0;
}
