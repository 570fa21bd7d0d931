/* Uprobe programs may be preempted: they use the stack, hash maps, and what they have taken for
 * themselves of __http2_stack; nothing that tracepoint programs or other uprobes use, too. */
#ifndef OTEL_EBPF_UPROBE_STACK_H
#define OTEL_EBPF_UPROBE_STACK_H

#include "probe.h"

/* Takes a place that no preempted program holds. The sum shows who came first. */
INLINE struct __http2_stack *stack_take(u64 id)
{
	NO_UNROLL
	for (int i = 0; i < HTTP2_STACKS; i++) {
		int at = i;
		struct __http2_stack *s = __http2_stack.lookup(&at);

		if (!s)
			return 0;
		__sync_fetch_and_add(&s->users, 1);
		if (*(volatile u32 *)&s->users == 1) {
			s->owner = id;
			if (!s->uids) {
				u64 cpu = bpf_get_smp_processor_id();
				s->uids = (cpu + 1) << 48 | 1ULL << 47 | (u64)i << 44;
				s->burst.cpu = cpu | (i + 1) << 16;
			}
			return s;
		}
		__sync_fetch_and_add(&s->users, -1);
	}
	return 0;
}

/* The place that this thread has taken. */
INLINE struct __http2_stack *stack_mine(void)
{
	u64 id = bpf_get_current_pid_tgid();

	NO_UNROLL
	for (int i = 0; i < HTTP2_STACKS; i++) {
		int at = i;
		struct __http2_stack *s = __http2_stack.lookup(&at);

		if (!s)
			return 0;
		if (s->owner == id)
			return s;
	}
	return 0;
}

INLINE void stack_leave(struct __http2_stack *s)
{
	s->owner = 0;
	__sync_fetch_and_add(&s->users, -1);
}

/* As count(), for programs that may be preempted. */
INLINE void count_safely(u32 what)
{
	int zero = 0;
	struct trace_stats *stats = __trace_stats_map.lookup(&zero);

	if (stats && what < STAT_COUNT)
		__sync_fetch_and_add(&stats->counts[what], 1);
}

INLINE void tls_record(struct __http2_stack *s, u8 type, u8 direction, u8 call, u64 id, u64 now)
{
	struct __socket_data *r = &s->op.rec;

	__builtin_memset(&s->op, 0, sizeof(s->op));
	r->type = type;
	r->direction = direction;
	r->syscall = call;
	r->tgid = id >> 32;
	r->tid = (u32)id;
	r->ts = now;
	r->end_ts = now;
	r->flags = FLAG_GO;
	s->op.go = 1;
}

/* A place to work in, with the record begun: the program has read n bytes of plaintext. */
INLINE struct __http2_stack *tls_begin_read(struct socket_state_t *st, struct tls_socket_t *beneath,
					    u64 id, u64 buf, u64 n)
{
	st->tls_late = 0;
	struct __http2_stack *s = stack_take(id);
	if (!s) {
		count_safely(STAT_TLS_CROWDED);
		st->bytes[INGRESS] += n; /* a gap is seen by its size */
		return 0;
	}
	tls_record(s, RECORD_DATA, INGRESS, CALL_TLS_READ | (st->tls_whole ? TLS_WHOLE : 0), id,
		   bpf_ktime_get_ns());
	s->op.sk = beneath->sk;
	s->op.buf = buf;
	s->op.count = n;
	s->op.rec.fd = beneath->fd;
	s->op.rec.length = n;
	return s;
}

/* The record in the burst leaves. */
INLINE void stack_send(void *ctx, struct __http2_stack *s)
{
	struct __http2_burst *b = &s->burst;
	u64 size = b->rec.size;

	b->events_num = 1;
	b->len = size;
	b->records = s->records;
	b->first_ts = b->rec.ts;
	size += BURST_HEADER;
	if (size <= sizeof(*b) && __socket_data.perf_submit(ctx, b, size) == 0)
		count_safely(STAT_BURSTS);
	else
		count_safely(STAT_BURST_LOST);
	b->seq += 1;
	s->records += 1;
	count_safely(STAT_RECORDS);
}

#endif
