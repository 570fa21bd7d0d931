/* Looking through the tables of streams of Go's connections, in programs that hand on
 * go_scan_buf by tail calls, between the beginning of a segment's way and its rest; see data.h. */
#ifndef OTEL_EBPF_GO_STREAMS_H
#define OTEL_EBPF_GO_STREAMS_H

#include "probe.h"

#define GROUPS_AT_ONCE 32 /* groups of a table that one program looks at */
#define GROUP_ROUNDS 10   /* and programs that follow each other on it */
#define FRESH_AT_ONCE 96
#define GO_LOOKED_PART 2 /* in op->looked: no program was left for the rest of the table */
#define GO_JOINED 255 /* in go_missed: what is not there at the first look ended before */

INLINE struct socket_state_t *op_socket(struct op_t *op)
{
	u64 sk = op->sk;
	return socket_state_map.lookup(&sk);
}

INLINE struct proc_info_t *op_process(struct op_t *op)
{
	u32 tgid = op->rec.tgid;
	return proc_info_map.lookup(&tgid);
}

/* The segment goes its own way. */
INLINE void go_resume_data(void *ctx, struct op_t *op)
{
	op->streams = 1;
	__progs_jmp_tp_map.call(ctx, PROG_DATA);
}

/* The top bit. The compiler would make it a comparison and a branch. */
INLINE u64 top_bit(u64 x)
{
	asm volatile("" : "+r"(x));
	return x >> 63;
}

/* 1 where a > b. */
INLINE u64 above(u32 a, u32 b)
{
	return top_bit((u64)b - (u64)a);
}

/* A server's streams have been looked through: back to who wanted something of them. */
INLINE int go_looked(void *ctx, struct op_t *op, struct go_scan_t *s)
{
	op->server_rounds = 0;
	op->again = 0;
	op->hit = 0;
	if (s->resume == PROG_GO)
		__progs_jmp_tp_map.call(ctx, PROG_GO);
	else
		__progs_jmp_tp_map.call(ctx, PROG_GO_ENDS);
	return 0;
}

/* Program 14: is a context's value a stream of this gRPC transport? Then its type is that
 * of streams. */
INLINE int run_go_proof(void *ctx)
{
	struct op_t *op = operation();
	struct go_scan_t *s = go_scan();
	u32 more = GROUP_READ;
	u64 hit = 0;

	if (!op || !s)
		return 0;
	struct proc_info_t *pi = op_process(op);
	if (!pi)
		return 0;
	if (!op->server_rounds) {
		u64 map = 0;
		READ_USER(map, s->walk.conn, pi->grpc.streams);
		go_map_start(&s->server, pi, map);
	}
	op->server_rounds += 1;
	NO_UNROLL
	for (int i = 0; i < GROUPS_AT_ONCE; i++) {
		more = go_map_next(&s->server);
		if (more == GROUP_END)
			break;
		if (more == GROUP_SKIP)
			continue;
		NO_UNROLL
		for (u32 j = 0; j < GO_SLOTS; j++) {
			u64 stream = 0, full, other;
			u32 id = 0;
			full = go_map_slot(&s->server, j, &id, &stream);
			other = stream ^ s->walk.want;
			hit |= full & (top_bit(other | -other) ^ 1);
		}
	}
	if (hit) {
		pi->grpc.stream_type = s->walk.type;
	} else if (more != GROUP_END) {
		if (op->server_rounds < GROUP_ROUNDS)
			go_jump(ctx, op, PROG_GO_PROOF);
		count(STAT_GO_SCAN_CUT);
	}
	return go_looked(ctx, op, s);
}

/* Program 12: learns the contexts of an HTTP/2 server connection's new streams. */
INLINE int run_go_server(void *ctx)
{
	struct op_t *op = operation();
	struct go_scan_t *s = go_scan();
	u32 more = GROUP_READ;

	if (!op || !s)
		return 0;
	struct proc_info_t *pi = op_process(op);
	struct go_context_key key = {.context = s->walk.context, .tgid = op->rec.tgid};
	struct go_context_t *conn = go_context_map.lookup(&key);
	if (!pi || !conn)
		return go_looked(ctx, op, s);
	struct go_h2_t *h = &pi->h2[s->walk.kind == GO_CONN_X_SERVER];
	if (!op->server_rounds) {
		u64 map = 0;
		READ_USER(map, s->walk.conn, h->streams);
		go_map_start(&s->server, pi, map);
		s->server_last = op->again ? 0 : conn->last;
		s->server_top = s->server_last;
		s->fresh_found = 0;
		s->fresh_done = 0;
	}
	op->server_rounds += 1;
	NO_UNROLL
	for (int i = 0; i < GROUPS_AT_ONCE; i++) {
		if (s->fresh_found >= GO_FRESH)
			break;
		more = go_map_next(&s->server);
		if (more == GROUP_END)
			break;
		if (more == GROUP_SKIP)
			continue;
		NO_UNROLL
		for (u32 j = 0; j < GO_SLOTS; j++) {
			u64 stream = 0, full;
			u32 id = 0, n = s->fresh_found;
			full = go_map_slot(&s->server, j, &id, &stream);
			s->fresh[within(n, 2 * GO_FRESH)] = stream;
			s->fresh_found = n + (full & above(id, s->server_last));
		}
	}
	s->more = more;
	NO_UNROLL
	for (int i = 0; i < FRESH_AT_ONCE; i++) {
		u32 n = s->fresh_done, id = 0;
		struct go_context_key of = {.tgid = op->rec.tgid};
		u64 stream;

		if (n >= s->fresh_found)
			break;
		s->fresh_done = n + 1;
		stream = s->fresh[within(n, 2 * GO_FRESH)];
		READ_USER(of.context, stream, h->stream_ctx + 8);
		READ_USER(id, stream, h->stream_id);
		if (!of.context || !id)
			continue;
		go_stream_map.update(&of, &stream);
		op->hit |= top_bit((of.context ^ s->walk.want) - 1);
		if (id > s->server_top)
			s->server_top = id;
	}
	if (s->fresh_done >= s->fresh_found) {
		s->fresh_done = 0;
		s->fresh_found = 0;
	} else {
		s->more = GROUP_READ; /* not yet all of those */
	}
	if (s->more != GROUP_END) {
		if (op->server_rounds < GROUP_ROUNDS)
			go_jump(ctx, op, PROG_GO_SERVER);
		count(STAT_GO_SCAN_CUT);
		op->looked = GO_LOOKED_PART;
		return go_looked(ctx, op, s);
	}
	conn->last = s->server_top;
	if (!op->hit && s->server_last) {
		/* It should have been known: forgotten, or over. */
		op->again = 1;
		op->server_rounds = 0;
		go_jump(ctx, op, PROG_GO_SERVER);
		op->looked = GO_LOOKED_PART;
	}
	return go_looked(ctx, op, s);
}

#endif
