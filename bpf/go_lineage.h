/* Goroutines between the one that calls and the one that it inherits from, told to user space:
 * whether goroutines of their kind keep to the request of their birth is judged there. */
#ifndef OTEL_EBPF_GO_LINEAGE_H
#define OTEL_EBPF_GO_LINEAGE_H

#include "trace.h"

/* A goroutine that called and inherited: those that it starts may have to know. */
INLINE void go_remember_line(struct proc_info_t *pi, u32 tgid, u64 goid, u64 parent, u64 site)
{
	struct go_key key = {.goid = goid, .tgid = tgid};
	struct go_newborn_t born = {.site = site};

	if (!parent || pi->newproc || go_ancerstor_map.lookup(&key))
		return;
	go_newborn_map.update(&key, &born);
	go_ancerstor_map.update(&key, &parent);
}

/* Program 15: RECORD_LINEAGE. It follows the record that it belongs to, whose payload may have been
 * in the burst before it was known, but its time is just before. Its payload: pairs of a goroutine's number and the function it was started with, the youngest first. */
INLINE int run_go_lineage(void *ctx)
{
	struct op_t *op = operation();
	u64 at = 0;

	if (!op)
		return 0;
	struct __socket_data *r = &op->rec;
	u32 n = op->kin.count;
	struct __socket_data_buffer *b = burst_reserve(ctx, r->end_ts, &at);
	if (b && at <= BURST_DATA - RECORD_ROOM && n <= GO_ANCESTORS - 1) {
		struct __socket_data *told = (struct __socket_data *)(b->data + at);
		u64 *pairs = (u64 *)(told + 1);

		__builtin_memset(told, 0, sizeof(*told));
		told->type = RECORD_LINEAGE;
		told->tgid = r->tgid;
		told->tid = r->tid;
		told->ts = r->ts - 1;
		told->end_ts = told->ts;
		told->socket_id = r->socket_id;
		told->uid = r->caller_uid;
		told->caller_goid = r->caller_goid;
		told->data_len = n * 16;
		told->size = sizeof(*told) + n * 16;
		NO_UNROLL
		for (u32 i = 0; i < GO_ANCESTORS - 1; i++) {
			struct go_key key = {.goid = op->kin.goid[i], .tgid = r->tgid};
			struct go_newborn_t *born = go_newborn_map.lookup(&key);

			if (i >= n)
				break;
			pairs[2 * i] = key.goid;
			pairs[2 * i + 1] = born ? born->site : 0;
		}
		burst_commit(b, told->size);
	}
	return 0;
}

#endif
