/* Who is running: the goroutine of a Go program, else the thread. */
#ifndef OTEL_EBPF_UNIT_H
#define OTEL_EBPF_UNIT_H

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

/* Fills unit and goid. unit stays 0 where a Go thread runs no goroutine:
 * what a runtime thread does belongs to no request. */
INLINE void find_unit(struct member_fields_offset *o, struct op_t *op)
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
		return;
	}
	op->go = 1;
	op->births = pi->births < 255;
	r->flags |= FLAG_GO;
	if (pi->g_goid < 0)
		return; /* its goroutines cannot be told apart */
	u64 g = current_g(o, pi);
	if (!g)
		return;
	op->g = g;
	READ_USER(r->goid, g, pi->g_goid);
	if (r->goid)
		op->unit = goroutine_unit(tgid, r->goid);
}

/* Who bore the running goroutine; 0 before Go 1.21. */
INLINE void find_parent_goid(struct op_t *op, struct proc_info_t *pi)
{
	if (pi && op->g && pi->g_parent_goid >= 0)
		READ_USER(op->parent_goid, op->g, pi->g_parent_goid);
}

#endif
