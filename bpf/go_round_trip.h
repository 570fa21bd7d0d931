/* Who asked, by one hit a request: for programs of which the zero-hit way (go_http1.h) cannot be
 * had, because net/http's structs are not known or what is read of them makes no sense. */
#ifndef OTEL_EBPF_GO_ROUND_TRIP_H
#define OTEL_EBPF_GO_ROUND_TRIP_H

#include "go_lineage.h"

/* A response arrives on the read loop of connection `pc`: whose request is it? */
INLINE void go_told_caller(struct op_t *op, u64 pc)
{
	struct __socket_data *r = &op->rec;
	struct go_context_key key = {.context = pc, .tgid = r->tgid};
	struct go_caller_t *caller = go_round_trip_map.lookup(&key);
	u8 rule = RULE_NONE, responded = 0;

	r->flags |= FLAG_GO_POOLED;
	if (!caller || !caller->goid) {
		count(STAT_GO_NOT_PARKED);
		return;
	}
	r->caller_goid = caller->goid;
	r->caller_site = caller->site;
	r->caller_uid = carried_in_line(r->tgid, caller->goid, caller->parent_goid, &rule,
					&responded, &op->kin);
	if (r->caller_uid)
		r->flags |= rule == RULE_ANCESTOR ? FLAG_CALLER | FLAG_CALLER_PARENT : FLAG_CALLER;
}

#endif
