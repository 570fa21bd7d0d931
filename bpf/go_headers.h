/* Header blocks of Go's HTTP/2 as its own functions have them, decoded: how they are gone
 * through and what becomes of them.
 *
 * A RECORD_HEADERS holds one block: `length` is the stream, and the payload one field after
 * another: the lengths of its name and its value, u16 each, and their bytes. A length of a name
 * with HEADER_KEY begins no field, but tells that of the others only those of such names are
 * meant. ref_ts is of enum headers_told. */
#ifndef OTEL_EBPF_GO_HEADERS_H
#define OTEL_EBPF_GO_HEADERS_H

#include "http2_conn.h"
#include "uprobe_stack.h"

/* internal to Go's HTTP/2, and the same in all of its homes; user space checks these offsets. */
#define META_FIELDS 8 /* MetaHeadersFrame: *HeadersFrame, Fields */
#define FRAME_TYPE 1  /* FrameHeader, where HeadersFrame begins */
#define FRAME_STREAM 8
#define FIELD_SIZE 40 /* hpack.HeaderField: Name, Value, Sensitive */
#define RESPONSE_STREAM 0 /* writeResHeaders */
#define RESPONSE_STATUS 8
#define RESPONSE_MAP 16 /* h; then trailers, endStream, date, contentType, contentLength */
#define RESPONSE_TRAILERS 24
#define RESPONSE_DATE 56

#define HEADER_KEY 0x8000
#define HEADER_NAME_MAX 1024
#define HEADER_STEPS 32 /* fields that one program takes */
#define HEADER_ROUNDS 10
#define HEADER_CONNS 4 /* connections around the one that has the socket */
#define HEADER_SOCKETS 0x200000 /* numbers for sockets, of each place of __http2_stack */

/* A map[string][]string: a group's bytes since Go 1.24, a bucket's before. */
#define HEADER_GROUP 328
#define HEADER_BUCKET 336

/* Room of one field, or a piece of it. False: it does not fit, or is not there. */
INLINE bool header_put(struct header_out_t *h, char *to, u64 name, u64 name_len, u64 value,
		       u64 value_len, u32 flag)
{
	u64 out = h->out;

	if (name_len > HEADER_NAME_MAX || value_len > CAPTURE_MAX ||
	    out + 4 + name_len + value_len > CAPTURE_MAX) {
		h->cut = 1;
		return false;
	}
	char *head = to + within(out, CAPTURE_MAX);
	*(u16 *)head = name_len | flag;
	*(u16 *)(head + 2) = value_len;
	out += 4;
	if (name_len && read_user_most(to + within(out, CAPTURE_MAX), name_len, CAPTURE_MAX, name)) {
		h->cut = 1;
		return false;
	}
	out += name_len;
	if (value_len && read_user_most(to + within(out, CAPTURE_MAX), value_len, CAPTURE_MAX, value)) {
		h->cut = 1;
		return false;
	}
	h->out = out + value_len;
	return true;
}

/* The descriptor beneath a net.Conn at this address, an interface. What is around it may be
 * anything whose first member is one; the type is compared, so nothing is taken for it. */
INLINE s32 header_fd(struct proc_info_t *pi, u64 at)
{
	NO_UNROLL
	for (int i = 0; i < HEADER_CONNS; i++) {
		u64 conn[2] = {}, type = 0, net = 0;
		s32 fd = -1;

		if (READ_USER(conn, at, 0) || !conn[1] || READ_USER(type, conn[0], 8))
			return -1;
		if (type == pi->headers.tcp_type || type == pi->headers.unix_type) {
			if (READ_USER(net, conn[1], 0) || READ_USER(fd, net, pi->fd_sysfd))
				return -1;
			return fd;
		}
		at = conn[1];
		if (type == pi->headers.tls_type && pi->tls_conn > 0)
			at += pi->tls_conn;
	}
	return -1;
}

/* Which number of the read that has just ended tells user space of which segment it was. */
INLINE void header_place(struct member_fields_offset *o, struct op_t *op, struct socket_state_t *st)
{
	struct __socket_data *r = &op->rec;
	struct http2_seq_key key = {.tgid = r->tgid, .fd = r->fd};
	u32 *begin;

	if (st->family == FAMILY_UNIX || st->tls)
		key.end = (u32)st->bytes[INGRESS];
	else
		READ_KERNEL(key.end, op->sk, o->tcp_copied_seq);
	begin = http2_tcp_seq_map.lookup(&key);
	if (!begin)
		return;
	r->tcp_seq = *begin;
	r->ref_ts |= HEADERS_PLACED;
}

/* Word n of a function's arguments, from 1; a constant. */
INLINE u64 header_argument(struct pt_regs *regs, struct proc_info_t *pi, int n)
{
	if (pi->stack_abi)
		return go_word(regs, n);
	return n == 1 ? regs->ax : n == 2 ? regs->bx : n == 3 ? regs->cx : n == 4 ? regs->di : regs->si;
}

INLINE struct proc_info_t *header_process(u64 id)
{
	u32 tgid = id >> 32;
	struct proc_info_t *pi = proc_info_map.lookup(&tgid);

	return pi && pi->headers.on && pi->fd_sysfd >= 0 && tracing(tgid) ? pi : 0;
}

/* The socket's state, made here where the connection is older than the agent and writes first. */
INLINE struct socket_state_t *header_socket(struct member_fields_offset *o,
					    struct __http2_stack *s, u64 sk, u64 id)
{
	struct socket_state_t *st = socket_state_map.lookup(&sk);

	if (st)
		return st;
	/* Far from those that tracepoint programs give, in the 24 bits that stream_uid takes. */
	u64 number = s->uids >> 48 << 48 | 0x800000 | (s->uids >> 44 & 3) << 21;
	number |= s->sockets++ & (HEADER_SOCKETS - 1);
	return socket_make(o, &s->fresh, sk, id >> 32, bpf_ktime_get_ns(), number);
}

/* Whether what passes the socket says as much as the program could. */
INLINE bool header_seen(u64 sk, u8 direction)
{
	struct socket_state_t *st = socket_state_map.lookup(&sk);
	struct http2_conn_t *conn = http2_conn_map.lookup(&sk);

	return st && conn && conn->socket_id == st->socket_id && http2_whole(conn, direction);
}

/* A place to work in, with the record begun: a block of `stream` on the connection whose
 * net.Conn is at `conn`. */
INLINE struct __http2_stack *header_begin(struct proc_info_t *pi, u64 id, u64 conn, u8 direction,
					  u32 stream)
{
	struct member_fields_offset *o = offsets();
	s32 fd = header_fd(pi, conn);

	if (!o || !o->ready || !stream)
		return 0;
	u64 sk = fd < 0 ? 0 : sock_of_fd(o, fd);
	if (!sk) {
		count_safely(STAT_HEADERS_UNPLACED);
		return 0;
	}
	if (pi->headers.on == HEADERS_LACKING && header_seen(sk, direction))
		return 0;
	struct __http2_stack *s = stack_take(id);
	if (!s) {
		count_safely(STAT_HEADERS_CROWDED);
		return 0;
	}
	struct socket_state_t *st = header_socket(o, s, sk, id);
	if (!st || st->ignore) {
		stack_leave(s);
		return 0;
	}
	tls_record(s, RECORD_HEADERS, direction, 0, id, bpf_ktime_get_ns());
	struct __socket_data *r = &s->op.rec;
	fill_address(r, st);
	r->protocol = PROTOCOL_HTTP2;
	r->fd = fd;
	r->length = stream;
	r->uid = stream_uid(st->socket_id, stream);
	s->op.sk = sk;
	__builtin_memset(&s->headers, 0, sizeof(s->headers));
	if (direction == INGRESS)
		header_place(o, &s->op, st);
	return s;
}

/* Fields that lie one behind another: hpack.HeaderFields. */
INLINE int header_fields(struct pt_regs *regs, struct proc_info_t *pi, u64 id, u64 conn,
			 u8 direction, u32 stream, u64 fields, u64 count_)
{
	struct __http2_stack *s;

	if (!count_ || count_ > 4096)
		return 0;
	s = header_begin(pi, id, conn, direction, stream);
	if (!s)
		return 0;
	s->headers.at = fields;
	s->headers.left = count_;
	__progs_jmp_kp_map.call(regs, KP_HEADERS);
	stack_leave(s);
	return 0;
}

#endif
