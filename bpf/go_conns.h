/* Which socket is behind a Go connection of many streams, and when to look at those. */
#ifndef OTEL_EBPF_GO_CONNS_H
#define OTEL_EBPF_GO_CONNS_H

#include "go_http1.h"
#include "infer.h"

#define BIND_TRIES 64 /* reads of a connection in which its kind must have shown */
/* Searches of a goroutine's stack for a connection of HTTP/2 that no probe saw begin; and reads
 * of any other, of which it is not yet known what it is, in which that is looked for. */
#define GO_OLDER_TRIES 3
#define GO_OLDER_READS 3

INLINE bool go_client(u32 kind)
{
	return kind == GO_CONN_H2_CLIENT || kind == GO_CONN_X_CLIENT ||
	       kind == GO_CONN_GRPC_CLIENT;
}

/* A server connection: what a request's chain of contexts will end at. */
INLINE void go_bind_streams(struct op_t *op, struct socket_state_t *st, struct proc_info_t *pi,
			    struct go_conn_t *gc)
{
	u32 tgid = op->rec.tgid;
	struct go_context_key key = {.context = gc->receiver, .tgid = tgid};
	struct go_context_t value = {.sk = op->sk,
				     .socket_id = st->socket_id,
				     .conn = gc->receiver,
				     .kind = gc->kind};

	if (gc->kind != GO_CONN_GRPC_SERVER) {
		struct go_h2_t *h = &pi->h2[gc->kind == GO_CONN_X_SERVER];
		key.context = 0;
		READ_USER(key.context, gc->receiver, h->base_ctx + 8);
	}
	if (!key.context)
		return;
	if (st->context) { /* the HTTP/1 connection that it began as */
		struct go_context_key old = {.context = st->context, .tgid = tgid};
		go_context_map.delete(&old);
		st->context = 0;
	}
	if (go_context_map.update(&key, &value) == 0)
		st->context = key.context;
}

/* A read on the goroutine whose loop was seen to begin, or, on HTTP/2's server side, on the
 * first one that it starts. True: it may be a loop's that was not seen. */
INLINE bool go_bind(struct op_t *op, struct socket_state_t *st, struct proc_info_t *pi)
{
	struct go_key key = {.goid = op->rec.goid, .tgid = op->rec.tgid};
	struct go_conn_t *gc;

	/* Before the scheduler has told who runs here, a read shows nothing, and is no try. */
	if (!key.goid)
		return false;
	gc = go_conn_map.lookup(&key);
	st->bind_tries += 1;
	if (!gc || gc->kind <= GO_CONN_CLIENT) {
		bool unseen = !gc;
		find_parent_goid(op, pi);
		key.goid = op->parent_goid;
		gc = op->parent_goid ? go_conn_map.lookup(&key) : 0;
		if (!gc || (gc->kind != GO_CONN_H2_SERVER && gc->kind != GO_CONN_X_SERVER))
			return unseen;
	}
	/* Handlers are started by the same goroutine, and read other sockets. */
	if (gc->bound)
		return false;
	gc->bound = 1;
	st->go_kind = gc->kind;
	st->go_conn = gc->receiver;
	st->go_key = key.goid;
	if (!go_client(gc->kind))
		go_bind_streams(op, st, pi, gc);
	return false;
}

/* Number of the next stream of a client's connection. */
INLINE u32 go_next_stream(struct socket_state_t *st, struct proc_info_t *pi)
{
	u32 next = 0;
	s32 at = st->go_kind == GO_CONN_GRPC_CLIENT
			 ? pi->grpc.cc_next
			 : pi->h2[st->go_kind == GO_CONN_X_CLIENT].cc_next;

	READ_USER(next, st->go_conn, at);
	return next;
}

/* The program that is to look for the connection, or for streams of which user space has not
 * been told who asked for them; 0: none. */
INLINE u32 go_new_streams(struct op_t *op, struct socket_state_t *st)
{
	u32 tgid = op->rec.tgid;
	struct proc_info_t *pi;

	if (st->protocol == PROTOCOL_HTTP1 || (!st->go_kind && st->bind_tries >= BIND_TRIES))
		return 0;
	pi = proc_info_map.lookup(&tgid);
	if (!pi || !pi->streams)
		return 0;
	if (!st->go_kind && op->rec.direction == INGRESS && go_bind(op, st, pi)) {
		if (st->protocol == PROTOCOL_HTTP2 ? st->go_tries < GO_OLDER_TRIES
						   : st->bind_tries <= GO_OLDER_READS)
			return PROG_GO_OLDER;
	}
	if (!go_client(st->go_kind))
		return 0;
	return st->go_gap || go_next_stream(st, pi) != st->go_next ? PROG_GO_STREAMS : 0;
}

#endif
