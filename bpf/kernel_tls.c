/* Programs that have the kernel encrypt what they say (TCP_ULP "tls"). What they write then is no
 * ciphertext, and what OpenSSL writes for them leaves without a record's header: who does so is
 * told, for its calls are missing. A kernel that cannot do it refuses, and nothing changes. */
#include "asking.h"
#include "remembered.h"

#define SOL_TCP 6
#define TCP_ULP 31

int enter_setsockopt(struct sys_enter_args *c)
{
	u8 name[4] = {};

	if (c->args[1] != SOL_TCP || c->args[2] != TCP_ULP || c->args[4] < 3 ||
	    read_user(name, 3, c->args[3]) || name[0] != 't' || name[1] != 'l' || name[2] != 's')
		return 0;
	return remember(CALL_SETSOCKOPT, c->args[0], -1);
}

int exit_setsockopt(struct sys_exit_args *c)
{
	struct data_args_t args;

	if (recall(CALL_SETSOCKOPT, &args) && !c->ret)
		ask_about(c, bpf_get_current_pid_tgid() >> 32, PROCESS_HAS_KERNEL_TLS, args.ts);
	return 0;
}
