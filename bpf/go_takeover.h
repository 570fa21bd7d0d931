/* A connection that net/http took for HTTP/1 goes over to HTTP/2: golang.org/x/net's h2c takes it
 * from the server, or under TLS the handshake has named HTTP/2. What was read already goes with
 * it, and may be all that the client sent: the first streams are served before anything is read
 * again, so the socket is that of the connection before. */
#ifndef OTEL_EBPF_GO_TAKEOVER_H
#define OTEL_EBPF_GO_TAKEOVER_H

#include "go_conns.h"

#define GO_LAYERS 3 /* connections within each other, of TLS and of libraries */

/* The socket beneath a net.Conn, under TLS and what a library puts around it, as far as it is
 * known. */
INLINE bool go_conn_socket(struct proc_info_t *pi, u32 tgid, u64 conn, struct go_context_t *to)
{
	struct tls_socket_key key = {.tgid = tgid};

	NO_UNROLL
	for (int i = 0; i < GO_LAYERS; i++) {
		key.conn = conn;
		struct tls_socket_t *beneath = tls_socket_map.lookup(&key);
		if (beneath) {
			to->sk = beneath->sk;
			to->socket_id = beneath->socket_id;
			return true;
		}
		s32 fd = go_conn_fd(pi, conn);
		u64 at = fd_key(tgid, fd);
		struct socket_info_t *known = fd >= 0 ? __socket_info_map.lookup(&at) : 0;
		if (known) {
			to->sk = known->sk;
			to->socket_id = known->socket_id;
			return true;
		}
		if (READ_USER(conn, conn, 8) || !conn) /* an interface comes first: its data word */
			return false;
	}
	return false;
}

/* The server connection `gc` is over this socket; chains of contexts end at `context`. */
INLINE void go_bind_at_once(struct go_key *goroutine, struct go_conn_t *gc, u64 context,
			    struct go_context_t *value)
{
	struct go_context_key key = {.context = context, .tgid = goroutine->tgid};
	u64 sk = value->sk;
	struct socket_state_t *st = socket_state_map.lookup(&sk);

	if (!st || st->socket_id != value->socket_id || st->role == ROLE_CLIENT)
		return;
	if (!context || go_context_map.update(&key, value))
		return;
	/* A request that asked for HTTP/2 is served with the context that it had before. */
	if (st->context != context)
		st->context_before = st->context;
	st->context = context;
	st->go_kind = gc->kind;
	st->go_conn = gc->receiver;
	st->go_key = goroutine->goid;
	gc->bound = 1;
}

/* The goroutine, which net/http started for `before`, begins to serve the streams of `gc`. Runs in
 * a uprobe. */
INLINE void go_take_over(struct proc_info_t *pi, struct go_key *goroutine, u64 before,
			 struct go_conn_t *gc)
{
	struct go_h2_t *h = &pi->h2[gc->kind == GO_CONN_X_SERVER];
	struct go_context_t value = {.conn = gc->receiver, .kind = gc->kind};
	u64 conn = 0, context = 0;

	if (pi->conn_rwc < 0 || pi->fd_sysfd < 0 || h->base_ctx < 0)
		return;
	READ_USER(conn, before, pi->conn_rwc + 8);
	if (!conn || !go_conn_socket(pi, goroutine->tgid, conn, &value))
		return;
	READ_USER(context, gc->receiver, h->base_ctx + 8);
	go_bind_at_once(goroutine, gc, context, &value);
}

/* A transport of gRPC begins to serve; it has read before, and with the preface perhaps all that
 * the client has sent. Runs in a uprobe. */
INLINE void go_grpc_begins(struct proc_info_t *pi, struct go_key *goroutine, struct go_conn_t *gc)
{
	struct go_loop_t *loop = &pi->loops[GO_CONN_GRPC_SERVER & (GO_LOOPS - 1)];
	struct go_context_t value = {.conn = gc->receiver, .kind = gc->kind};
	u64 conn = 0;

	if (!loop->end || pi->fd_sysfd < 0)
		return;
	READ_USER(conn, gc->receiver, loop->conn + 8);
	if (conn && go_conn_socket(pi, goroutine->tgid, conn, &value))
		go_bind_at_once(goroutine, gc, gc->receiver, &value);
}

#endif
