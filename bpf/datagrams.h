/* UDP, of which DNS is followed: a datagram is a message, with a peer of its own.
 *
 * A send is looked at as it enters, and told of at its exit, when it is known what was sent and
 * from which port. Sockets that moved other things are soon left alone: that is noted with
 * their descriptors, in __socket_info_map, under the socket number 0.
 *
 * Tracepoint programs only. */
#ifndef OTEL_EBPF_DATAGRAMS_H
#define OTEL_EBPF_DATAGRAMS_H

#include "probe.h"

#define OTHER_DATAGRAMS 16  /* that are looked at, before a socket is left alone */
#define DATAGRAMS_AT_ONCE 10 /* of one call; each takes up to three of 33 jumps */
#define MSGHDR_NAME 0
#define MMSGHDR 64

INLINE struct datagram_t *datagram(void)
{
	int zero = 0;
	return datagram_buf.lookup(&zero);
}

INLINE bool datagrams_left_alone(u32 tgid, s32 fd, u64 sk)
{
	u64 key = fd_key(tgid, fd);
	struct socket_info_t *info = __socket_info_map.lookup(&key);

	return info && info->sk == sk && !info->socket_id && info->ts >= OTHER_DATAGRAMS;
}

/* This one was no DNS. */
INLINE void datagram_of_others(u32 tgid, s32 fd, u64 sk)
{
	u64 key = fd_key(tgid, fd);
	struct socket_info_t *info = __socket_info_map.lookup(&key), fresh = {.sk = sk, .ts = 1};

	if (!info || info->sk != sk)
		__socket_info_map.update(&key, &fresh);
	else if (!info->socket_id)
		info->ts += 1;
}

/* A datagram socket's own ports: the local one, and the connected peer's above it. */
INLINE u32 datagram_ports(struct member_fields_offset *o, u64 sk)
{
	u16 local = 0, peer = 0;

	READ_KERNEL(local, sk, o->sk_num);
	READ_KERNEL(peer, sk, o->sk_dport);
	return local | (u32)bpf_ntohs(peer) << 16;
}

INLINE bool dns_port(u32 ports)
{
	return (ports & 0xffff) == DNS_PORT || ports >> 16 == DNS_PORT;
}

/* Others that have DNS's header. */
INLINE bool dns_of_others(u16 port)
{
	return port == MDNS_PORT || port == LLMNR_PORT || port == NBNS_PORT;
}

/* The next datagram of the call: where its bytes and its peer's address are. */
INLINE void datagram_next(struct op_t *op, struct datagram_t *d)
{
	if (d->messages) {
		/* name, namelen, iov, iovlen, control, controllen, flags, bytes moved */
		u64 header[8] = {};
		READ_USER(header, d->messages, 0);
		d->messages += MMSGHDR;
		d->name = header[0];
		op->buf = header[2];
		op->iovcnt = header[3];
		op->count = (u32)header[7];
		if (op->rec.direction == EGRESS && d->failed)
			op->count = CAPTURE_MAX; /* nothing was: what there is will be read */
		if (!op->iovcnt)
			op->buf = 0;
	}
	d->rounds += 1;
	d->left -= 1;
}

/* Port of the datagram's peer in *port, its address in `to`, 16 bytes. */
INLINE void datagram_peer(struct datagram_t *d, u16 *port, u64 *to)
{
	u64 name[2] = {}; /* family, port, IPv4 address; or flow, IPv6 address */

	if (!d->name || READ_USER(name, d->name, 0))
		return;
	u16 family = name[0];
	if (family == AF_INET) {
		to[0] = name[0] >> 32;
		to[1] = 0;
	} else if (family == AF_INET6) {
		if (read_user(to, 16, d->name + 8))
			return;
	} else {
		return;
	}
	*port = bpf_ntohs((u16)(name[0] >> 16));
}

/* A datagram socket of no interest: no UDP, one that is left alone, or DNS is switched off. */
INLINE bool datagrams_ignored(struct member_fields_offset *o, u32 tgid, s32 fd, u64 sk)
{
	if (datagrams_left_alone(tgid, fd, sk))
		return true;
	u8 family = sock_family(o, sk);
	return (family != FAMILY_IPV4 && family != FAMILY_IPV6) || !protocol_on(PROTOCOL_DNS);
}

/* Program 26: a send on a datagram socket enters. enter_send has left what it was given, and
 * run_enter_send the socket. */
INLINE int run_datagram_send(struct sys_enter_args *c)
{
	struct op_t *op = operation();
	struct member_fields_offset *o = offsets();
	struct trace_conf_t *conf = config();
	struct data_args_t args = {};
	u64 id = bpf_get_current_pid_tgid();
	int zero = 0;

	if (!op || !o || !conf)
		return 0;
	u64 sk = op->sk, buf = op->buf, iov = 0, n = 0;
	u8 call = op->rec.syscall;
	s32 fd = op->rec.fd;
	if (datagrams_ignored(o, id >> 32, fd, sk))
		return 0;
	args.buf = call == CALL_SENDMSG ? c->args[1] : buf;
	args.count = op->count;
	args.iovcnt = call == CALL_WRITEV ? op->iovcnt : 0;
	args.fd = fd;
	args.call = call;
	args.deferred = 1;
	args.name = call == CALL_SENDTO ? c->args[4] : 0;
	if (call == CALL_SENDMMSG) {
		READ_USER(iov, buf, 16);
		READ_USER(n, buf, 24);
		op->buf = iov;
		op->iovcnt = n;
	}
	if (op->iovcnt)
		op->count = CAPTURE_MAX; /* as much as there is */
	op->limit = 0;
	s32 seen = peek_head(op, 0, 0);
	struct socket_state_t *st = socket_state_map.lookup(&sk);
	bool known = (st && st->protocol == PROTOCOL_DNS) || dns_port(datagram_ports(o, sk));
	if (!known && call == CALL_SENDTO && args.name) {
		u16 port = 0;
		READ_USER(port, args.name, 2);
		known = bpf_ntohs(port) == DNS_PORT;
	}
	/* How long the datagram is need not be known yet. */
	if (seen < 0 || !infer_dns_datagram(op->head, seen, DNS_LEAST, known)) {
		if (!known)
			datagram_of_others(id >> 32, fd, sk);
		return 0;
	}
	args.ts = bpf_ktime_get_ns();
	if (__active_write_args_map.update(&id, &args)) {
		count(STAT_ARGS_MAP_FULL);
		return 0;
	}
	/* So that its exit looks for these arguments; forget_send takes it back. */
	u64 *sends = deferred_sends.lookup(&zero);
	if (sends && conf->registers && !args.iovcnt && call != CALL_SENDMMSG)
		__sync_fetch_and_add(sends, 1);
	return 0;
}

/* And leaves: all that run_datagram_send kept is in `args`. */
INLINE void datagram_sent(void *ctx, u64 id, struct data_args_t *args, u64 sk, long ret)
{
	struct datagram_t *d = datagram();
	struct op_t *op;

	if (!d || ret == -EAGAIN || ret == -EINTR)
		return;
	op = op_start(id, EGRESS, args->fd, args->call, args->ts);
	if (!op)
		return;
	op->rec.end_ts = bpf_ktime_get_ns();
	op->rec.flags = FLAG_DEFERRED;
	op->sk = sk;
	op->buf = args->buf;
	op->iovcnt = args->iovcnt;
	op->count = ret < 0 ? args->count : ret;
	d->name = args->name;
	d->messages = 0;
	d->left = 1;
	d->rounds = 0;
	d->failed = ret < 0 ? -ret : 0;
	d->room = CAPTURE_MAX;
	if (args->call == CALL_SENDMMSG) {
		d->messages = args->buf;
		d->left = ret > 0 ? ret : 1;
	} else if (args->call == CALL_SENDMSG) {
		u64 header[4] = {}; /* name, namelen, iov, iovlen */
		READ_USER(header, args->buf, 0);
		d->name = header[0];
		op->buf = header[2];
		op->iovcnt = header[3];
	}
	if (ret < 0 && op->iovcnt)
		op->count = CAPTURE_MAX;
	__progs_jmp_tp_map.call(ctx, PROG_DATAGRAM);
}

/* A receive on a datagram socket is over; run_exit_receive goes on with program 27. */
INLINE void datagram_taken(void *ctx, struct op_t *op, struct data_args_t *args, u64 sk, long ret)
{
	struct datagram_t *d = datagram();

	if (!d || ret == 0)
		return;
	op->sk = sk;
	op->buf = args->buf;
	op->iovcnt = args->iovcnt;
	op->count = ret < 0 ? 0 : ret;
	d->name = args->name;
	d->messages = args->call == CALL_RECVMMSG ? args->buf : 0;
	d->room = args->count;
	d->left = d->messages && ret > 0 ? ret : 1;
	d->rounds = 0;
	d->failed = ret < 0 ? -ret : 0;
	__progs_jmp_tp_map.call(ctx, PROG_DATAGRAM_RECEIVE);
}

/* Program 27. `name`: recvfrom's buffer for the address, or recvmsg's msghdr, where the registers
 * told. */
INLINE int run_datagram_receive(void *ctx, u64 name)
{
	struct op_t *op = operation();
	struct datagram_t *d = datagram();
	struct member_fields_offset *o = offsets();

	if (!op || !d || !o)
		return 0;
	u64 sk = op->sk;
	u32 tgid = op->rec.tgid;
	if (d->failed) { /* an ICMP message: nobody answers there */
		struct socket_state_t *st = socket_state_map.lookup(&sk);
		if (st && !st->ignore)
			tell(ctx, RECORD_ERROR, (u64)tgid << 32 | op->rec.tid, st, INGRESS, d->failed, 0);
		return 0;
	}
	if (name)
		d->name = name;
	if (op->rec.syscall == CALL_RECVMSG && d->name) {
		u64 at = d->name;
		d->name = 0;
		READ_USER(d->name, at, MSGHDR_NAME);
	}
	__progs_jmp_tp_map.call(ctx, PROG_DATAGRAM);
	return 0;
}

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
	if (!st || st->ignore)
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
	find_unit(o, op);
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
