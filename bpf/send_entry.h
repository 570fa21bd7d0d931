/* Sends as they enter: recorded before the peer can have read them. */
#ifndef OTEL_EBPF_SEND_ENTRY_H
#define OTEL_EBPF_SEND_ENTRY_H

#include "datagrams.h"
#include "msghdr.h"

/* The agent's own send: remember the connection, so that its peer's view is left alone. */
INLINE void note_self(struct member_fields_offset *o, s32 fd)
{
	int zero = 0;
	struct socket_state_t *st = socket_buf.lookup(&zero);
	struct self_conn_t mine = {};
	u64 sk = sock_of_fd(o, fd);
	u32 one = 1;

	if (!sk || !st)
		return;
	__builtin_memset(st, 0, sizeof(*st));
	st->family = sock_family(o, sk);
	if (st->family == FAMILY_UNIX || st->family == FAMILY_NONE)
		return;
	sock_addresses(o, sk, st);
	self_conn_addr(&mine, st->family, st->local_addr);
	mine.port = st->local_port;
	self_conn_map.update(&mine, &one);
}

/* A send on its way in. Its buffer, its place in the stream and its time are taken
 * here: the peer cannot have read it yet. */
INLINE int run_enter_send(void *ctx)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 tgid = id >> 32;
	struct member_fields_offset *o = offsets();
	struct trace_conf_t *conf = config();
	struct op_t *op = operation();
	struct data_args_t args = {};
	u64 now;

	if (!o || !o->ready || !conf || !op)
		return 0;
	s32 fd = op->rec.fd;
	u64 buf = op->buf, count_ = op->count, iovcnt = op->iovcnt;
	u8 call = op->rec.syscall;
	if (tgid == conf->self_tgid) {
		note_self(o, fd);
		return 0;
	}
	u64 datagram = 0;
	u64 sk = sock_of_any(o, fd, &datagram);
	if (!sk) {
		op->sk = datagram;
		if (datagram)
			__progs_jmp_tp_map.call(ctx, PROG_DATAGRAM_SEND);
		return 0;
	}
	now = bpf_ktime_get_ns();
	bool deferred = call == CALL_SENDMMSG;
	if (iovcnt && !deferred) {
		s64 total = iov_total(op, buf, iovcnt);
		if (total < 0)
			deferred = true;
		count_ = total;
	}
	if (!deferred && count_ == 0)
		return 0;
	u32 seq = 0;
	READ_KERNEL(seq, sk, o->tcp_write_seq);
	/* A plain send's exit finds its arguments in the registers. */
	if (!conf->registers || iovcnt || deferred) {
		args.ts = now;
		args.buf = buf;
		args.count = count_;
		args.iovcnt = iovcnt;
		args.fd = fd;
		args.call = call;
		args.deferred = deferred;
		args.seq = seq;
		if (__active_write_args_map.update(&id, &args)) {
			count(STAT_ARGS_MAP_FULL);
			return 0;
		}
		if (deferred)
			return 0;
	}
	op = op_start(id, EGRESS, fd, call, now);
	if (!op)
		return 0;
	op->sk = sk;
	op->buf = buf;
	op->iovcnt = iovcnt;
	op->count = count_;
	op->rec.length = count_;
	op->seq = seq;
	op->at_entry = 1;
	__progs_jmp_tp_map.call(ctx, PROG_DATA);
	return 0;
}

/* Every send enters here; what follows is one program for all of them. */
INLINE int enter_send(void *ctx, s32 fd, u64 buf, u64 count_, u64 iovcnt, u8 call)
{
	u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct trace_conf_t *conf = config();
	struct op_t *op = operation();

	if (!conf || !op || (tgid != conf->self_tgid && !process_chosen(conf, tgid)))
		return 0;
	op->rec.fd = fd;
	op->rec.syscall = call;
	op->buf = buf;
	op->count = count_;
	op->iovcnt = iovcnt;
	__progs_jmp_tp_map.call(ctx, PROG_ENTER_SEND);
	return 0;
}

#endif
