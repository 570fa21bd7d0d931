/* Uprobes that fire once a request: attached only to programs that need them, for calls that
 * pass no context on. Like those of go.c they keep to the stack and to hash maps. */
#include "go_handlers.h"

INLINE struct proc_info_t *streaming_process(u32 *tgid)
{
	*tgid = bpf_get_current_pid_tgid() >> 32;
	struct proc_info_t *pi = proc_info_map.lookup(tgid);

	return pi && pi->go && pi->streams && pi->g_goid >= 0 ? pi : 0;
}

/* The running goroutine begins to serve the request `uid`. It may be told twice: a prologue
 * that has to make the stack larger begins again. */
INLINE void note_handler(struct proc_info_t *pi, u32 tgid, u64 g, u64 uid)
{
	struct go_key key = {.tgid = tgid};
	struct go_handler_t value = {.uid = uid}, *known;

	READ_USER(key.goid, g, pi->g_goid);
	if (!key.goid)
		return;
	known = go_handler_map.lookup(&key);
	if (known)
		value.again = known->again || known->uid != uid;
	go_handler_map.update(&key, &value);
}

/* func (sc *serverConn) runHandler(rw *responseWriter, ...) */
INLINE int run_handler(struct pt_regs *regs, u32 kind)
{
	u32 tgid, id = 0;
	struct proc_info_t *pi = streaming_process(&tgid);
	u64 state = 0, stream = 0, uid = 0;

	if (!pi)
		return 0;
	struct go_h2_t *h = &pi->h2[kind == GO_CONN_X_SERVER];
	struct go_context_key key = {.tgid = tgid};
	if (h->base_ctx < 0 || h->rw_state < 0 || h->rws_stream < 0)
		return 0;
	READ_USER(key.context, go_argument(regs, pi, 1), h->base_ctx + 8);
	struct go_context_t *conn = go_context_map.lookup(&key);
	READ_USER(state, go_argument(regs, pi, 2), h->rw_state);
	READ_USER(stream, state, h->rws_stream);
	READ_USER(id, stream, h->stream_id);
	if (conn && conn->kind == kind && id)
		uid = stream_uid(conn->socket_id, id);
	note_handler(pi, tgid, go_g(regs, pi), uid);
	return 0;
}

int go_h2_handler(struct pt_regs *regs)
{
	return run_handler(regs, GO_CONN_H2_SERVER);
}

int go_x_handler(struct pt_regs *regs)
{
	return run_handler(regs, GO_CONN_X_SERVER);
}

/* func (s *Server) handleStream(t transport.ServerTransport, stream *transport.ServerStream...) */
int go_grpc_handler(struct pt_regs *regs)
{
	u32 tgid, id = 0;
	struct proc_info_t *pi = streaming_process(&tgid);
	u64 stream, base, uid = 0;

	if (!pi || pi->grpc.ss_conn < 0)
		return 0;
	struct go_context_key key = {.tgid = tgid};
	stream = base = go_argument(regs, pi, 4);
	READ_USER(key.context, stream, pi->grpc.ss_conn + 8);
	struct go_context_t *conn = go_context_map.lookup(&key);
	if (pi->grpc.ss_base >= 0)
		READ_USER(base, stream, pi->grpc.ss_base);
	READ_USER(id, base, pi->grpc.ss_id);
	if (conn && conn->kind == GO_CONN_GRPC_SERVER && id)
		uid = stream_uid(conn->socket_id, id);
	note_handler(pi, tgid, go_g(regs, pi), uid);
	return 0;
}

/* A return of (*http2Client).NewStream: who has asked for the stream that it gives. */
int go_grpc_asked(struct pt_regs *regs)
{
	u32 tgid;
	struct proc_info_t *pi = streaming_process(&tgid);
	u64 g, stream, base;
	struct go_asked_t value = {};

	if (!pi || pi->grpc.cs_id < 0 || pi->grpc.cs_conn < 0)
		return 0;
	g = go_g(regs, pi);
	/* On the stack it lies behind the receiver, a context and the call's head. */
	stream = base = pi->stack_abi ? go_word(regs, 5) : REGISTER(regs, ax);
	if (!stream)
		return 0;
	struct go_key key = {.goid = stream, .tgid = tgid};
	if (pi->grpc.cs_base >= 0)
		READ_USER(base, stream, pi->grpc.cs_base);
	READ_USER(value.id, base, pi->grpc.cs_id);
	READ_USER(value.conn, stream, pi->grpc.cs_conn);
	READ_USER(value.goid, g, pi->g_goid);
	if (pi->g_parent_goid >= 0)
		READ_USER(value.parent_goid, g, pi->g_parent_goid);
	if (pi->g_startpc >= 0)
		READ_USER(value.site, g, pi->g_startpc);
	pi->asked = 1;
	if (value.id && value.goid)
		go_asked_map.update(&key, &value);
	return 0;
}

/* How deep the function is called that begins or returns here: the same at both, also where the
 * stack was moved in between. */
INLINE u64 call_depth(struct pt_regs *regs, u64 g)
{
	u64 hi = 0;

	READ_USER(hi, g, 8);
	return hi > regs->sp ? hi - regs->sp : 0;
}

/* What the running goroutine's writes are for, its key, and how deep it is called. */
INLINE struct go_work_t *work_at_hand(struct pt_regs *regs, struct go_key *key, u64 *depth)
{
	u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct proc_info_t *pi = proc_info_map.lookup(&tgid);

	*depth = 0;
	if (!pi || !pi->go || pi->g_goid < 0)
		return 0;
	u64 g = go_g(regs, pi);
	key->tgid = tgid;
	READ_USER(key->goid, g, pi->g_goid);
	*depth = call_depth(regs, g);
	return go_work_map.lookup(key);
}

/* A call of a database begins, with the context in its first argument: what the goroutine
 * writes until it returns is written for that. One may be made of others, which say no more; and
 * one that a panic has ended never returns, but is not there when the next begins. */
INLINE void work_begins(struct pt_regs *regs, struct go_work_t *value)
{
	u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct proc_info_t *pi = proc_info_map.lookup(&tgid);
	struct go_key key = {};
	struct go_work_t *known = work_at_hand(regs, &key, &value->depth);

	if (!pi || !key.goid || !value->depth)
		return;
	pi->works = 1;
	if (!known || known->depth >= value->depth)
		go_work_map.update(&key, value);
}

int go_work_begins(struct pt_regs *regs)
{
	u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct proc_info_t *pi = proc_info_map.lookup(&tgid);
	struct go_work_t value = {};

	if (!pi)
		return 0;
	value.itab = go_argument(regs, pi, 2);
	value.context = go_argument(regs, pi, 3);
	work_begins(regs, &value);
	return 0;
}

int go_work_ends(struct pt_regs *regs)
{
	struct go_key key = {};
	u64 depth;
	struct go_work_t *known = work_at_hand(regs, &key, &depth);

	if (known && known->depth >= depth)
		go_work_map.delete(&key);
	return 0;
}

/* A return of database/sql's BeginTx: the transaction in rax is for the same. */
int go_tx_begun(struct pt_regs *regs)
{
	struct go_key key = {};
	u64 depth;
	struct go_work_t *known = work_at_hand(regs, &key, &depth), value;

	if (!known)
		return 0;
	value = *known;
	if (value.depth >= depth)
		go_work_map.delete(&key);
	key.goid = regs->ax;
	if (key.goid)
		go_tx_map.update(&key, &value);
	return 0;
}

/* (*Tx).Commit and Rollback: they are given no context. */
int go_tx_ends(struct pt_regs *regs)
{
	struct go_key key = {.goid = regs->ax, .tgid = bpf_get_current_pid_tgid() >> 32};
	struct go_work_t *known = go_tx_map.lookup(&key), value;

	if (!known)
		return 0;
	value = *known;
	work_begins(regs, &value);
	return 0;
}
