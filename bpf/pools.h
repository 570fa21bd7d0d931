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
#include "way_out.h"

#define POOL_FD (1ULL << 63) /* place of an eventfd, with its descriptor */
#define POOL_SIGNAL 8 /* bytes that move through it */
#define POOL_HOPS 7
#define POOL_HELD 64  /* told with them: no wake, the thread of that segment holds the job's result */
#define POOL_LATE 128 /* told with them: such a wake proves nothing, but contradicts */

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
	return t->serves && !t->loop ? t->segment : t->in;
}

/* A thread is born: as if woken by the one that bore it. A CompletableFuture on a host of two
 * processors has one born for each result. */
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
	if (!mine->serves && mine->token) { /* it may be born to hand on a result */
		fresh.token = mine->token;
		fresh.hops = mine->hops < POOL_HOPS ? mine->hops + 1 : POOL_HOPS;
		fresh.read = mine->read;
	}
	pool_threads.update(&born, &fresh);
}

/* A response has led to a wake of this thread, which serves requests. */
INLINE void tell_wake(void *ctx, u64 id, u64 uid, u64 segment, u8 hops, u64 now)
{
	struct __socket_data_buffer *b;
	struct __socket_data *r = burst_begin(ctx, &b, RECORD_WAKE, id, now);

	if (!r)
		return;
	r->uid = uid;
	r->goid = segment;
	r->rule = hops;
	burst_commit(b, sizeof(*r));
}

/* The thread wakes whoever waits at an address. */
INLINE void pool_wakes_at(u64 id, u64 address)
{
	struct pool_thread_t *t = pool_threads.lookup(&id);
	struct pool_place_t place = {.address = address, .tgid = id >> 32};
	struct pool_wake_t *before = pool_wakes.lookup(&place);
	struct pool_wake_t wake = {.ts = bpf_ktime_get_ns(), .tid = (u32)id};

	if (t) {
		wake.in = pool_works_for(t);
		wake.token = t->token;
		wake.hops = t->hops;
		wake.read = t->read;
	}
	if (!before && !wake.in && !wake.token)
		return; /* as if there had been none */
	if (before && !before->taken && before->tid != wake.tid &&
	    (before->in != wake.in || before->token != wake.token))
		wake.mixed = 1;
	pool_wakes.update(&place, &wake);
}

/* The thread has been woken there: takes what was handed on since then. */
INLINE void pool_woken_at(void *ctx, struct pool_thread_t *t, u64 id, u64 address, u64 since)
{
	struct pool_place_t place = {.address = address, .tgid = id >> 32};
	struct pool_wake_t *wake = pool_wakes.lookup(&place);

	t->in = 0;
	t->token = 0;
	if (!wake || wake->ts < since)
		return;
	wake->taken = 1;
	if (wake->mixed)
		return;
	t->in = wake->in;
	t->token = wake->token;
	t->hops = wake->hops < POOL_HOPS ? wake->hops + 1 : POOL_HOPS;
	t->read = wake->read;
	if (!t->serves || t->loop)
		return;
	/* Who waits for a result did so when its response came. Who began later waits for a lock
	 * that the worker holds for a moment. */
	u8 hops = wake->hops;
	if (since > wake->read)
		hops |= POOL_LATE;
	if (t->token)
		tell_wake(ctx, id, t->token, t->segment, hops, bpf_ktime_get_ns());
	if (hops & POOL_LATE)
		t->token = 0;
}

/* It writes as much as is written to an eventfd, which a loop may wait for. */
INLINE void pool_signals(u64 id, s32 fd)
{
	u32 tgid = id >> 32;

	if (pool_map.lookup(&tgid))
		pool_wakes_at(id, POOL_FD | (u32)fd);
}

/* It reads from such a thing. */
INLINE void pool_signalled(void *ctx, u64 id, s32 fd, long length)
{
	u32 tgid = id >> 32;

	if (length != POOL_SIGNAL || !pool_map.lookup(&tgid))
		return;
	struct pool_thread_t *t = pool_threads.lookup(&id);
	struct pool_place_t place = {.address = POOL_FD | (u32)fd, .tgid = tgid};
	struct pool_wake_t *wake = pool_wakes.lookup(&place);
	if (t && wake && !wake->taken)
		pool_woken_at(ctx, t, id, POOL_FD | (u32)fd, 0);
}

/* It waits for many connections, which ends all that it was woken for. */
INLINE void pool_waits_for_many(u64 id)
{
	struct pool_thread_t *t = pool_threads.lookup(&id);

	if (t) {
		t->loop = 1;
		t->in = 0;
		t->token = 0;
	}
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
			/* Where several may wait, user space knows which were answered. */
			t->token = r->uid ? r->uid : TURN_SEGMENT | r->ts;
			t->read = r->ts;
			t->hops = 0;
		} else if (r->begins == BEGINS_REQUEST) {
			t->serves = 1;
			t->token = 0;
			t->in = 0;
		}
	} else if (r->role == ROLE_SERVER) {
		t->serves = 1;
		r->goid = t->segment;
		if (t->hops <= 1)
			r->parent_uid = t->token;
		t->segment = pool_number();
		t->token = 0;
		t->in = 0;
	} else if (r->begins == BEGINS_REQUEST) {
		r->goid = t->loop ? 0 : t->segment;
		if (r->rule == RULE_NONE) {
			r->rule = t->serves && !t->loop ? RULE_SERVER : RULE_WORKER;
			r->parent_uid = t->in;
		}
		t->token = 0;
		t->in = 0;
	}
out:
	op->pools = 0;
	/* A worker of a pool: who waits for its job? (python_pools.h) */
	if (op->python == IDENTITY_PYTHON && t && !t->serves &&
	    (r->begins == BEGINS_RESPONSE || (r->direction == EGRESS && r->begins == BEGINS_REQUEST)))
		__progs_jmp_tp_map.call(ctx, PROG_PY_WORK);
	if (op->python && r->direction == EGRESS && r->begins != BEGINS_NOTHING)
		__progs_jmp_tp_map.call(ctx, PROG_PYTHON);
	segment_ends(ctx, op);
	return 0;
}

#endif
