/* Connections of HTTP/2 and gRPC of which no probe saw the loop begin: they are older than the
 * tracer, or the probe could not tell (before Go 1.21, which goroutine bore a server's reader).
 *
 * Where such a connection is read, one of six functions that user space has named is among those
 * that the goroutine has called and not returned from. Which one says of what kind the connection
 * is. Its receiver lies in that function's frame or above it, and the proof is, as in go_stack.h,
 * the descriptor that is being read.
 */
#ifndef OTEL_EBPF_GO_OLDER_H
#define OTEL_EBPF_GO_OLDER_H

#include "go_frames.h"
#include "go_streams.h"

#define GO_FRAMES 48 /* from a system call up to its loop: some 15, and as many more with TLS */
#define GO_WRAPPED 3 /* connections within each other: of TLS, and what a library puts around */
#define GO_NET_CONN 8 /* they begin with the one beneath: an interface, whose data word is here */

/* Whether the interface at `at` is a connection over descriptor fd. */
INLINE bool go_loop_conn_is(struct proc_info_t *pi, u32 tgid, u64 at, s32 fd)
{
	struct tls_socket_key key = {.tgid = tgid};
	u64 conn = at;

	NO_UNROLL
	for (int i = 0; i < GO_WRAPPED; i++) {
		struct tls_socket_t *beneath;
		u64 inner = 0, net_fd = 0, sysfd = 0, other;

		if (READ_USER(inner, conn, GO_NET_CONN) || !inner)
			return false;
		conn = inner;
		other = READ_USER(net_fd, conn, 0); /* not 0, too, where it cannot be read */
		other |= READ_USER(sysfd, net_fd, pi->fd_sysfd);
		other |= sysfd ^ (u64)fd;
		if (!other)
			return true;
		key.conn = conn;
		beneath = tls_socket_map.lookup(&key);
		if (beneath)
			return beneath->fd == fd;
	}
	return false;
}

/* Goes up from frame to frame until one returns into a loop. (Addresses that merely lie on the
 * stack are no proof: dead frames stay in the gaps of living ones.) */
INLINE void go_find_loop(struct proc_info_t *pi, struct go_older_t *w)
{
	w->kind = 0;
	w->below = 0;
	NO_UNROLL
	for (int i = 0; i < GO_FRAMES; i++) {
		u64 words[2] = {}, frame = w->frame; /* the frame above, and the return address */

		if (read_user(words, sizeof(words), frame))
			break;
		NO_UNROLL
		for (u32 kind = GO_CONN_H2_SERVER; kind <= GO_CONN_GRPC_CLIENT; kind++) {
			struct go_loop_t *loop = &pi->loops[within(kind, GO_LOOPS)];

			if (words[1] > loop->start && words[1] < loop->end)
				w->kind = kind;
		}
		if (w->kind) {
			w->below = (w->hi - frame - 16) >> 3;
			break;
		}
		if (words[0] <= frame || words[0] >= w->hi)
			break;
		w->frame = words[0];
	}
}

INLINE void go_find_receiver(struct proc_info_t *pi, struct go_older_t *w, u32 tgid, s32 fd)
{
	struct go_loop_t *loop = &pi->loops[within(w->kind, GO_LOOPS)];

	w->receiver = 0;
	NO_UNROLL
	for (u32 i = 0; i < GO_LOOP_WORDS; i++) {
		u64 object = w->words[within(GO_LOOP_WORDS - 1 - i, GO_LOOP_WORDS)];

		if (i >= w->below)
			break;
		if (object < 4096 || (object & 7))
			continue;
		if (go_loop_conn_is(pi, tgid, object + loop->conn, fd)) {
			w->receiver = object;
			break;
		}
	}
}

/* Streams that began before the connection was known have no evidence, unless they are still
 * there: a client's table is looked through once for those, and for nothing older. */
INLINE void go_join(struct socket_state_t *st, struct proc_info_t *pi)
{
	u32 next = go_next_stream(st, pi), window = 2 * GO_WINDOW;

	if (next <= 1)
		return;
	st->go_told = next > window + 2 ? next - 2 - window : 0;
	st->go_missed = GO_JOINED;
}

INLINE void go_bind_older(struct op_t *op, struct socket_state_t *st, struct proc_info_t *pi,
			  struct go_older_t *w)
{
	struct go_conn_t gc = {.receiver = w->receiver, .kind = w->kind, .bound = 1};

	st->go_kind = gc.kind;
	st->go_conn = gc.receiver;
	st->go_key = op->rec.goid;
	if (go_client(gc.kind))
		go_join(st, pi);
	else
		go_bind_streams(op, st, pi, &gc);
}

/* Program 20. Then new streams, and the segment itself. */
INLINE int run_go_older(void *ctx)
{
	struct op_t *op = operation();
	struct member_fields_offset *o = offsets();
	int zero = 0;
	struct go_older_t *w = go_older_buf.lookup(&zero);

	if (!op || !o || !w)
		return 0;
	struct socket_state_t *st = op_socket(op);
	struct proc_info_t *pi = op_process(op);
	if (!st || !pi)
		return 0;
	w->lo = 0;
	w->hi = 0;
	if (!op->g || pi->g_stack_hi < 0 || READ_USER(w->hi, op->g, pi->g_stack_hi) ||
	    READ_USER(w->lo, op->g, pi->g_stack_hi - 8) ||
	    READ_USER(w->words, w->hi, -(s64)sizeof(w->words)) || !go_first_frame(o, w->lo, w->hi, &w->frame))
		go_resume_data(ctx, op);
	if (st->protocol == PROTOCOL_HTTP2)
		st->go_tries += 1;
	go_find_loop(pi, w);
	if (w->kind) {
		go_find_receiver(pi, w, op->rec.tgid, op->rec.fd);
		count(w->receiver ? STAT_GO_STACK_FOUND : STAT_GO_STACK_NOTHING);
		if (w->receiver)
			go_bind_older(op, st, pi, w);
	}
	if (go_client(st->go_kind))
		go_jump(ctx, op, PROG_GO_STREAMS);
	go_resume_data(ctx, op);
	return 0;
}

#endif
