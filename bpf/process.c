/* Processes come and go; and the agent's call that empties this CPU's burst. */
#include "probe.h"

struct raw_args {
	u64 args[0];
};

/* Tail calls follow each other 33 times at the most. */
#define SWEPT_AT_ONCE 8
#define SWEPT_FDS 256

INLINE void tell_process(void *ctx, u8 type, u32 tgid, u32 tid, u64 other)
{
	u64 now = bpf_ktime_get_ns(), at = 0;
	struct __socket_data_buffer *b = burst_reserve(ctx, now, &at);

	if (!b || at > BURST_DATA - RECORD_ROOM)
		return;
	struct __socket_data *r = (struct __socket_data *)(b->data + at);
	__builtin_memset(r, 0, sizeof(*r));
	r->type = type;
	r->tgid = tgid;
	r->tid = tid;
	r->ts = now;
	r->end_ts = now;
	r->uid = other;
	bpf_get_current_comm(r->local_addr, 16);
	r->size = sizeof(*r);
	burst_commit(b, sizeof(*r));
	/* A short program must be looked at before it is gone. */
	if (type == RECORD_EXEC)
		burst_submit(ctx, b);
}

int on_fork(struct raw_args *c)
{
	struct member_fields_offset *o = offsets();
	u64 child = c->args[1];
	u32 parent = bpf_get_current_pid_tgid() >> 32, tgid = 0, pid = 0, one = 1;

	if (!o || !o->ready)
		return 0;
	READ_KERNEL(tgid, child, o->task_tgid);
	READ_KERNEL(pid, child, o->task_pid);
	if (tgid != pid || !tgid)
		return 0; /* a thread */
	struct trace_conf_t *conf = config();
	if (!conf || parent == conf->self_tgid)
		return 0;
	/* A chosen process's children are chosen; a copy of a Go process is one. */
	if (target_map.lookup(&parent))
		target_map.update(&tgid, &one);
	struct proc_info_t *pi = proc_info_map.lookup(&parent);
	if (pi)
		proc_info_map.update(&tgid, pi);
	tell_process(c, RECORD_FORK, tgid, pid, parent);
	return 0;
}

int on_exec(struct raw_args *c)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 tgid = id >> 32;

	proc_info_map.delete(&tgid); /* another program now */
	tell_process(c, RECORD_EXEC, tgid, (u32)id, 0);
	return 0;
}

int on_exit(void *c)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 tgid = id >> 32, tid = (u32)id;
	u64 unit = id;
	struct op_t *op = operation();

	/* Killed inside a call, its arguments would stay. */
	__active_write_args_map.delete(&id);
	__active_read_args_map.delete(&id);
	if (__trace_map.lookup(&unit)) {
		__trace_map.delete(&unit);
		count(STAT_TRACES_CLOSED);
	}
	if (tid != tgid || !op)
		return 0;
	op->rec.fd = 0;
	__progs_jmp_tp_map.call(c, PROG_SWEEP);
	return 0;
}

/* A process ends without closing anything: its descriptors go, some at a time. */
int prog_sweep(void *c)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 tgid = id >> 32;
	struct op_t *op = operation();

	if (!op)
		return 0;
	s32 first = op->rec.fd;
	NO_UNROLL
	for (s32 i = 0; i < SWEPT_AT_ONCE; i++)
		drop_fd(c, id, first + i);
	op->rec.fd = first + SWEPT_AT_ONCE;
	if (first + SWEPT_AT_ONCE < SWEPT_FDS)
		__progs_jmp_tp_map.call(c, PROG_SWEEP);
	proc_info_map.delete(&tgid);
	target_map.delete(&tgid);
	tell_process(c, RECORD_EXIT, tgid, (u32)id, 0);
	return 0;
}

/* The agent, pinned to this CPU, asks for what has gathered here. */
int enter_getppid(struct sys_enter_args *c)
{
	struct trace_conf_t *conf = config();
	struct __socket_data_buffer *b = burst();

	if (!conf || !b || bpf_get_current_pid_tgid() >> 32 != conf->self_tgid)
		return 0;
	if (b->events_num) {
		count(STAT_FLUSHES);
		burst_submit(c, b);
	}
	return 0;
}
