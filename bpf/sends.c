/* Tracepoint pairs of the calls that send bytes. */
#include "send_entry.h"
#include "send_exit.h"

int prog_enter_send(struct sys_enter_args *c)
{
	return run_enter_send(c);
}

int prog_exit_send(struct sys_exit_args *c)
{
	return run_exit_send(c, c->ret);
}

int enter_write(struct sys_enter_args *c)
{
	if (c->args[2] == POOL_SIGNAL)
		pool_signals(bpf_get_current_pid_tgid(), c->args[0]);
	return enter_send(c, c->args[0], c->args[1], c->args[2], 0, CALL_WRITE);
}

int exit_write(struct sys_exit_args *c)
{
	return exit_plain_send(c, CALL_WRITE);
}

int enter_sendto(struct sys_enter_args *c)
{
	return enter_send(c, c->args[0], c->args[1], c->args[2], 0, CALL_SENDTO);
}

int exit_sendto(struct sys_exit_args *c)
{
	return exit_plain_send(c, CALL_SENDTO);
}

int enter_writev(struct sys_enter_args *c)
{
	return enter_send(c, c->args[0], c->args[1], 0, c->args[2], CALL_WRITEV);
}

int exit_writev(struct sys_exit_args *c)
{
	return exit_send(c, c->ret, CALL_WRITEV);
}

int enter_sendmsg(struct sys_enter_args *c)
{
	u64 iov = 0, n = 0;

	read_msghdr(c->args[1], &iov, &n);
	return enter_send(c, c->args[0], iov, 0, n, CALL_SENDMSG);
}

int exit_sendmsg(struct sys_exit_args *c)
{
	return exit_send(c, c->ret, CALL_SENDMSG);
}

int enter_sendmmsg(struct sys_enter_args *c)
{
	return enter_send(c, c->args[0], c->args[1], 0, 0, CALL_SENDMMSG);
}

int exit_sendmmsg(struct sys_exit_args *c)
{
	return exit_send(c, c->ret, CALL_SENDMMSG);
}
