/* Uprobes of Go programs: once a connection, none a request. These programs may be
 * preempted, so they use the stack and hash maps, never the per-CPU scratch. */
#include "go_takeover.h"
#include "probe.h"

INLINE int note_receiver(struct pt_regs *regs, u32 kind)
{
	u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct proc_info_t *pi = proc_info_map.lookup(&tgid);
	struct go_conn_t value = {.receiver = regs->ax, .kind = kind};
	u64 g = regs->r14;
	struct go_key key = {.tgid = tgid};

	if (!pi || !pi->go || pi->g_goid < 0)
		return 0;
	/* Register ABI: the receiver in rax, the goroutine in r14. Else on the stack, and
	 * where the thread keeps it. */
	if (pi->stack_abi) {
		struct member_fields_offset *o = offsets();
		if (!o || pi->identity == GO_BY_UPROBE)
			return 0; /* found on the stack at its first message */
		READ_USER(value.receiver, (u64)regs->sp, 8);
		g = current_g(o, pi);
	}
	READ_USER(key.goid, g, pi->g_goid);
	if (!key.goid)
		return 0;
	if (kind == GO_CONN_H2_SERVER || kind == GO_CONN_X_SERVER) {
		struct go_conn_t *before = go_conn_map.lookup(&key);
		if (before && before->kind == GO_CONN_SERVER)
			go_take_over(pi, &key, before->receiver, &value);
	}
	if (kind == GO_CONN_GRPC_SERVER)
		go_grpc_begins(pi, &key, &value);
	go_conn_map.update(&key, &value);
	return 0;
}

int go_persist_conn_read_loop(struct pt_regs *regs)
{
	return note_receiver(regs, GO_CONN_CLIENT);
}

/* Once a request, where nothing else tells who asked: see go_round_trip.h. Its entry fires again
 * when the stack has to grow first, and says the same. */
int go_persist_conn_round_trip(struct pt_regs *regs)
{
	u64 id = bpf_get_current_pid_tgid(), g = regs->r14;
	u32 tgid = id >> 32;
	struct proc_info_t *pi = proc_info_map.lookup(&tgid);
	struct go_context_key key = {.context = regs->ax, .tgid = tgid};
	struct go_caller_t caller = {};

	if (!pi || !pi->round_trip || pi->g_goid < 0)
		return 0;
	if (pi->stack_abi) {
		u64 *running = go_running_map.lookup(&id);
		struct member_fields_offset *o = offsets();
		if (!o)
			return 0;
		READ_USER(key.context, (u64)regs->sp, 8);
		if (pi->identity != GO_BY_UPROBE)
			g = current_g(o, pi);
		else
			g = running ? *running : 0;
	}
	READ_USER(caller.goid, g, pi->g_goid);
	if (!caller.goid)
		return 0;
	caller.parent_goid = go_parent(pi, tgid, g, caller.goid);
	if (pi->g_startpc >= 0)
		READ_USER(caller.site, g, pi->g_startpc);
	go_round_trip_map.update(&key, &caller);
	return 0;
}

int go_conn_serve(struct pt_regs *regs)
{
	return note_receiver(regs, GO_CONN_SERVER);
}

int go_h2_serve(struct pt_regs *regs)
{
	return note_receiver(regs, GO_CONN_H2_SERVER);
}

int go_h2_read_loop(struct pt_regs *regs)
{
	return note_receiver(regs, GO_CONN_H2_CLIENT);
}

int go_x_serve(struct pt_regs *regs)
{
	return note_receiver(regs, GO_CONN_X_SERVER);
}

int go_x_read_loop(struct pt_regs *regs)
{
	return note_receiver(regs, GO_CONN_X_CLIENT);
}

int go_grpc_serve(struct pt_regs *regs)
{
	return note_receiver(regs, GO_CONN_GRPC_SERVER);
}

int go_grpc_read_loop(struct pt_regs *regs)
{
	return note_receiver(regs, GO_CONN_GRPC_CLIENT);
}
