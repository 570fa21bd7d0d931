/* From a context.Context to the request whose handler it was given to. Every kind of
 * context keeps its parent first; the chain ends at something that a server made. */
#ifndef OTEL_EBPF_GO_CONTEXT_H
#define OTEL_EBPF_GO_CONTEXT_H

#include "go_context_ends.h"
#include "go_jumps.h"
#include "go_map.h"

#define CONTEXT_DEPTH 48

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
INLINE void go_walk_of(struct go_walk_t *w, u64 itab, u64 context, u32 tgid)
{
	w->itab = itab;
	w->context = context;
	w->before = 0;
	w->kind = 0;
	w->depth = 0;
	w->inter = go_inter(tgid, itab);
}

INLINE void go_walk_from(struct go_walk_t *w, u64 at, u32 tgid)
{
	u64 words[2] = {};

	read_user(words, sizeof(words), at);
	go_walk_of(w, words[0], words[1], tgid);
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
	/* A request's context is below its connection's. */
	if (w->depth && go_context_map.lookup(&key))
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
