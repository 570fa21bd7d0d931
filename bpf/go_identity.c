/* Which goroutine a thread runs, and who bore it, told by the scheduler itself: the way for
 * programs where memory does not tell (the place of g is not known; before Go 1.21, who bore
 * whom). Uprobes on runtime.casgstatus and runtime.newproc1 cost a hit for each time a goroutine
 * is scheduled or born, so they are attached only where they are needed or asked for.
 *
 * These programs may be preempted: the stack and hash maps only. */
#include "probe.h"

#define GO_RUNNING 2

/* func casgstatus(gp *g, oldval, newval uint32) */
int go_casgstatus(struct pt_regs *regs)
{
	u64 id = bpf_get_current_pid_tgid(), g, goid = 0, sp = REGISTER(regs, sp);
	u32 tgid = id >> 32, status = REGISTER(regs, cx);
	struct proc_info_t *pi = proc_info_map.lookup(&tgid);

	if (!pi || pi->identity == GO_BY_TLS || pi->g_goid < 0)
		return 0;
	if (pi->stack_abi)
		READ_USER(status, sp, 20); /* two of four bytes share a word */
	if (status != GO_RUNNING)
		return 0;
	g = go_argument(regs, pi, 1);
	READ_USER(goid, g, pi->g_goid);
	if (!goid)
		return 0;
	if (goroutines_map.update(&id, &goid) || go_running_map.update(&id, &g))
		count(STAT_GO_THREADS_FULL);
	return 0;
}

/* func newproc1(fn, [argp, narg,] callergp *g, callerpc, ...) *g: on its way in */
int go_newproc1(struct pt_regs *regs)
{
	u64 id = bpf_get_current_pid_tgid(), g;
	u32 tgid = id >> 32;
	struct proc_info_t *pi = proc_info_map.lookup(&tgid);
	struct go_newproc_caller caller = {.sp = regs->sp};

	if (!pi || !pi->newproc || pi->g_goid < 0)
		return 0;
	g = go_argument(regs, pi, pi->newproc_caller);
	READ_USER(caller.goid, g, pi->g_goid);
	if (caller.goid && pid_tgid_callerid_map.update(&id, &caller))
		count(STAT_GO_THREADS_FULL);
	return 0;
}

/* On each of its RETs: the new goroutine is there, but does not run yet. */
int go_newproc1_return(struct pt_regs *regs)
{
	u64 id = bpf_get_current_pid_tgid(), g = regs->ax, parent;
	u32 tgid = id >> 32;
	struct proc_info_t *pi = proc_info_map.lookup(&tgid);
	struct go_newproc_caller *caller = pid_tgid_callerid_map.lookup(&id);
	struct go_key key = {.tgid = tgid};
	struct go_newborn_t born = {.ts = bpf_ktime_get_ns()};

	if (!caller)
		return 0;
	parent = caller->goid;
	if (pi && pi->stack_abi) /* behind five words of arguments */
		READ_USER(g, caller->sp, 48);
	pid_tgid_callerid_map.delete(&id);
	if (!pi)
		return 0;
	READ_USER(key.goid, g, pi->g_goid);
	if (!key.goid)
		return 0;
	if (pi->g_startpc >= 0)
		READ_USER(born.site, g, pi->g_startpc);
	go_newborn_map.update(&key, &born);
	go_ancerstor_map.update(&key, &parent);
	count(STAT_GO_BIRTHS);
	return 0;
}
