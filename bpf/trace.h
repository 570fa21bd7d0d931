/* __trace_map: which unit carries which request, and what it causes. */
#ifndef OTEL_EBPF_TRACE_H
#define OTEL_EBPF_TRACE_H

#include "go_births.h"
#include "go_handlers.h"

/* What is carried is the socket's current request, or more of it. */
INLINE void trace_goes_on(struct trace_info_t *t, struct socket_state_t *st, u64 now)
{
	if (t->uid != st->uid)
		t->begun = now;
	t->uid = st->uid;
	t->socket_id = st->socket_id;
	t->ts = now;
	t->responded = 0;
}

/* The unit has read (part of) the socket's current request. */
INLINE void carry(struct op_t *op, struct socket_state_t *st, u64 now)
{
	u64 unit = op->unit;
	struct trace_info_t *t;

	if (!unit || (st->counted && st->trace_key == unit)) {
		t = __trace_map.lookup(&unit);
		if (unit && t) {
			trace_goes_on(t, st, now);
		}
		return;
	}
	if (st->counted) { /* another goroutine read the first byte (background read) */
		u64 old = st->trace_key;
		t = __trace_map.lookup(&old);
		if (t && t->open)
			t->open -= 1;
		if (t && t->open == 0)
			t->ambiguous = 0;
	}
	st->counted = 1;
	st->trace_key = unit;
	t = __trace_map.lookup(&unit);
	if (!t || t->inherited || (op->go && t->goid != op->rec.goid)) {
		struct trace_info_t fresh = {.uid = st->uid,
					     .socket_id = st->socket_id,
					     .ts = now,
					     .begun = now,
					     .goid = op->rec.goid,
					     .open = 1};
		if (__trace_map.update(&unit, &fresh)) {
			count(STAT_TRACE_MAP_FULL);
			st->counted = 0;
		} else if (!t) {
			count(STAT_TRACES_OPENED);
		}
		return;
	}
	t->open += 1;
	if (t->open > 1) {
		t->ambiguous = 1;
		t->loop |= LOOP_SEVERAL;
	}
	trace_goes_on(t, st, now);
}

/* A goroutine that connects on behalf of its ancestor's request: what it starts
 * (a connection's loops) can be traced back through it. */
INLINE void inherit(struct op_t *op, struct socket_state_t *st, u64 now)
{
	u64 unit = op->unit, parent;
	struct trace_info_t *t;

	u32 tgid = op->rec.tgid;

	if (!op->go || !unit || __trace_map.lookup(&unit))
		return;
	find_parent_goid(op, proc_info_map.lookup(&tgid));
	if (!op->parent_goid)
		return;
	want_births(tgid);
	parent = goroutine_unit(op->rec.tgid, op->parent_goid);
	t = __trace_map.lookup(&parent);
	if (!t || t->ambiguous || t->goid != op->parent_goid || !born_during(parent, t, op->rec.goid))
		return;
	struct trace_info_t fresh = {.uid = t->uid,
				     .socket_id = st->socket_id,
				     .ts = now,
				     .begun = t->begun,
				     .goid = op->rec.goid,
				     .responded = t->responded,
				     .inherited = 1};
	struct go_birth_t *birth = go_birth_map.lookup(&parent);
	if (__trace_map.update(&unit, &fresh)) {
		count(STAT_TRACE_MAP_FULL);
		return;
	}
	if (birth) /* born after the request is what counts, however deep */
		go_birth_map.update(&unit, birth);
	st->opener_key = unit;
	count(STAT_TRACES_OPENED);
}

/* Where births are followed, a goroutine's latest read or write is too, and one that has been
 * silent for so long is no ancestor any more. */
#define GO_RW_TIMEOUT 120000000000ULL

INLINE bool go_silent(u32 tgid, u64 goid)
{
	struct proc_info_t *pi = proc_info_map.lookup(&tgid);
	struct go_key key = {.goid = goid, .tgid = tgid};
	u64 *latest;

	if (!pi || !pi->newproc)
		return false;
	latest = go_rw_ts_map.lookup(&key);
	return latest && *latest + GO_RW_TIMEOUT < bpf_ktime_get_ns();
}

/* What the goroutine carries, or inherits: from the one that bore it, or, where it is known who
 * bore whom, from the nearest of five generations that carries anything. `kin` takes the
 * goroutines in between, the youngest first; what they inherit must be judged too. */
INLINE u64 carried_in_line(u32 tgid, u64 goid, u64 parent_goid, u8 *rule, u8 *responded,
			   struct go_kin_t *kin)
{
	u64 unit = goroutine_unit(tgid, goid), at = parent_goid, below = goid, uid;
	struct trace_info_t *t = __trace_map.lookup(&unit);

	*rule = RULE_NONE;
	if (kin)
		kin->count = 0;
	if (t && t->goid == goid && !t->inherited) {
		*responded = t->responded;
		*rule = t->ambiguous ? RULE_AMBIGUOUS : RULE_GOROUTINE;
		return t->ambiguous ? 0 : t->uid;
	}
	uid = go_handler_uid(tgid, goid, false);
	if (uid) {
		*rule = RULE_GOROUTINE;
		return uid;
	}
	if (!parent_goid)
		return 0;
	want_births(tgid);
	NO_UNROLL
	for (int i = 0; i < GO_ANCESTORS; i++) {
		struct go_key key = {.goid = at, .tgid = tgid};
		u64 *up;

		if (!at)
			return 0;
		unit = goroutine_unit(tgid, at);
		t = __trace_map.lookup(&unit);
		if (t && t->goid == at)
			break;
		uid = go_handler_uid(tgid, at, true);
		if (uid) { /* all that it starts is started for that request */
			*rule = RULE_ANCESTOR;
			return uid;
		}
		up = go_ancerstor_map.lookup(&key);
		if (!kin || !up)
			return 0;
		if (i < GO_ANCESTORS - 1) {
			kin->goid[i] = at;
			kin->count = i + 1;
		}
		below = at;
		at = *up;
	}
	t = __trace_map.lookup(&unit);
	/* Of those in between, the eldest was born first: if it was born during the request,
	 * all were. */
	if (!t || t->goid != at || t->ambiguous || !born_during(unit, t, below) ||
	    go_silent(tgid, at))
		return 0;
	*responded = t->responded;
	*rule = RULE_ANCESTOR;
	return t->uid;
}

INLINE u64 carried_by(u32 tgid, u64 goid, u64 parent_goid, u8 *rule, u8 *responded)
{
	return carried_in_line(tgid, goid, parent_goid, rule, responded, 0);
}

/* A request leaves: what caused it, as far as the writing unit tells. */
INLINE void find_parent(struct op_t *op)
{
	struct __socket_data *r = &op->rec;
	u64 unit = op->unit;
	u8 rule = RULE_NONE, responded = 0;

	if (op->go) {
		u32 tgid = r->tgid;
		struct proc_info_t *pi = proc_info_map.lookup(&tgid);
		if (pi && op->g) {
			r->caller_goid = r->goid;
			find_parent_goid(op, pi);
			if (pi->g_startpc >= 0)
				READ_USER(r->caller_site, op->g, pi->g_startpc);
		}
		if (r->goid)
			r->parent_uid = carried_by(r->tgid, r->goid, op->parent_goid, &rule,
						   &responded);
	} else {
		struct trace_info_t *t = __trace_map.lookup(&unit);
		if (t) {
			bool unclear = t->ambiguous || (t->loop & LOOP_STREAMS);
			rule = unclear ? RULE_AMBIGUOUS : t->loop ? RULE_SOLE : RULE_THREAD;
			r->parent_uid = unclear ? 0 : t->uid;
			responded = t->responded;
		}
	}
	r->rule = rule;
	if (responded)
		r->flags |= FLAG_RESPONDED;
}

#endif
