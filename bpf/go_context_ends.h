/* Whose request a context is of at which a chain of contexts has ended. */
#ifndef OTEL_EBPF_GO_CONTEXT_ENDS_H
#define OTEL_EBPF_GO_CONTEXT_ENDS_H

#include "unit.h"

/* internal/abi: itab.Type; Type.Size_, Type.Kind_, PtrType.Elem. */
#define ITAB_TYPE 8
#define TYPE_KIND 23
#define TYPE_ELEM 48
#define KIND_MASK 31
#define KIND_POINTER 22
#define STREAM_CLOSED 4 /* http2.streamState */
#define VALUE_CTX_SIZE 48 /* parent, key and value: an interface each */

/* The request in flight on an HTTP/1 server connection whose context ends the chain. */
INLINE u64 go_http1_uid(struct go_walk_t *w, struct proc_info_t *pi, struct go_context_t *found)
{
	u64 sk = found->sk, response = 0, request = 0, now = 0;
	struct socket_state_t *st = socket_state_map.lookup(&sk);

	if (!st || st->socket_id != found->socket_id)
		return 0;
	/* Each request has a context of its own below the connection's. Work left over
	 * from an earlier request must not pass for this one's. */
	READ_USER(response, found->conn, pi->conn_cur_req);
	READ_USER(request, response, pi->response_req);
	READ_USER(now, request, pi->request_ctx + 8);
	if (!now || now != w->before) {
		count(STAT_GO_STALE_CONTEXT);
		return 0;
	}
	return st->uid;
}

/* The stream of an HTTP/2 server connection whose context was met before the
 * connection's. Sets w->kind where the connection's streams are to be looked through. */
INLINE u64 go_http2_uid(struct go_walk_t *w, struct proc_info_t *pi, u32 tgid,
			struct go_context_t *found, bool looked)
{
	struct go_h2_t *h = &pi->h2[found->kind == GO_CONN_X_SERVER];
	struct go_context_key key = {.context = w->before, .tgid = tgid};
	u64 *known, context = 0, conn = 0, state = STREAM_CLOSED;
	u32 id = 0;

	if (!w->before)
		return 0; /* the connection's own context: no request's */
	known = go_stream_map.lookup(&key);
	if (known) {
		/* Memory is reused, a context's as well as a stream's: only a stream that is
		 * open and says so itself has this context. */
		READ_USER(context, *known, h->stream_ctx + 8);
		READ_USER(conn, *known, h->stream_conn);
		READ_USER(id, *known, h->stream_id);
		READ_USER(state, *known, h->stream_state);
		if (context == w->before && conn == found->conn && id && state < STREAM_CLOSED)
			return stream_uid(found->socket_id, id);
	}
	if (looked) {
		count(STAT_GO_STALE_CONTEXT);
		return 0;
	}
	w->conn = found->conn;
	w->want = w->before;
	w->kind = found->kind;
	return 0;
}

/* Whether the context at hand is a pointer to a struct of a valueCtx's size, so that all
 * its words are its own. */
INLINE bool go_is_value(struct go_walk_t *w)
{
	u64 type = 0, elem = 0, size = 0;
	u8 kind = 0;

	READ_USER(type, w->itab, ITAB_TYPE);
	READ_USER(kind, type, TYPE_KIND);
	if ((kind & KIND_MASK) != KIND_POINTER)
		return false;
	READ_USER(elem, type, TYPE_ELEM);
	READ_USER(size, elem, 0);
	return size == VALUE_CTX_SIZE;
}

/* Whether the context at hand has a stream of a gRPC server for its value, as far as that
 * server's transport tells. */
INLINE bool go_may_be_grpc(struct go_walk_t *w, struct proc_info_t *pi, u32 tgid)
{
	struct go_grpc_t *g = &pi->grpc;
	u64 type = w->words[4], stream = w->words[5];
	struct go_context_key key = {.tgid = tgid};

	if (!stream || !type || (g->stream_type && type != g->stream_type))
		return false;
	READ_USER(key.context, stream, g->ss_conn + 8);
	struct go_context_t *found = go_context_map.lookup(&key);
	return found && found->kind == GO_CONN_GRPC_SERVER && go_is_value(w);
}

/* That stream. Sets w->kind where its type is not proved yet. */
INLINE u64 go_grpc_uid(struct go_walk_t *w, struct proc_info_t *pi, u32 tgid, bool looked)
{
	struct go_grpc_t *g = &pi->grpc;
	u64 stream = w->words[5], base = stream;
	u32 id = 0;
	struct go_context_key key = {.tgid = tgid};

	READ_USER(key.context, stream, g->ss_conn + 8);
	struct go_context_t *found = go_context_map.lookup(&key);
	if (!found || found->kind != GO_CONN_GRPC_SERVER)
		return 0;
	if (!g->stream_type) {
		/* Anything may lie where a stream would say so. The transport's own table of
		 * streams proves the type, once for the process. */
		if (!looked) {
			w->conn = key.context;
			w->want = stream;
			w->type = w->words[4];
			w->kind = GO_CONN_GRPC_SERVER;
		}
		return 0;
	}
	if (g->stream_type != w->words[4])
		return 0;
	if (g->ss_base >= 0)
		READ_USER(base, stream, g->ss_base);
	READ_USER(id, base, g->ss_id);
	return id ? stream_uid(found->socket_id, id) : 0;
}

#endif
