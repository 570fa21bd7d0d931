/* Who bore the goroutines between one that calls and the one whose request it inherits, where
 * memory tells only who bore the calling one (Go 1.21 and later): by a uprobe behind the `go`
 * statements that start such goroutines, and only those. It fires on the goroutine that has just
 * executed the statement, whose own birth is in its g. The stack and hash maps only. */
#include "probe.h"

int go_statement(struct pt_regs *regs)
{
	u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct proc_info_t *pi = proc_info_map.lookup(&tgid);
	struct go_key key = {.tgid = tgid};
	struct go_newborn_t born = {}; /* when it was born is told by its number */
	u64 g = regs->r14, parent = 0;

	if (!pi || pi->stack_abi || pi->newproc || pi->g_goid < 0 || pi->g_parent_goid < 0)
		return 0;
	READ_USER(key.goid, g, pi->g_goid);
	READ_USER(parent, g, pi->g_parent_goid);
	if (!key.goid || !parent || go_ancerstor_map.lookup(&key))
		return 0;
	if (pi->g_startpc >= 0)
		READ_USER(born.site, g, pi->g_startpc);
	go_newborn_map.update(&key, &born);
	go_ancerstor_map.update(&key, &parent);
	return 0;
}
