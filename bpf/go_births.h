/* Which goroutines were born during a request. */
#ifndef OTEL_EBPF_GO_BIRTHS_H
#define OTEL_EBPF_GO_BIRTHS_H

#include "unit.h"

/* The goroutine ids that are still to be handed out, so that a goroutine born later can
 * be told from one that was there before. Ids are dealt to each P in batches. */
INLINE void note_births(struct op_t *op, struct proc_info_t *pi, struct go_birth_t *scratch)
{
	u64 unit = op->unit;
	struct go_birth_t *birth = go_birth_map.lookup(&unit), *fresh = 0;
	u64 slice[2] = {}, ps[BIRTH_PS] = {}, cache[2], from;

	if (!pi->goidgen || !pi->allp || !unit)
		return;
	if (!birth)
		birth = fresh = scratch;
	if (!birth)
		return;
	/* Written in place: whoever reads it meanwhile must find no request's. */
	*(volatile u64 *)&birth->uid = 0;
	READ_USER(slice, pi->allp, 0);
	/* Short where fewer are there, but the array is in memory that Go has mapped. */
	if (slice[1] >= BIRTH_PS)
		READ_USER(ps, slice[0], 0);
	NO_UNROLL
	for (int i = 0; i < BIRTH_PS; i++) {
		cache[0] = 0;
		cache[1] = 0;
		if (i < slice[1]) {
			if (slice[1] < BIRTH_PS)
				READ_USER(ps[i], slice[0], i * 8);
			/* goidcache and goidcacheend are neighbours; user space checks it. */
			READ_USER(cache, ps[i], pi->p_goidcache);
		}
		birth->from[i] = cache[0];
		birth->to[i] = cache[1];
	}
	/* Last: an id dealt in between is in neither and counts as born before. */
	from = 0;
	READ_USER(from, pi->goidgen, 0);
	birth->goidgen = from;
	*(volatile u64 *)&birth->uid = from ? op->rec.uid : 0;
	if (fresh && from)
		go_birth_map.update(&unit, fresh);
}

/* Proof that goroutine `goid` was born after `t`'s request was read. */
INLINE bool born_during(u64 unit, struct trace_info_t *t, u64 goid)
{
	struct go_birth_t *birth = go_birth_map.lookup(&unit);

	struct go_key key = {.goid = goid, .tgid = unit >> 32};
	struct go_newborn_t *born = go_newborn_map.lookup(&key);

	if (born && born->ts)
		return born->ts > t->begun;
	if (!birth || birth->uid != t->uid)
		return false;
	/* goidgen counts batches' ends: ids above it were not dealt yet. */
	if (goid > birth->goidgen)
		return true;
	NO_UNROLL
	for (int i = 0; i < BIRTH_PS; i++)
		if (goid >= birth->from[i] && goid < birth->to[i])
			return true;
	return false;
}

/* Ancestry is asked for: births are noted for some time to come. Programs whose goroutines
 * call by themselves never ask, and are spared the reading. */
INLINE void want_births(u32 tgid)
{
	struct proc_info_t *pi = proc_info_map.lookup(&tgid);

	if (pi && pi->births)
		pi->births = 0;
}

#endif
