/* Sockets come, are copied and go. */
#include "remembered.h"

/* The descriptor no longer stands for its socket. */
INLINE void drop_fd(void *ctx, u64 id, s32 fd)
{
	u32 tgid = id >> 32;
	u64 key = fd_key(tgid, fd);
	struct socket_info_t *info = __socket_info_map.lookup(&key);

	if (!info)
		return;
	u64 sk = info->sk, socket_id = info->socket_id;
	__socket_info_map.delete(&key);
	struct socket_state_t *st = socket_state_map.lookup(&sk);
	if (!st || st->socket_id != socket_id)
		return;
	st->last_key = 0;
	turn_closes(sk, st);
	if (st->refs > 1) {
		st->refs -= 1;
		return;
	}
	if (st->tls)
		tls_write_failed(ctx, id, sk, st);
	if (!st->ignore)
		tell(ctx, RECORD_CLOSE, id, st, 0, 0, 0);
	socket_forget(sk, tgid, st);
}

int enter_close(struct sys_enter_args *c)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 tgid = id >> 32;

	if (tracing(tgid))
		drop_fd(c, id, c->args[0]);
	return 0;
}

/* A new descriptor: whatever the number stood for before is gone. */
int exit_socket(struct sys_exit_args *c)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 tgid = id >> 32;

	if (c->ret >= 0 && tracing(tgid))
		drop_fd(c, id, c->ret);
	return 0;
}

/* Starts a socket afresh with the role that the call gives it. */
INLINE struct socket_state_t *start_socket(void *ctx, struct member_fields_offset *o, u64 id,
					   s32 fd, u8 role, u64 *sk_out)
{
	u32 tgid = id >> 32;
	u64 now = bpf_ktime_get_ns();
	u64 sk = sock_of_fd(o, fd);
	struct socket_state_t *st;

	if (!sk)
		return 0;
	/* What is known of it belongs to an earlier connection. */
	st = socket_state_map.lookup(&sk);
	if (st)
		socket_forget(sk, tgid, st);
	st = socket_create(o, sk, tgid, now);
	if (st) {
		socket_refer(tgid, fd, sk, st, now);
		st->role = o->armed ? role : ROLE_UNKNOWN;
		if (st->family == FAMILY_UNIX)
			*(u64 *)st->local_addr = st->socket_id;
	}
	*sk_out = sk;
	return st;
}

/* Its entry is of no interest: workers wait in it long before the agent comes. */
int exit_accept(struct sys_exit_args *c)
{
	u64 id = bpf_get_current_pid_tgid(), sk = 0;
	u32 tgid = id >> 32, one = 1;
	struct member_fields_offset *o = offsets();
	struct trace_conf_t *conf = config();

	if (c->ret < 0 || !o || !o->ready || !conf || !tracing(tgid))
		return 0;
	drop_fd(c, id, c->ret);
	struct socket_state_t *st = start_socket(c, o, id, c->ret, ROLE_SERVER, &sk);
	/* --port names services: all that this process does is of interest now. */
	if (st && (conf->filter & FILTER_PORTS) && port_allowed(st->local_port))
		target_map.update(&tgid, &one);
	return 0;
}

int enter_connect(struct sys_enter_args *c)
{
	return remember(CALL_CONNECT, c->args[0], 0);
}

int exit_connect(struct sys_exit_args *c)
{
	u64 id = bpf_get_current_pid_tgid(), sk = 0;
	struct member_fields_offset *o = offsets();
	struct data_args_t args;

	if (!recall(CALL_CONNECT, &args) || !o || !o->ready)
		return 0;
	if (c->ret && c->ret != -EINPROGRESS)
		return 0;
	struct socket_state_t *st = start_socket(c, o, id, args.fd, ROLE_CLIENT, &sk);
	struct op_t *op = op_start(id, EGRESS, args.fd, CALL_CONNECT, bpf_ktime_get_ns());
	if (!st || !op)
		return 0;
	find_unit(o, op, 0);
	inherit(op, st, op->rec.ts);
	if (op->turns)
		turn_connects(sk, st, op->rec.ts);
	return 0;
}

int enter_shutdown(struct sys_enter_args *c)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 tgid = id >> 32;
	struct member_fields_offset *o = offsets();

	if (!o || !o->ready || !tracing(tgid) || c->args[1] == 0)
		return 0;
	u64 sk = sock_of_fd(o, c->args[0]);
	struct socket_state_t *st = socket_state_map.lookup(&sk);
	if (sk && st && !st->ignore)
		tell(c, RECORD_EOF, id, st, EGRESS, 0, 0);
	return 0;
}

int enter_dup(struct sys_enter_args *c)
{
	return remember(CALL_DUP, c->args[0], -1);
}

int enter_dup2(struct sys_enter_args *c)
{
	return remember(CALL_DUP, c->args[0], c->args[1]);
}

#define F_DUPFD 0
#define F_DUPFD_CLOEXEC 1030

int enter_fcntl(struct sys_enter_args *c)
{
	if (c->args[1] != F_DUPFD && c->args[1] != F_DUPFD_CLOEXEC)
		return 0;
	return remember(CALL_DUP, c->args[0], -1);
}

/* The copy holds a reference of its own, so that closing one ends nothing. */
int exit_dup(struct sys_exit_args *c)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 tgid = id >> 32;
	struct data_args_t args;

	if (!recall(CALL_DUP, &args) || c->ret < 0 || c->ret == args.fd)
		return 0;
	drop_fd(c, id, c->ret);
	u64 key = fd_key(tgid, args.fd);
	struct socket_info_t *info = __socket_info_map.lookup(&key);
	if (!info)
		return 0;
	u64 sk = info->sk;
	struct socket_state_t *st = socket_state_map.lookup(&sk);
	if (st && st->socket_id == info->socket_id)
		socket_refer(tgid, c->ret, sk, st, args.ts);
	return 0;
}
