/* What is known of an HTTP/2 connection: where its frames are, and whether all were seen. */
#ifndef OTEL_EBPF_HTTP2_CONN_H
#define OTEL_EBPF_HTTP2_CONN_H

#include "http2_record.h"

/* Segments that follow each other until a gap is believed. */
#define HTTP2_STEADY 2

/* A thread that serves streams may write for any of them: what else it carries then says
 * nothing of what it writes. */
INLINE void http2_unsettle(struct op_t *op, struct socket_state_t *st)
{
	u64 unit = op->unit;
	struct trace_info_t *t;

	if (op->go || !unit)
		return;
	t = __trace_map.lookup(&unit);
	if (t) {
		t->loop |= LOOP_STREAMS;
		return;
	}
	struct trace_info_t fresh = {
		.socket_id = st->socket_id, .ts = op->rec.ts, .loop = LOOP_STREAMS};
	if (__trace_map.update(&unit, &fresh))
		count(STAT_TRACE_MAP_FULL);
	else
		count(STAT_TRACES_OPENED);
}

/* Header blocks of this direction have not been seen, or one of them may not have been. */
INLINE void http2_lose(struct http2_half_t *half)
{
	half->sync = 0;
	half->left = 0;
	half->got = 0;
	half->whole = 0;
}

/* Whether the agent can decode this direction's header blocks. */
INLINE bool http2_whole(struct http2_conn_t *conn, u8 direction)
{
	int zero = 0;
	u64 *refused = bursts_refused.lookup(&zero);

	return conn->halves[direction & 1].whole && refused && *refused == conn->refused;
}

/* The connection begins: `left` bytes of the client's preface are still to pass. */
INLINE void http2_opens(struct http2_walk_t *w, struct http2_half_t *half, u32 left)
{
	half->left = left;
	half->keep = 0;
	half->ends = 0;
	half->sync = 1;
	w->tell = 1;
	w->frames += 1;
	w->opened = 1;
}

/* And what that says of the connection: the other side's frames follow each other from its
 * next byte on. Behind the loop over steps, where it would be a case of each of them. */
INLINE void http2_opened(struct op_t *op, struct http2_walk_t *w, struct socket_state_t *st,
			 struct http2_conn_t *conn)
{
	u8 direction = op->rec.direction & 1;
	struct http2_half_t *half = &conn->halves[direction], *other = &conn->halves[direction ^ 1];

	int zero = 0;
	u64 *refused = bursts_refused.lookup(&zero);

	w->opened = 0;
	if (refused)
		conn->refused = *refused;
	half->whole = 1;
	/* After an upgrade, the server may have answered before this. */
	other->whole = st->protocol != PROTOCOL_HTTP1 && !other->serial;
	st->protocol = PROTOCOL_HTTP2;
	st->role = direction == INGRESS ? ROLE_SERVER : ROLE_CLIENT;
	half->untold = HTTP2_BEGINS;
	other->sync = 1;
	if (!other->serial)
		other->untold = 0;
}

/* Whether bytes have passed since the segment before this one that nobody saw. Only where places
 * have followed from lengths so far: with the kernel's own TLS, and where two threads send at
 * once, they do not. */
INLINE bool http2_gap(struct op_t *op, struct http2_half_t *half)
{
	u32 seq = op->rec.tcp_seq;
	bool follows = half->next == seq;
	bool gap = !follows && half->steady >= HTTP2_STEADY;

	half->next = seq + (u32)op->count;
	half->steady = !follows ? 0 : half->steady < 255 ? half->steady + 1 : 255;
	return gap;
}

/* Whose the header block is that begins with the byte c: static entries and literals with
 * their names tell requests from responses. Of a request's the lower half is 1 to 7, of a
 * response's 8, or up to 14 where it is a static entry's. Without branches: the verifier follows
 * each way through a loop's body in every round. */
INLINE u8 http2_block_role(u8 c, u8 direction)
{
	u32 upper = c >> 4, lower = c & 15;
	u32 named = 0x113 >> upper; /* 0x, 1x, 4x, 8x: static entries, literals of three kinds */
	u32 request = named & 0xfe >> lower & 1;
	u32 response = (named & 0x100 >> lower | 0x100 >> upper & 0x7f00 >> lower) & 1;

	FORGET_BOUNDS(request);
	FORGET_BOUNDS(response);
	return (request | response) * (ROLE_CLIENT + (request ^ (direction & 1)));
}

/* Whether uprobes tell of the header blocks that a Go program reads from this socket. */
INLINE u8 http2_told(struct op_t *op, struct socket_state_t *st, struct http2_conn_t *conn)
{
	u32 tgid = op->rec.tgid;
	struct proc_info_t *pi;

	if (!op->go || op->rec.direction != INGRESS)
		return 0;
	pi = proc_info_map.lookup(&tgid);
	if (!pi || !pi->headers.on)
		return 0;
	bool lacking = pi->headers.on == HEADERS_LACKING;
	if (lacking && http2_whole(conn, INGRESS))
		return 0;
	u8 told = pi->headers.told & (st->role ? 1 << (st->role & 3) : 0xff);
	return !told ? 0 : lacking ? HTTP2_TOLD_LACKING : HTTP2_TOLD;
}

/* When those uprobes fire, the segment has been read: they find its place here. */
INLINE void http2_note_place(struct op_t *op, struct http2_walk_t *w)
{
	u32 begin = op->rec.tcp_seq;
	struct http2_seq_key key = {
		.tgid = op->rec.tgid, .fd = op->rec.fd, .end = begin + (u32)op->count};

	if (w->told)
		http2_tcp_seq_map.update(&key, &begin);
}

#endif
