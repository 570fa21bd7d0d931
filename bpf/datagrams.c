/* Datagrams' programs that need to know at which end of a call they are. */
#include "datagrams.h"
#include "registers.h"

int prog_datagram_send(struct sys_enter_args *c)
{
	return run_datagram_send(c);
}

int prog_datagram_receive(struct sys_exit_args *c)
{
	struct trace_conf_t *conf = config();
	struct member_fields_offset *o = offsets();
	struct op_t *op = operation();
	struct entry_regs regs = {};
	u64 name = 0;

	if (!conf || !o || !op || datagrams_ignored(o, op->rec.tgid, op->rec.fd, op->sk))
		return 0;
	if (conf->registers && read_entry_regs(o, c->nr, &regs))
		name = (u32)c->nr == NR_RECVFROM ? regs.r8 : (u32)c->nr == NR_RECVMSG ? regs.si : 0;
	return run_datagram_receive(c, name);
}
