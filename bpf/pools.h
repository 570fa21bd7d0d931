/* Threads that work for each other: who has woken whom, and after what.
 *
 * A thread's work is cut into segments where it writes a response: what it did before, since the
 * one before that, was for that response's request. Its segment has a number, which
 * goes along with requests and responses that it writes. Where one thread does work for
 * another, wakes tell for whom: the worker was woken by the one that asked for the work ("in"),
 * and when it has read a response it wakes the one that waits for the result ("out"). Either
 * way may lead through threads that serve nobody; those pass on what reached them.
 *
 * A wake counts only between a thread that wakes at an address and one that waits on just that
 * address, and only if no other wake there can be meant. Which segment is which request's is
 * known when the response is written (correlation/workers.py).
 *
 * For processes in pool_map only; the probes are attached when the first one is put there.
 * Tracepoint programs only. */
#ifndef OTEL_EBPF_POOLS_H
#define OTEL_EBPF_POOLS_H

#include "trace.h"

INLINE u64 pool_number(void)
{
	struct trace_conf_t *conf = config();

	return conf ? conf->uid++ : 0;
}

INLINE struct pool_thread_t *pool_thread(u64 id)
{
	struct pool_thread_t *t = pool_threads.lookup(&id), fresh = {};

	if (t)
		return t;
	fresh.segment = pool_number();
	pool_threads.update(&id, &fresh);
	return pool_threads.lookup(&id);
}

/* For whom the thread works: its own segment where that means a request. */
INLINE u64 pool_works_for(struct pool_thread_t *t)
{
	return t->serves ? t->segment : t->in;
}

/* A thread is born: as if woken by the one that bore it. */
INLINE void pool_bears(u32 tgid, u32 tid)
{
	u64 id = bpf_get_current_pid_tgid(), born = (u64)tgid << 32 | tid;
	struct pool_thread_t *mine;

	if (id >> 32 != tgid)
		return;
	mine = pool_threads.lookup(&id);
	if (!mine || !pool_map.lookup(&tgid))
		return;
	struct pool_thread_t fresh = {.segment = pool_number(), .in = pool_works_for(mine)};
	pool_threads.update(&born, &fresh);
}

/* These bytes go on with a response. */
INLINE bool pool_answers(struct socket_state_t *st, struct __socket_data *r)
{
	return st->role == ROLE_SERVER && r->direction == EGRESS;
}

/* Program 19: a message begins, or a response goes on. */
INLINE int run_pool(void *ctx)
{
	struct op_t *op = operation();

	if (!op)
		return 0;
	struct __socket_data *r = &op->rec;
	struct pool_thread_t *t = pool_thread(bpf_get_current_pid_tgid());
	if (!t)
		goto out;
	if (r->direction == INGRESS) {
		if (r->begins == BEGINS_RESPONSE) {
			t->token = r->uid;
		} else if (r->begins == BEGINS_REQUEST) {
			t->serves = 1;
			t->token = 0;
			t->in = 0;
		}
	} else if (r->role == ROLE_SERVER) {
		t->serves = 1;
		r->goid = t->segment;
		r->parent_uid = t->token;
		t->segment = pool_number();
		t->token = 0;
		t->in = 0;
	} else if (r->begins == BEGINS_REQUEST) {
		r->goid = t->segment;
		if (r->rule == RULE_NONE) {
			r->rule = t->serves ? RULE_SERVER : RULE_WORKER;
			r->parent_uid = t->in;
		}
		t->token = 0;
		t->in = 0;
	}
out:
	op->pools = 0;
	if (op->python && r->direction == EGRESS && r->begins != BEGINS_NOTHING)
		__progs_jmp_tp_map.call(ctx, PROG_PYTHON);
	if (op->capture < r->length)
		__progs_jmp_tp_map.call(ctx, PROG_TAIL);
	__progs_jmp_tp_map.call(ctx, PROG_OUTPUT);
	return 0;
}

#endif
