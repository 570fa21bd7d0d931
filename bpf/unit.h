/* Who is running: the goroutine of a Go program, else the thread. */
#ifndef OTEL_EBPF_UNIT_H
#define OTEL_EBPF_UNIT_H

#include "infer.h"
#include "socket.h"

#define UNIT_GOROUTINE 0x80000000ULL

INLINE u64 goroutine_unit(u32 tgid, u64 goid)
{
	return (u64)tgid << 32 | UNIT_GOROUTINE | (goid & 0x7fffffff);
}

INLINE u64 current_g(struct member_fields_offset *o, struct proc_info_t *pi)
{
	u64 g = 0;

	READ_USER(g, thread_pointer(o), (s64)pi->tls_g);
	return g;
}

/* The running goroutine's g, in a uprobe. */
INLINE u64 go_g(struct pt_regs *regs, struct proc_info_t *pi)
{
	struct member_fields_offset *o = offsets();
	u64 id = bpf_get_current_pid_tgid(), *told;

	if (!pi->stack_abi)
		return regs->r14;
	if (pi->identity == GO_BY_UPROBE) {
		told = go_running_map.lookup(&id);
		return told ? *told : 0;
	}
	return o && o->ready ? current_g(o, pi) : 0;
}

/* A function's n-th word of arguments and results, from 1. Since Go 1.17 those are in
 * registers: ax, bx, cx here, of which results begin anew. */
INLINE u64 go_word(struct pt_regs *regs, u64 n)
{
	u64 word = 0;

	READ_USER(word, regs->sp, 8 * n);
	return word;
}

/* All of them are read before one is chosen: the compiler would choose among addresses, which
 * the verifier takes for the context no more. */
#define REGISTER(regs, name) (*(volatile unsigned long *)&(regs)->name)

/* Argument n, from 1, of a function that takes words only. */
INLINE u64 go_argument(struct pt_regs *regs, struct proc_info_t *pi, u32 n)
{
	u64 sp = REGISTER(regs, sp), ax = REGISTER(regs, ax), bx = REGISTER(regs, bx);
	u64 cx = REGISTER(regs, cx), di = REGISTER(regs, di), value = 0;

	if (!pi->stack_abi)
		return n == 1 ? ax : n == 2 ? bx : n == 3 ? cx : di;
	READ_USER(value, sp, 8 * n);
	return value;
}

INLINE void go_thread_ends(u64 thread)
{
	if (go_running_map.lookup(&thread)) {
		go_running_map.delete(&thread);
		goroutines_map.delete(&thread);
	}
	pid_tgid_callerid_map.delete(&thread);
}

/* What the scheduler last put on this thread. */
INLINE void go_by_scheduler(struct proc_info_t *pi, u64 thread, u64 *g, u64 *goid)
{
	u64 *running = go_running_map.lookup(&thread);
	u64 *told = goroutines_map.lookup(&thread);

	if (!running || !told)
		return;
	if (*goid)
		count(*goid == *told ? STAT_GO_IDENTITY_AGREES : STAT_GO_IDENTITY_DIFFERS);
	if (pi->identity == GO_BY_UPROBE) {
		*g = *running;
		*goid = *told;
	}
}

/* Which goroutine moves this segment shows nothing: a server's response is that of the connection's
 * request, and who asks over a pool's connection is not who writes and reads there. Each read of a
 * program's memory that is left out counts. */
INLINE bool go_unit_is_idle(struct op_t *op, struct socket_state_t *st, struct proc_info_t *pi)
{
	bool sent = op->rec.direction == EGRESS;

	if (st->protocol != PROTOCOL_HTTP1 || st->tls || pi->works || pi->newproc ||
	    pi->identity != GO_BY_TLS)
		return false;
	return st->role == ROLE_SERVER ? sent : st->go_pool && (sent || !pi->round_trip);
}

/* Fills unit and goid. unit stays 0 where a Go thread runs no goroutine:
 * what a runtime thread does belongs to no request. `st`: the socket, if there is one. */
INLINE void find_unit(struct member_fields_offset *o, struct op_t *op, struct socket_state_t *st)
{
	struct __socket_data *r = &op->rec;
	u32 tgid = r->tgid;
	struct proc_info_t *pi = proc_info_map.lookup(&tgid);

	op->unit = 0;
	op->go = 0;
	op->parent_goid = 0;
	r->goid = 0;
	if (!pi || !pi->go) {
		op->unit = (u64)tgid << 32 | r->tid;
		op->python = pi ? pi->python : 0;
		op->turns = pi ? pi->turns : 0;
		op->pools = pi && pi->pools;
		return;
	}
	op->go = 1;
	op->births = pi->births < 255;
	op->works = pi->works;
	r->flags |= FLAG_GO;
	if (st && go_unit_is_idle(op, st, pi))
		return;
	if (pi->g_goid < 0)
		return; /* its goroutines cannot be told apart */
	u64 g = 0;
	if (pi->identity != GO_BY_UPROBE) {
		g = current_g(o, pi);
		if (g)
			READ_USER(r->goid, g, pi->g_goid);
	}
	if (pi->identity != GO_BY_TLS)
		go_by_scheduler(pi, (u64)tgid << 32 | r->tid, &g, &r->goid);
	if (!g)
		return;
	op->g = g;
	if (!r->goid)
		return;
	op->unit = goroutine_unit(tgid, r->goid);
	if (pi->newproc) {
		struct go_key key = {.goid = r->goid, .tgid = tgid};
		go_rw_ts_map.update(&key, &r->ts);
	}
}

/* Who bore goroutine `goid`, whose g is at `g`; 0: not known. */
INLINE u64 go_parent(struct proc_info_t *pi, u32 tgid, u64 g, u64 goid)
{
	struct go_key key = {.goid = goid, .tgid = tgid};
	u64 parent = 0, *told = 0;

	if (pi->identity != GO_BY_UPROBE && pi->g_parent_goid >= 0)
		READ_USER(parent, g, pi->g_parent_goid);
	if (!pi->newproc)
		return parent;
	told = go_ancerstor_map.lookup(&key);
	if (!told)
		return parent;
	if (parent)
		count(parent == *told ? STAT_GO_PARENT_AGREES : STAT_GO_PARENT_DIFFERS);
	return parent ? parent : *told;
}

/* Who bore the running goroutine. */
INLINE void find_parent_goid(struct op_t *op, struct proc_info_t *pi)
{
	if (pi && op->g)
		op->parent_goid = go_parent(pi, op->rec.tgid, op->g, op->rec.goid);
}

#endif
