/* Sends as they leave: confirmed, put right, or told of only now. */
#ifndef OTEL_EBPF_SEND_EXIT_H
#define OTEL_EBPF_SEND_EXIT_H

#include "datagrams.h"
#include "msghdr.h"
#include "registers.h"

/* The send moved less than its record says. */
INLINE void correct_send(void *ctx, u64 id, s32 fd, u64 asked, long ret)
{
	struct member_fields_offset *o = offsets();
	u64 sk, moved = ret > 0 ? ret : 0, missing = asked - moved;
	struct socket_state_t *st;

	if (!o)
		return;
	sk = sock_of_fd(o, fd);
	st = socket_state_map.lookup(&sk);
	if (!st)
		return;
	if (st->tls) { /* ciphertext: what the program wrote is on its way all the same */
		tls_write_short(ctx, id, sk, st, fatal(ret));
		if (fatal(ret))
			tell(ctx, RECORD_ERROR, id, st, EGRESS, -ret, 0);
		return;
	}
	struct sent_t *sent = &st->sent;
	if (sent->tid != (u32)id || sent->count != asked) {
		/* Another thread has sent on it meanwhile: where bytes are missing is not known. */
		if (missing)
			tell(ctx, RECORD_CORRECTION, id, st, EGRESS, moved, 0);
		sent = 0;
	}
	st->bytes[EGRESS] -= missing;
	if (sent && moved == 0)
		take_back(st); /* the run begins anew with the next try */
	if (sent && sent->generation) { /* else of no known protocol */
		struct __socket_data *r = burst_record(sent->generation, sent->offset);
		count(moved ? STAT_SHORT_SENDS : STAT_TAKEN_BACK);
		if (r && r->socket_id == st->socket_id && r->length == asked) {
			r->length = moved;
			if (r->data_len > moved)
				r->data_len = moved;
			if (moved == 0)
				r->type = RECORD_VOID;
		} else {
			tell(ctx, RECORD_CORRECTION, id, st, EGRESS, moved, sent->ts);
		}
		sent->tid = 0;
	}
	if (fatal(ret))
		tell(ctx, RECORD_ERROR, id, st, EGRESS, -ret, 0);
}

/* A send on its way out: confirmed when all was taken, else put right. */
INLINE int exit_send(void *ctx, long ret, u8 call)
{
	u64 id = bpf_get_current_pid_tgid();
	struct data_args_t *known = __active_write_args_map.lookup(&id);

	if (!known)
		return 0;
	if (known->call == call) {
		if (known->deferred || ret != (long)known->count)
			__progs_jmp_tp_map.call(ctx, PROG_EXIT_SEND);
	}
	forget_send(id);
	return 0;
}

/* The same for a send of one buffer: the registers still hold its arguments. */
INLINE int exit_plain_send(struct sys_exit_args *c, u8 call)
{
	struct member_fields_offset *o = offsets();
	struct trace_conf_t *conf = config();
	struct entry_regs regs = {};
	int zero = 0;

	if (!conf || !o)
		return 0;
	if (!conf->registers)
		return exit_send(c, c->ret, call);
	u64 *sends = deferred_sends.lookup(&zero);
	if (sends && *sends)
		exit_send(c, c->ret, call);
	if (c->ret >= 0 && (!read_entry_regs(o, c->nr, &regs) || c->ret == (long)regs.dx))
		return 0;
	if (tracing(bpf_get_current_pid_tgid() >> 32))
		__progs_jmp_tp_map.call(c, PROG_EXIT_SEND);
	return 0;
}

/* The rarer ways out: not all was taken, or how much there was is known only now. */
INLINE int run_exit_send(struct sys_exit_args *ctx, long ret)
{
	u64 id = bpf_get_current_pid_tgid();
	struct data_args_t *known = __active_write_args_map.lookup(&id);
	struct member_fields_offset *o = offsets();
	struct data_args_t args = {};

	if (!o || !o->ready)
		return 0;
	if (known) {
		args = *known;
		forget_send(id);
	} else {
		struct entry_regs regs = {};
		if (!read_entry_regs(o, ctx->nr, &regs))
			return 0;
		args.fd = regs.di;
		args.count = regs.dx;
	}
	u8 call = args.call;
	if (!args.deferred) {
		correct_send(ctx, id, args.fd, args.count, ret);
		return 0;
	}
	u64 datagram = 0;
	u64 sk = sock_of_any(o, args.fd, &datagram);
	if (datagram) {
		datagram_sent(ctx, id, &args, datagram, ret);
		return 0;
	}
	if (ret <= 0) {
		struct socket_state_t *st = socket_state_map.lookup(&sk);
		if (st && !st->ignore && fatal(ret))
			tell(ctx, RECORD_ERROR, id, st, EGRESS, -ret, 0);
		return 0;
	}
	struct op_t *op = op_start(id, EGRESS, args.fd, call, args.ts);
	if (!sk || !op)
		return 0;
	op->rec.flags = FLAG_DEFERRED;
	op->seq = args.seq;
	op->rec.end_ts = bpf_ktime_get_ns();
	op->sk = sk;
	op->buf = args.buf;
	op->iovcnt = args.iovcnt;
	op->count = ret;
	if (call == CALL_SENDMMSG)
		read_mmsg(op, args.buf, ret);
	op->rec.length = op->count;
	__progs_jmp_tp_map.call(ctx, PROG_DATA);
	return 0;
}

#endif
