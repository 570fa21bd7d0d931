/* UDP, of which DNS is followed: a datagram is a message, with a peer of its own.
 *
 * A send is looked at as it enters, and told of at its exit, when it is known what was sent and
 * from which port. Sockets that moved other things are soon left alone: that is noted with
 * their descriptors, in __socket_info_map, under the socket number 0.
 *
 * Tracepoint programs only. */
#ifndef OTEL_EBPF_DATAGRAMS_H
#define OTEL_EBPF_DATAGRAMS_H

#include "datagram_calls.h"

#define DATAGRAMS_AT_ONCE 10 /* of one call; each takes up to three of 33 jumps */

/* Program 28: one datagram that was sent or taken. */
INLINE int run_datagram(void *ctx)
{
	struct op_t *op = operation();
	struct datagram_t *d = datagram();
	struct member_fields_offset *o = offsets();

	if (!op || !d || !o || !d->left)
		return 0;
	struct __socket_data *r = &op->rec;
	u64 sk = op->sk;
	u16 port = 0;
	u64 peer[2] = {};
	datagram_next(op, d);
	if (d->left && d->rounds >= DATAGRAMS_AT_ONCE) {
		count_n(STAT_DATAGRAMS_CUT, d->left);
		d->left = 0;
	}
	s32 n = op->buf ? peek_head(op, 0, 0) : -1;
	struct socket_state_t *st = socket_state_map.lookup(&sk);
	u32 ports = datagram_ports(o, sk);
	port = ports >> 16;
	datagram_peer(d, &port, peer);
	bool known = (st && st->protocol == PROTOCOL_DNS) || dns_port(ports) || port == DNS_PORT;
	r->begins = n < 0 || dns_of_others(port) || dns_of_others(ports)
			    ? BEGINS_NOTHING
			    : infer_dns_datagram(op->head, n, op->count, known);
	if (r->begins == BEGINS_NOTHING) {
		if (!known)
			datagram_of_others(r->tgid, r->fd, sk);
		if (d->left)
			__progs_jmp_tp_map.call(ctx, PROG_DATAGRAM);
		return 0;
	}
	r->peer_port = port;
	__builtin_memcpy(r->peer_addr, peer, 16);
	__progs_jmp_tp_map.call(ctx, PROG_DATAGRAM_WHO);
	return 0;
}

/* Program 29: who asked, and whose query this is. */
INLINE int run_datagram_who(void *ctx)
{
	struct op_t *op = operation();
	struct datagram_t *d = datagram();
	struct member_fields_offset *o = offsets();
	struct trace_conf_t *conf = config();

	if (!op || !d || !o || !conf)
		return 0;
	struct __socket_data *r = &op->rec;
	struct dns_query_t query = {};
	u16 port = r->peer_port;
	struct socket_state_t *st =
		socket_find(o, r->tgid, r->fd, op->sk, r->ts, &op->state);
	if (!st)
		return 0;
	if (!st->peer_port && (conf->filter & FILTER_PORTS) && port_allowed(port))
		st->ignore = 0; /* each of its datagrams has a peer of its own */
	if (st->ignore)
		return 0;
	if (!st->protocol)
		spoken(r->tgid, PROTOCOL_DNS);
	st->protocol = PROTOCOL_DNS;
	st->datagram = 1;
	bool asks = r->begins == BEGINS_REQUEST;
	st->role = asks == (r->direction == INGRESS) ? ROLE_SERVER : ROLE_CLIENT;
	__builtin_memcpy(query.peer, r->peer_addr, 16);
	fill_address(r, st);
	if (query.peer[0] | query.peer[1]) {
		r->peer_port = port;
		__builtin_memcpy(r->peer_addr, query.peer, 16);
	} else {
		__builtin_memcpy(query.peer, st->peer_addr, 16);
	}
	query.socket_id = st->socket_id;
	query.port = r->peer_port;
	query.id = (u32)op->head[0] << 8 | op->head[1];
	query.direction = asks ? r->direction : !r->direction;
	r->type = RECORD_DATAGRAM;
	r->length = op->count;
	r->tcp_seq = d->failed;
	/* Of the datagram before this one. */
	r->rule = RULE_NONE;
	r->parent_uid = r->caller_uid = r->context_uid = 0;
	r->caller_goid = r->caller_site = r->ref_ts = 0;
	r->flags &= FLAG_DEFERRED;
	find_unit(o, op, 0);
	if (asks) {
		r->uid = conf->uid++;
		dns_query_map.update(&query, &r->uid);
		if (r->direction == EGRESS)
			find_parent(op);
	} else {
		u64 *uid = dns_query_map.lookup(&query);
		r->uid = uid ? *uid : 0;
		if (uid)
			dns_query_map.delete(&query);
	}
	if (op->turns && r->direction == INGRESS)
		turn_does(r->uid);
	op->go = 0;
	u64 most = d->messages || op->iovcnt ? CAPTURE_MAX : d->room;
	if (most > CAPTURE_MAX)
		most = CAPTURE_MAX;
	op->capture = op->count < most ? op->count : most;
	op->slices = d->left != 0;
	if (op->pools)
		__progs_jmp_tp_map.call(ctx, PROG_POOL);
	if (op->python && r->direction == EGRESS)
		__progs_jmp_tp_map.call(ctx, PROG_PYTHON);
	if (op->turns && r->direction == EGRESS)
		__progs_jmp_tp_map.call(ctx, PROG_TURN);
	__progs_jmp_tp_map.call(ctx, PROG_OUTPUT);
	return 0;
}

#endif
