/* Calls that send or take datagrams, from their entry to the first of those. */
#ifndef OTEL_EBPF_DATAGRAM_CALLS_H
#define OTEL_EBPF_DATAGRAM_CALLS_H

#include "asking.h"
#include "datagram_socket.h"
#include "infer_quic.h"
#include "probe.h"

#define MSGHDR_NAME 0

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
		if (known)
			return 0;
		datagram_of_others(id >> 32, fd, sk);
		if (seen > 0 && infer_quic(op->head, seen))
			ask_about(c, id >> 32, PROCESS_SPEAKS_QUIC, bpf_ktime_get_ns());
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

#endif
