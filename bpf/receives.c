/* Tracepoint pairs of the calls that receive bytes. All is told at the exit. */
#include "datagrams.h"
#include "msghdr.h"
#include "registers.h"

#define MSG_OOB 1
#define MSG_PEEK 2
#define MSG_TRUNC 0x20
#define MSG_ERRQUEUE 0x2000
/* What such a receive returns stays where it is, or never was in the stream. */
#define BESIDE_STREAM (MSG_PEEK | MSG_OOB | MSG_ERRQUEUE)

INLINE int enter_receive(s32 fd, u64 buf, u64 count_, u64 iovcnt, u8 call, u64 flags, u64 name)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 tgid = id >> 32;
	struct data_args_t args = {};

	if (!tracing(tgid))
		return 0;
	args.buf = buf;
	args.count = count_;
	args.iovcnt = iovcnt;
	args.fd = fd;
	args.call = call;
	args.name = name;
	args.peek = (flags & BESIDE_STREAM) != 0;
	args.discard = (flags & MSG_TRUNC) != 0;
	if (__active_read_args_map.update(&id, &args))
		count(STAT_ARGS_MAP_FULL);
	return 0;
}

INLINE int exit_receive(void *ctx, long ret, u8 call)
{
	u64 id = bpf_get_current_pid_tgid();
	struct data_args_t *known;
	struct trace_conf_t *conf = config();
	u32 tgid = id >> 32;

	if (!conf)
		return 0;
	known = conf->registers ? 0 : __active_read_args_map.lookup(&id);
	if (!known) {
		/* Arguments are read from the registers; or it slept in this call since
		 * before the agent came; or it is not to be traced. */
		if ((ret >= 0 || fatal(ret)) && tracing(tgid))
			__progs_jmp_tp_map.call(ctx, PROG_EXIT_RECEIVE);
		return 0;
	}
	/* EAGAIN is the most frequent answer there is. */
	if (known->call == call && !known->peek && ret != -EAGAIN)
		__progs_jmp_tp_map.call(ctx, PROG_EXIT_RECEIVE);
	__active_read_args_map.delete(&id);
	return 0;
}

/* A receive's arguments at its exit: one probe instead of two, and no map. */
INLINE bool recover_receive(struct member_fields_offset *o, struct sys_exit_args *c,
			    struct data_args_t *args)
{
	struct entry_regs regs = {};
	u64 iov = 0, n = 0, flags = 0, nr = (u32)c->nr;

	if (!read_entry_regs(o, c->nr, &regs))
		return false;
	u64 di = regs.di, si = regs.si, dx = regs.dx, r10 = regs.r10;
	args->fd = di;
	args->buf = si;
	args->count = dx;
	if (nr == NR_READ) {
		args->call = CALL_READ;
	} else if (nr == NR_RECVFROM) {
		args->call = CALL_RECVFROM;
		flags = r10;
	} else if (nr == NR_READV) {
		args->call = CALL_READV;
		args->iovcnt = dx;
	} else if (nr == NR_RECVMSG) {
		args->call = CALL_RECVMSG;
		read_msghdr(si, &iov, &n);
		args->buf = iov;
		args->iovcnt = n;
		flags = dx;
	} else if (nr == NR_RECVMMSG) {
		args->call = CALL_RECVMMSG;
		flags = r10;
	} else {
		return false;
	}
	args->discard = (flags & MSG_TRUNC) != 0;
	return !(flags & BESIDE_STREAM);
}

/* One program for what every receive brought. */
INLINE int run_exit_receive(struct sys_exit_args *ctx, long ret)
{
	u64 id = bpf_get_current_pid_tgid();
	struct data_args_t *known = 0;
	struct data_args_t args = {};
	struct member_fields_offset *o = offsets();
	struct trace_conf_t *conf = config();

	if (!o || !o->ready || !conf)
		return 0;
	if (!conf->registers)
		known = __active_read_args_map.lookup(&id);
	if (known) {
		args = *known;
		__active_read_args_map.delete(&id);
	} else if (!recover_receive(o, ctx, &args)) {
		return 0;
	}
	u8 call = args.call;
	u64 datagram = 0;
	u64 sk = sock_of_any(o, args.fd, &datagram);
	struct op_t *op = op_start(id, INGRESS, args.fd, call, bpf_ktime_get_ns());
	if (!sk && ret > 0) {
		turn_does(0); /* a pipe, an eventfd: what follows has another cause */
		pool_signalled(ctx, id, args.fd, ret);
	}
	if (!sk || !op) {
		if (datagram && op)
			datagram_taken(ctx, op, &args, datagram, ret);
		return 0;
	}
	op->sk = sk;
	op->buf = args.buf;
	op->iovcnt = args.iovcnt;
	op->count = ret;
	if (call == CALL_RECVMMSG && ret > 0)
		read_mmsg(op, args.buf, ret);
	if (ret <= 0 || op->count == 0) {
		/* End of stream or failure: told for conversations that are followed. Who
		 * asks for nothing gets nothing, which is no end. */
		if (ret < 0 ? !fatal(ret)
			    : op->iovcnt ? iov_total(op, op->buf, op->iovcnt) == 0 : args.count == 0)
			return 0;
		struct socket_state_t *st = socket_state_map.lookup(&sk);
		if (st && !st->ignore) {
			turn_ends(sk, st);
			tell(ctx, ret < 0 ? RECORD_ERROR : RECORD_EOF, id, st, INGRESS,
			     ret < 0 ? -ret : 0, 0);
		}
		return 0;
	}
	if (args.discard && sock_family(o, sk) != FAMILY_UNIX)
		op->buf = 0;
	op->rec.length = op->count;
	__progs_jmp_tp_map.call(ctx, PROG_DATA);
	return 0;
}

int prog_exit_receive(struct sys_exit_args *c)
{
	return run_exit_receive(c, c->ret);
}

int enter_read(struct sys_enter_args *c)
{
	return enter_receive(c->args[0], c->args[1], c->args[2], 0, CALL_READ, 0, 0);
}

int exit_read(struct sys_exit_args *c)
{
	return exit_receive(c, c->ret, CALL_READ);
}

int enter_recvfrom(struct sys_enter_args *c)
{
	return enter_receive(c->args[0], c->args[1], c->args[2], 0, CALL_RECVFROM, c->args[3],
			     c->args[4]);
}

int exit_recvfrom(struct sys_exit_args *c)
{
	return exit_receive(c, c->ret, CALL_RECVFROM);
}

int enter_readv(struct sys_enter_args *c)
{
	return enter_receive(c->args[0], c->args[1], 1, c->args[2], CALL_READV, 0, 0);
}

int exit_readv(struct sys_exit_args *c)
{
	return exit_receive(c, c->ret, CALL_READV);
}

int enter_recvmsg(struct sys_enter_args *c)
{
	u64 iov = 0, n = 0;

	read_msghdr(c->args[1], &iov, &n);
	return enter_receive(c->args[0], iov, n, n, CALL_RECVMSG, c->args[2],
			     c->args[1]);
}

int exit_recvmsg(struct sys_exit_args *c)
{
	return exit_receive(c, c->ret, CALL_RECVMSG);
}

int enter_recvmmsg(struct sys_enter_args *c)
{
	return enter_receive(c->args[0], c->args[1], c->args[2], 0, CALL_RECVMMSG, c->args[3], 0);
}

int exit_recvmmsg(struct sys_exit_args *c)
{
	return exit_receive(c, c->ret, CALL_RECVMMSG);
}

/* Tells user space, which calls it from a thread of its own, whether registers can be
 * read here. */
int exit_getppid(struct sys_exit_args *c)
{
	struct trace_conf_t *conf = config();
	struct member_fields_offset *o = offsets();
	struct entry_regs regs = {};
	int zero = 0;
	struct trace_stats *stats = __trace_stats_map.lookup(&zero);

	if (!conf || !o || !stats || bpf_get_current_pid_tgid() >> 32 != conf->self_tgid)
		return 0;
	if (read_entry_regs(o, c->nr, &regs) && regs.ax == c->ret)
		stats->counts[STAT_REGISTERS] = 1;
	return 0;
}
