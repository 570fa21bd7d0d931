/* Whose traffic is followed: processes and ports that were chosen, never the agent's own. */
#ifndef OTEL_EBPF_CHOSEN_H
#define OTEL_EBPF_CHOSEN_H

#include "maps.h"

INLINE bool port_allowed(u16 port)
{
	int zero = 0;
	struct allow_port_bitmap *map = __allow_port_bitmap.lookup(&zero);
	return map && (map->bits[(port >> 3) & 8191] >> (port & 7)) & 1;
}

/* The same address whether a v4 socket or a v4-mapped v6 socket holds it. */
INLINE void self_conn_addr(struct self_conn_t *key, u8 family, const u8 *addr)
{
	const u32 *w = (const u32 *)addr;
	u32 *out = (u32 *)key->addr;

	if (family == FAMILY_IPV6 && !(w[0] == 0 && w[1] == 0 && w[2] == bpf_htonl(0xffff))) {
		out[0] = w[0];
		out[1] = w[1];
		out[2] = w[2];
		out[3] = w[3];
	} else {
		out[3] = family == FAMILY_IPV6 ? w[3] : w[0];
	}
}

INLINE u32 *chosen_slot(u32 tgid)
{
	int slot = tgid & (CHOSEN_SLOTS - 1);

	return chosen_slots.lookup(&slot);
}

/* Another process has this number now. */
INLINE void chosen_anew(u32 tgid)
{
	u32 *known = chosen_slot(tgid);

	if (known && *known == tgid)
		*known = 0;
}

/* A process was chosen, or none had to be. */
INLINE bool process_chosen(struct trace_conf_t *conf, u32 tgid)
{
	/* Where ports choose too, the socket decides. */
	if (!(conf->filter & FILTER_PROCESSES) || (conf->filter & FILTER_PORTS))
		return true;
	u32 *known = chosen_slot(tgid);
	if (known && *known == tgid)
		return true;
	if (!target_map.lookup(&tgid))
		return false;
	if (known)
		*known = tgid;
	return true;
}

/* Ports choose services: a server socket on a chosen port chooses its process. */
INLINE bool socket_refused(struct trace_conf_t *conf, struct socket_state_t *st, u32 tgid)
{
	if (!(conf->filter & FILTER_PORTS) || target_map.lookup(&tgid))
		return false;
	return !port_allowed(st->local_port) && !port_allowed(st->peer_port);
}

#endif
