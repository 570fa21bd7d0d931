/* Where a turn of an event loop begins: the probes of epoll_wait and epoll_pwait. */
#include "probe.h"

/* Of a process whose turns are told; else NULL. */
INLINE struct proc_info_t *turns_of(u32 tgid)
{
	struct proc_info_t *pi = proc_info_map.lookup(&tgid);

	return pi && pi->turns && tracing(tgid) ? pi : 0;
}

int enter_epoll(struct sys_enter_args *c)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 tgid = id >> 32;

	struct proc_info_t *pi = turns_of(tgid);
	if (!pi) {
		if (pool_map.lookup(&tgid))
			pool_waits_for_many(id);
		return 0;
	}
	struct turn_t *t = turn_map.lookup(&id), fresh = {};
	s32 timeout = (s32)c->args[3];
	u64 now = bpf_ktime_get_ns();

	if (!t) {
		turn_map.update(&id, &fresh);
		t = turn_map.lookup(&id);
		if (!t)
			return 0;
	}
	t->batched = pi->turns == TURNS_BATCHED;
	t->proxy = pi->turns == TURNS_PROXY;
	turn_place(t, pi, c->args[1]);
	if (timeout) { /* nothing is left to do */
		t->first = 0;
		t->others = 0;
	}
	/* Loops count in whole milliseconds, from the time that they knew: not before the last
	 * wait was over. Without a wait (libuv looks once before it waits) it is not known when
	 * the next timer is due: then, or a millisecond after they could last have set one. */
	u64 since = t->since ? t->since : now;
	since -= since % MS_NS;
	if (timeout) {
		t->due = timeout < 0 ? 0 : since + timeout * MS_NS;
		t->zero = 0;
	} else if (!t->zero) {
		if (!t->due || since + MS_NS < t->due)
			t->due = since + MS_NS;
		t->zero = 1;
	}
	t->last = 0;
	return 0;
}

int exit_epoll(struct sys_exit_args *c)
{
	u64 id = bpf_get_current_pid_tgid();
	struct turn_t *t = turn_map.lookup(&id);

	if (t) {
		u32 tgid = id >> 32;
		t->outside = node_context(offsets(), proc_info_map.lookup(&tgid));
		if (c->ret > 0 || !t->zero)
			t->since = bpf_ktime_get_ns();
		t->last = 0;
	}
	return 0;
}
