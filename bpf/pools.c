/* Who wakes whom: the probes of futex. */
#include "probe.h"

#define FUTEX_COMMAND 127 /* without flags */
#define FUTEX_WAIT 0
#define FUTEX_WAKE 1
#define FUTEX_WAIT_BITSET 9
#define FUTEX_WAKE_BITSET 10
#define LOCK_CONTENDED 2 /* value of a lock (glibc, Rust) that others wait for */

/* A response has led to a wake of this thread, which serves requests. */
INLINE void tell_wake(void *ctx, u64 id, u64 uid, u64 segment, u64 now)
{
	u64 at = 0;
	struct __socket_data_buffer *b = burst_reserve(ctx, now, &at);

	if (!b || at > BURST_DATA - RECORD_ROOM)
		return;
	struct __socket_data *r = (struct __socket_data *)(b->data + at);
	__builtin_memset(r, 0, sizeof(*r));
	r->type = RECORD_WAKE;
	r->tgid = id >> 32;
	r->tid = (u32)id;
	r->ts = now;
	r->end_ts = now;
	r->uid = uid;
	r->goid = segment;
	r->size = sizeof(*r);
	burst_commit(b, sizeof(*r));
}

INLINE void pool_wakes_at(u64 id, u64 address)
{
	struct pool_thread_t *t = pool_threads.lookup(&id);
	struct pool_place_t place = {.address = address, .tgid = id >> 32};
	struct pool_wake_t *before = pool_wakes.lookup(&place);
	struct pool_wake_t wake = {.ts = bpf_ktime_get_ns(), .tid = (u32)id};

	if (t) {
		wake.in = pool_works_for(t);
		wake.token = t->token;
	}
	if (!before && !wake.in && !wake.token)
		return; /* as if there had been none */
	if (before && !before->taken && before->tid != wake.tid &&
	    (before->in != wake.in || before->token != wake.token))
		wake.mixed = 1;
	pool_wakes.update(&place, &wake);
}

int enter_futex(struct sys_enter_args *c)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 tgid = id >> 32;
	struct pool_info_t *pool = pool_map.lookup(&tgid);

	if (!pool)
		return 0;
	u64 address = c->args[0];
	u32 command = c->args[1] & FUTEX_COMMAND;
	if (address >= pool->ignore_from && address < pool->ignore_to)
		return 0;
	if (command == FUTEX_WAKE || command == FUTEX_WAKE_BITSET) {
		pool_wakes_at(id, address);
	} else if (command == FUTEX_WAIT || command == FUTEX_WAIT_BITSET) {
		/* Who waits for a lock is let go by somebody who has nothing to do with it. */
		if ((u32)c->args[2] == LOCK_CONTENDED)
			return 0;
		struct pool_thread_t *t = pool_thread(id);
		if (t) {
			t->waits = address;
			t->since = bpf_ktime_get_ns();
		}
	}
	return 0;
}

int exit_futex(struct sys_exit_args *c)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 tgid = id >> 32;

	if (!pool_map.lookup(&tgid))
		return 0;
	struct pool_thread_t *t = pool_threads.lookup(&id);
	if (!t || !t->waits)
		return 0;
	struct pool_place_t place = {.address = t->waits, .tgid = tgid};
	t->waits = 0;
	if (c->ret < 0)
		return 0; /* it was not woken */
	struct pool_wake_t *wake = pool_wakes.lookup(&place);
	t->in = 0;
	t->token = 0;
	if (!wake || wake->ts < t->since)
		return 0;
	wake->taken = 1;
	if (wake->mixed)
		return 0;
	t->in = wake->in;
	t->token = wake->token;
	if (t->serves && t->token)
		tell_wake(c, id, t->token, t->segment, bpf_ktime_get_ns());
	return 0;
}
