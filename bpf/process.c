/* Processes come and go; and the agent's call that empties this CPU's burst. */
#include "probe.h"

struct raw_args {
	u64 args[0];
};

/* Tail calls follow each other 33 times at the most. */
#define SWEPT_AT_ONCE 8
#define SWEPT_FDS 256

/* Room in the running process's table of descriptors: no number above it is in use. */
INLINE u32 fd_room(struct member_fields_offset *o)
{
	u32 room = SWEPT_FDS;

	open_files(o, &room);
	return room;
}

/* A child holds its parent's sockets too: the parent's close is not the last one. */
INLINE void refer_all(struct member_fields_offset *o, u32 parent, u32 child)
{
	u32 room = fd_room(o);

	NO_UNROLL
	for (s32 fd = 0; fd < SWEPT_FDS; fd++) {
		u64 key = fd_key(parent, fd);
		if ((u32)fd >= room)
			break;
		struct socket_info_t *info = __socket_info_map.lookup(&key);
		if (!info)
			continue;
		u64 sk = info->sk;
		struct socket_state_t *st = socket_state_map.lookup(&sk);
		key = fd_key(child, fd);
		if (st && st->socket_id == info->socket_id &&
		    __socket_info_map.update(&key, info) == 0)
			st->refs += 1;
	}
}

INLINE void tell_process(void *ctx, u8 type, u32 tgid, u32 tid, u64 other)
{
	u64 id = (u64)tgid << 32 | tid, now = bpf_ktime_get_ns();
	struct __socket_data_buffer *b;
	struct __socket_data *r = burst_begin(ctx, &b, type, id, now);

	if (!r)
		return;
	r->uid = other;
	bpf_get_current_comm(r->local_addr, 16);
	burst_commit(b, sizeof(*r));
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
	if (tgid != pid || !tgid) {
		pool_bears(tgid, pid); /* a thread */
		return 0;
	}
	ended_map.delete(&tgid); /* whoever had this number before */
	chosen_anew(tgid);
	struct trace_conf_t *conf = config();
	if (!conf || parent == conf->self_tgid)
		return 0;
	/* A chosen process's children are chosen; a copy of a Go process is one. */
	if (target_map.lookup(&parent))
		target_map.update(&tgid, &one);
	struct proc_info_t *pi = proc_info_map.lookup(&parent);
	if (pi)
		proc_info_map.update(&tgid, pi);
	struct python_info_t *py = python_info_map.lookup(&parent);
	if (py)
		python_info_map.update(&tgid, py);
	struct pool_info_t *pool = pool_map.lookup(&parent);
	if (pool)
		pool_map.update(&tgid, pool);
	refer_all(o, parent, tgid);
	tell_process(c, RECORD_FORK, tgid, pid, parent);
	return 0;
}

/* Goes through the descriptors, some at a time, then tells `type`. */
INLINE void sweep(void *c, struct op_t *op, u8 type)
{
	op->rec.fd = 0;
	op->rec.type = type;
	__progs_jmp_tp_map.call(c, PROG_SWEEP);
}

int on_exec(void *c)
{
	u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct op_t *op = operation();

	proc_info_map.delete(&tgid); /* another program now */
	python_info_map.delete(&tgid);
	ssl_process_map.delete(&tgid);
	u32 other = tgid | PROCESS_SPEAKS_QUIC;
	ssl_process_map.delete(&other);
	other = tgid | PROCESS_HAS_KERNEL_TLS;
	ssl_process_map.delete(&other);
	pool_map.delete(&tgid);
	u64 id = bpf_get_current_pid_tgid();
	node_heap_map.delete(&id);
	go_thread_ends(id);
	/* A short one must be looked at before it is gone. */
	process_events.perf_submit(c, &tgid, sizeof(tgid));
	if (op)
		sweep(c, op, RECORD_EXEC);
	return 0;
}

int on_exit(void *c)
{
	u64 id = bpf_get_current_pid_tgid();
	u64 unit = id, task = bpf_get_current_task(), signal = 0;
	struct member_fields_offset *o = offsets();
	struct op_t *op = operation();
	u32 live = 0, tgid = id >> 32, one = 1;

	/* Killed inside a call, its arguments would stay. */
	forget_send(id);
	__active_read_args_map.delete(&id);
	go_thread_ends(id);
	/* It may end inside of a call of OpenSSL, which then never returns. */
	struct go_key call = {.goid = TLS_THREAD | (u32)id, .tgid = id >> 32};
	tls_conn_map.delete(&call);
	pool_threads.delete(&id);
	node_heap_map.delete(&id);
	py_workers.delete(&id);
	if (__trace_map.lookup(&unit)) {
		__trace_map.delete(&unit);
		count(STAT_TRACES_CLOSED);
	}
	if (!op || !o || !o->ready)
		return 0;
	/* The main thread may end long before its process does. */
	READ_KERNEL(signal, task, o->task_signal);
	READ_KERNEL(live, signal, o->signal_live);
	/* Threads that end together may all find that none is left: the first one tells. */
	if (!live && ended_map.insert(&tgid, &one) == 0)
		sweep(c, op, RECORD_EXIT);
	return 0;
}

/* A process that ends closes nothing itself; one that runs a new program has closed what
 * was not to survive that, and keeps the others. */
int prog_sweep(void *c)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 tgid = id >> 32;
	struct member_fields_offset *o = offsets();
	struct op_t *op = operation();

	if (!op || !o)
		return 0;
	s32 first = op->rec.fd;
	u8 type = op->rec.type;
	NO_UNROLL
	for (s32 i = 0; i < SWEPT_AT_ONCE; i++) {
		u64 key = fd_key(tgid, first + i);
		struct socket_info_t *info = __socket_info_map.lookup(&key);
		if (info && (type == RECORD_EXIT || sock_of_fd(o, first + i) != info->sk))
			drop_fd(c, id, first + i);
	}
	first += SWEPT_AT_ONCE;
	op->rec.fd = first;
	if (first < SWEPT_FDS && (u32)first < fd_room(o))
		__progs_jmp_tp_map.call(c, PROG_SWEEP);
	if (type == RECORD_EXIT) {
		proc_info_map.delete(&tgid);
		python_info_map.delete(&tgid);
		pool_map.delete(&tgid);
		target_map.delete(&tgid);
		chosen_anew(tgid);
	}
	tell_process(c, type, tgid, type == RECORD_EXIT ? tgid : (u32)id, 0);
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
