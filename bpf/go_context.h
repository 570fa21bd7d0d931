/* From a context.Context to the request whose handler it was given to. Every kind of
 * context keeps its parent first; the chain ends at something that a server made. */
#ifndef OTEL_EBPF_GO_CONTEXT_H
#define OTEL_EBPF_GO_CONTEXT_H

#include "go_map.h"

#define CONTEXT_DEPTH 48
#define GO_JUMPS 26
#define GO_JUMPS_READ 6
#define GO_AFTER 27 /* behind the frames of a segment, less the programs that these took */

/* internal/abi: itab.Type; Type.Size_, Type.Kind_, PtrType.Elem. */
#define ITAB_TYPE 8
#define TYPE_KIND 23
#define TYPE_ELEM 48
#define KIND_MASK 31
#define KIND_POINTER 22
#define STREAM_CLOSED 4 /* http2.streamState */
#define VALUE_CTX_SIZE 48 /* parent, key and value: an interface each */

INLINE struct go_scan_t *go_scan(void)
{
	int zero = 0;
	return go_scan_buf.lookup(&zero);
}

/* The interface type of an itab. Programs have few itabs of contexts, and reading costs more
 * than remembering. */
INLINE u64 go_inter(u32 tgid, u64 itab)
{
	struct go_scan_t *s = go_scan();
	u64 inter = 0;

	if (!s)
		return 0;
	struct go_itab_t *known = &s->itabs[(itab >> 5) & (GO_ITABS - 1)];
	if (known->itab == itab && known->tgid == tgid)
		return known->inter;
	READ_USER(inter, itab, 0);
	if (inter) {
		known->itab = itab;
		known->inter = inter;
		known->tgid = tgid;
	}
	return inter;
}

/* A walk begins at this interface, or at the one that is kept at `at`. */
INLINE void go_walk_of(struct go_walk_t *w, u64 itab, u64 context)
{
	w->itab = itab;
	w->context = context;
	w->before = 0;
	w->kind = 0;
	w->depth = 0;
	w->inter = 0;
	READ_USER(w->inter, itab, 0);
}

INLINE void go_walk_from(struct go_walk_t *w, u64 at)
{
	u64 words[2] = {};

	read_user(words, sizeof(words), at);
	go_walk_of(w, words[0], words[1]);
}

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

/* To the context above. False: there is none. */
INLINE bool go_walk_up(struct go_walk_t *w, u32 tgid)
{
	/* A type of the program's own may keep something else there. */
	u64 inter = go_inter(tgid, w->words[0]);

	if (!inter || inter != w->inter)
		return false;
	w->before = w->context;
	w->itab = w->words[0];
	w->context = w->words[1];
	w->depth += 1;
	return true;
}

/* One step. Returns enum go_end: whether it is over, and where. */
INLINE u32 go_walk_on(struct go_walk_t *w, struct proc_info_t *pi, u32 tgid)
{
	struct go_context_key key = {.context = w->context, .tgid = tgid};
	bool grpc = pi->streams && pi->grpc.ss_conn >= 0;

	if (!w->context || w->depth >= CONTEXT_DEPTH)
		return GO_ENDS_NOWHERE;
	if (go_context_map.lookup(&key))
		return GO_ENDS_CONTEXT;
	if (!grpc || read_user(w->words, VALUE_CTX_SIZE, w->context)) {
		w->words[5] = 0;
		if (read_user(w->words, 16, w->context))
			return GO_ENDS_NOWHERE;
	}
	if (grpc && go_may_be_grpc(w, pi, tgid))
		return GO_ENDS_GRPC;
	return go_walk_up(w, tgid) ? GO_WALKS : GO_ENDS_NOWHERE;
}

/* The request at a walk's end, or 0. Where w->kind is set then, the streams of w->conn are to
 * be looked through, and this is to be asked again. */
INLINE u64 go_walk_end(struct go_walk_t *w, struct proc_info_t *pi, u32 tgid, u32 end,
		       bool looked)
{
	struct go_context_key key = {.context = w->context, .tgid = tgid};
	struct go_context_t *found;

	if (end == GO_ENDS_GRPC)
		return go_grpc_uid(w, pi, tgid, looked);
	found = end == GO_ENDS_CONTEXT ? go_context_map.lookup(&key) : 0;
	if (!found || found->kind == GO_CONN_GRPC_SERVER)
		return 0;
	if (found->kind == GO_CONN_SERVER)
		return go_http1_uid(w, pi, found);
	return go_http2_uid(w, pi, tgid, found, looked);
}

/* One step. True: it is over, with *uid, or 0, and w->kind as above. */
INLINE bool go_walk_step(struct go_walk_t *w, struct proc_info_t *pi, u32 tgid, bool looked,
			 u64 *uid)
{
	u32 end = go_walk_on(w, pi, tgid);

	*uid = 0;
	if (end == GO_WALKS)
		return false;
	*uid = go_walk_end(w, pi, tgid, end, looked);
	return *uid || w->kind || end != GO_ENDS_GRPC || !go_walk_up(w, tgid);
}

INLINE bool go_jumps_left(struct op_t *op, u32 n)
{
	u32 most = op->at_entry ? GO_JUMPS : op->after ? op->after : GO_JUMPS_READ;

	return op->jumps + n <= most;
}

/* Goes on with another program, as long as enough calls are left for the segment itself:
 * they follow each other 33 times at the most, and what is read may hold many frames. */
INLINE void go_jump(void *ctx, struct op_t *op, u32 program)
{
	if (go_jumps_left(op, 1)) {
		op->jumps += 1;
		__progs_jmp_tp_map.call(ctx, program);
	}
}

/* Looks through a server's streams, as w->kind asks, and comes back to `resume`. */
INLINE void go_look(void *ctx, struct op_t *op, struct go_scan_t *s, u32 resume)
{
	s->resume = resume;
	if (s->walk.kind == GO_CONN_GRPC_SERVER)
		go_jump(ctx, op, PROG_GO_PROOF);
	else
		go_jump(ctx, op, PROG_GO_SERVER);
}

/* The whole walk. */
INLINE u64 go_walk(struct go_walk_t *w, struct proc_info_t *pi, u32 tgid, bool looked)
{
	u64 uid = 0;

	NO_UNROLL
	for (int i = 0; i <= CONTEXT_DEPTH; i++)
		if (go_walk_step(w, pi, tgid, looked, &uid))
			break;
	return uid;
}

#endif
