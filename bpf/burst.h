/* Bursts: records gather per CPU and leave together. Tracepoint programs only. */
#ifndef OTEL_EBPF_BURST_H
#define OTEL_EBPF_BURST_H

#include "maps.h"

#define RECORD_ROOM (sizeof(struct __socket_data) + 2 * CAPTURE_MAX)

INLINE struct __socket_data_buffer *burst(void)
{
	int zero = 0;
	return __data_buf.lookup(&zero);
}

INLINE void burst_refused(u32 records)
{
	int zero = 0;
	u64 *refused = bursts_refused.lookup(&zero);

	count_n(STAT_BURST_LOST, records);
	if (refused)
		__sync_fetch_and_add(refused, 1);
}

INLINE void burst_submit(void *ctx, struct __socket_data_buffer *b)
{
	u64 size = b->len;

	if (size == 0)
		return;
	if (size > BURST_DATA)
		size = BURST_DATA;
	size += BURST_HEADER;
	FORGET_BOUNDS(size);
	b->cpu = bpf_get_smp_processor_id();
	if (size <= BURST_SIZE && __socket_data.perf_submit(ctx, b, size) == 0)
		count(STAT_BURSTS);
	else
		burst_refused(b->events_num);
	b->seq += 1;
	b->records += b->events_num;
	b->generation += 1;
	b->events_num = 0;
	b->len = 0;
}

/* Room for one record with its payload; the burst leaves first when it is full or old.
 * Returns the burst and sets *offset, or NULL. */
INLINE struct __socket_data_buffer *burst_reserve(void *ctx, u64 now, u64 *offset)
{
	struct __socket_data_buffer *b = burst();
	struct trace_conf_t *conf = config();

	if (!b || !conf)
		return 0;
	if (b->generation == 0) /* the CPU in the top bits keeps generations unique */
		b->generation = ((u64)bpf_get_smp_processor_id() << 48) + 1;
	if (b->len > BURST_DATA - RECORD_ROOM || b->events_num >= BURST_RECORDS ||
	    (b->events_num && now - b->first_ts > conf->max_age))
		burst_submit(ctx, b);
	if (b->events_num == 0)
		b->first_ts = now;
	/* Read, even where it is known to be 0: the verifier then follows one way from here. */
	asm volatile("" : : : "memory");
	u64 at = b->len;
	if (at > BURST_DATA - RECORD_ROOM)
		return 0;
	*offset = at;
	return b;
}

/* The record at `offset` of the burst that is being filled, if that is still `generation`. */
INLINE struct __socket_data *burst_record(u64 generation, u32 offset)
{
	struct __socket_data_buffer *b = burst();
	u64 at = offset;

	if (!b || generation == 0 || b->generation != generation)
		return 0;
	if (at > BURST_DATA - RECORD_ROOM)
		return 0;
	return (struct __socket_data *)(b->data + at);
}

/* A record without payload, begun and still to be committed: of this type, by this thread. *b is its
 * burst. */
INLINE struct __socket_data *burst_begin(void *ctx, struct __socket_data_buffer **b, u8 type,
					 u64 id, u64 now)
{
	struct __socket_data *r;
	u64 at = 0;

	*b = burst_reserve(ctx, now, &at);
	if (!*b || at > BURST_DATA - RECORD_ROOM)
		return 0;
	r = (struct __socket_data *)((*b)->data + at);
	__builtin_memset(r, 0, sizeof(*r));
	r->type = type;
	r->tgid = id >> 32;
	r->tid = (u32)id;
	r->ts = now;
	r->end_ts = now;
	r->size = sizeof(*r);
	return r;
}

INLINE void burst_commit(struct __socket_data_buffer *b, u32 size)
{
	b->len += size;
	b->events_num += 1;
	count(STAT_RECORDS);
}

#endif
