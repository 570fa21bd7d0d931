/* An HTTP/1 connection of net/http goes over to HTTP/2 without TLS: golang.org/x/net's h2c takes it
 * from the server and goes on with what was read of it already. The first streams are
 * served before anything is read again, so the socket is that of the connection before. */
#ifndef OTEL_EBPF_GO_TAKEOVER_H
#define OTEL_EBPF_GO_TAKEOVER_H

#include "go_conns.h"

/* The goroutine, which net/http started for `before`, begins to serve the streams of `gc`. Runs in
 * a uprobe. */
INLINE void go_take_over(struct proc_info_t *pi, struct go_key *goroutine, u64 before,
			 struct go_conn_t *gc)
{
	struct go_h2_t *h = &pi->h2[gc->kind == GO_CONN_X_SERVER];
	u32 tgid = goroutine->tgid;
	struct go_context_key key = {.tgid = tgid};
	struct go_context_t value = {.conn = gc->receiver, .kind = gc->kind};
	u64 conn = 0;
	s32 fd;

	if (pi->conn_rwc < 0 || pi->fd_sysfd < 0 || h->base_ctx < 0)
		return;
	READ_USER(conn, before, pi->conn_rwc + 8);
	fd = conn ? go_conn_fd(pi, conn) : -1;
	u64 at = fd_key(tgid, fd);
	struct socket_info_t *known = fd >= 0 ? __socket_info_map.lookup(&at) : 0;
	if (!known)
		return;
	value.sk = known->sk;
	value.socket_id = known->socket_id;
	struct socket_state_t *st = socket_state_map.lookup(&value.sk);
	if (!st || st->socket_id != value.socket_id || st->role == ROLE_CLIENT)
		return;
	READ_USER(key.context, gc->receiver, h->base_ctx + 8);
	if (!key.context || go_context_map.update(&key, &value))
		return;
	/* A request that asked for HTTP/2 is served with the context that it had before. */
	if (st->context != key.context)
		st->context_before = st->context;
	st->context = key.context;
	st->go_kind = gc->kind;
	st->go_conn = gc->receiver;
	st->go_key = goroutine->goid;
	gc->bound = 1;
}

#endif
