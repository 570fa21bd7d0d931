/* Bytes that move between descriptors without a buffer of the program's. */
#include "remembered.h"

int enter_sendfile(struct sys_enter_args *c)
{
	return remember(CALL_SENDFILE, -1, c->args[0]);
}

int enter_splice(struct sys_enter_args *c)
{
	return remember(CALL_SPLICE, c->args[0], c->args[2]);
}

/* Bytes that moved without a buffer: only their number is known. */
INLINE int moved(void *ctx, u8 call, long ret)
{
	struct member_fields_offset *o = offsets();
	u64 id = bpf_get_current_pid_tgid(), sk = 0;
	struct data_args_t args;
	struct op_t *op;
	u8 direction = EGRESS;
	s32 fd;

	if (!recall(call, &args) || ret <= 0 || !o || !o->ready)
		return 0;
	fd = args.other_fd;
	sk = sock_of_fd(o, fd);
	if (!sk && args.fd >= 0) {
		fd = args.fd;
		sk = sock_of_fd(o, fd);
		direction = INGRESS;
	}
	if (!sk)
		return 0;
	op = op_start(id, direction, fd, call, direction == EGRESS ? args.ts : bpf_ktime_get_ns());
	if (!op)
		return 0;
	op->rec.end_ts = bpf_ktime_get_ns();
	op->rec.length = ret;
	op->sk = sk;
	op->count = ret;
	if (direction == EGRESS) {
		/* write_seq has moved on by now. */
		u32 seq = 0;
		READ_KERNEL(seq, sk, o->tcp_write_seq);
		op->rec.flags = FLAG_DEFERRED;
		op->seq = seq - (u32)ret;
	}
	__progs_jmp_tp_map.call(ctx, PROG_DATA);
	return 0;
}

int exit_sendfile(struct sys_exit_args *c)
{
	return moved(c, CALL_SENDFILE, c->ret);
}

int exit_splice(struct sys_exit_args *c)
{
	return moved(c, CALL_SPLICE, c->ret);
}
