/* Uprobes on the functions of Go's HTTP/2 that have a header block in hand: the ten of
 * net/http's own HTTP/2 and golang.org/x/net's, and three of grpc-go. Attached on request, for
 * they fire once or more for each request. */
#include "go_headers.h"
#include "uprobe_stack.h"

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

/* A *MetaHeadersFrame that was read. */
INLINE int header_frame(struct pt_regs *regs, struct proc_info_t *pi, u64 id, u64 conn, u64 frame)
{
	u64 words[3] = {}; /* *HeadersFrame, Fields' place and length */
	u8 head[16] = {};
	u32 stream;

	if (READ_USER(words, frame, 0) || READ_USER(head, words[0], 0) ||
	    head[FRAME_TYPE] != HTTP2_HEADERS)
		return 0;
	__builtin_memcpy(&stream, head + FRAME_STREAM, 4);
	return header_fields(regs, pi, id, conn, INGRESS, stream, words[1], words[2]);
}

/* func (sc *serverConn) processHeaders(f *MetaHeadersFrame) */
INLINE int process_headers(struct pt_regs *regs, int home)
{
	u64 id = bpf_get_current_pid_tgid();
	struct proc_info_t *pi = header_process(id);

	if (!pi || pi->headers.sc_conn[home] < 0)
		return 0;
	return header_frame(regs, pi, id, header_argument(regs, pi, 1) + pi->headers.sc_conn[home],
			    header_argument(regs, pi, 2));
}

int go_h2_process_headers(struct pt_regs *regs)
{
	return process_headers(regs, 0);
}

int go_x_process_headers(struct pt_regs *regs)
{
	return process_headers(regs, 1);
}

/* func (rl *clientConnReadLoop) handleResponse(cs *clientStream, f *MetaHeadersFrame), and
 * processTrailers. */
INLINE int handle_response(struct pt_regs *regs, int home)
{
	u64 id = bpf_get_current_pid_tgid(), cc = 0;
	struct proc_info_t *pi = header_process(id);

	if (!pi || pi->headers.cc_conn[home] < 0)
		return 0;
	READ_USER(cc, header_argument(regs, pi, 1), 0);
	return header_frame(regs, pi, id, cc + pi->headers.cc_conn[home],
			    header_argument(regs, pi, 3));
}

int go_h2_handle_response(struct pt_regs *regs)
{
	return handle_response(regs, 0);
}

int go_x_handle_response(struct pt_regs *regs)
{
	return handle_response(regs, 1);
}

/* func (t *http2Server) operateHeaders(ctx, frame *http2.MetaHeadersFrame, ...); before 1.60
 * without ctx, which is two words. */
int go_grpc_server_headers(struct pt_regs *regs)
{
	u64 id = bpf_get_current_pid_tgid();
	struct proc_info_t *pi = header_process(id);

	if (!pi || pi->headers.grpc_server_conn < 0)
		return 0;
	u64 frame = header_argument(regs, pi, 2);
	if (pi->headers.grpc_context)
		frame = header_argument(regs, pi, 4);
	return header_frame(regs, pi, id,
			    header_argument(regs, pi, 1) + pi->headers.grpc_server_conn, frame);
}

/* func (t *http2Client) operateHeaders(frame *http2.MetaHeadersFrame) */
int go_grpc_client_headers(struct pt_regs *regs)
{
	u64 id = bpf_get_current_pid_tgid();
	struct proc_info_t *pi = header_process(id);

	if (!pi || pi->headers.grpc_client_conn < 0)
		return 0;
	return header_frame(regs, pi, id,
			    header_argument(regs, pi, 1) + pi->headers.grpc_client_conn,
			    header_argument(regs, pi, 2));
}

/* func (l *loopyWriter) writeHeader(streamID uint32, endStream bool, hf []hpack.HeaderField,
 * onWrite func()) */
int go_grpc_write_header(struct pt_regs *regs)
{
	u64 id = bpf_get_current_pid_tgid(), framer = 0, writer = 0;
	struct proc_info_t *pi = header_process(id);

	if (!pi || pi->headers.loopy_framer < 0)
		return 0;
	READ_USER(framer, header_argument(regs, pi, 1), pi->headers.loopy_framer);
	READ_USER(writer, framer, pi->headers.framer_writer);
	u32 stream = header_argument(regs, pi, 2);
	/* The stream and a bool share a word on the stack, and have one each in registers. */
	u64 fields = pi->stack_abi ? go_word(regs, 3) : regs->di;
	u64 n = pi->stack_abi ? go_word(regs, 4) : regs->si;
	return header_fields(regs, pi, id, writer + pi->headers.writer_conn, EGRESS, stream, fields,
			     n);
}

/* func (sc *serverConn) writeHeaders(st *stream, headerData *writeResHeaders) */
INLINE int server_write_headers(struct pt_regs *regs, int home)
{
	u64 id = bpf_get_current_pid_tgid(), head[5] = {};
	struct proc_info_t *pi = header_process(id);
	struct __http2_stack *s;

	if (!pi || pi->headers.sc_conn[home] < 0)
		return 0;
	u64 data = header_argument(regs, pi, 3);
	if (READ_USER(head, data, 0))
		return 0;
	s = header_begin(pi, id, header_argument(regs, pi, 1) + pi->headers.sc_conn[home], EGRESS,
			 (u32)head[RESPONSE_STREAM / 8]);
	if (!s)
		return 0;
	struct header_walk_t *h = &s->headers;
	u64 status = head[RESPONSE_STATUS / 8];
	h->status = status > 999 ? 0 : status;
	h->keys = head[RESPONSE_TRAILERS / 8];
	h->keys_left = h->keys ? head[RESPONSE_TRAILERS / 8 + 1] & 0xff : 0;
	READ_USER(h->extra, data, RESPONSE_DATE);
	go_map_start(&h->map, pi, head[RESPONSE_MAP / 8]);
	h->map.size = pi->swiss ? HEADER_GROUP : HEADER_BUCKET;
	if (!head[RESPONSE_MAP / 8]) {
		h->map.left = 0;
		h->map.dir_left = 0;
	}
	s->op.rec.ref_ts |= HEADERS_OF_MAP;
	__progs_jmp_kp_map.call(regs, KP_HEADER_MAP);
	stack_leave(s);
	return 0;
}

int go_h2_server_write(struct pt_regs *regs)
{
	return server_write_headers(regs, 0);
}

int go_x_server_write(struct pt_regs *regs)
{
	return server_write_headers(regs, 1);
}

/* func (cc *ClientConn) writeHeader(name, value string): a field of the block that
 * writeHeaders will write, on the same goroutine and under the connection's lock. */
int go_client_field(struct pt_regs *regs)
{
	u64 id = bpf_get_current_pid_tgid();
	struct proc_info_t *pi = header_process(id);
	struct header_block_t *b;
	int zero = 0;

	if (!pi)
		return 0;
	struct go_context_key key = {.context = header_argument(regs, pi, 1), .tgid = id >> 32};
	u64 name = header_argument(regs, pi, 2), name_len = header_argument(regs, pi, 3);
	u64 value = header_argument(regs, pi, 4), value_len = header_argument(regs, pi, 5);
	b = header_block_map.lookup(&key);
	if (!b) {
		struct header_block_t *empty = header_empty.lookup(&zero);
		if (!empty || header_block_map.update(&key, empty)) {
			count_safely(STAT_ARGS_MAP_FULL);
			return 0;
		}
		b = header_block_map.lookup(&key);
		if (!b)
			return 0;
	}
	/* A prologue that grows the stack runs twice. */
	if (b->name == name && b->value == value && b->value_len == value_len)
		return 0;
	b->name = name;
	b->value = value;
	b->value_len = value_len;
	header_put(&b->to, b->data, name, name_len, value, value_len, 0);
	return 0;
}

/* func (cc *ClientConn) writeHeaders(streamID uint32, endStream bool, maxFrameSize int,
 * hdrs []byte) */
INLINE int client_write_headers(struct pt_regs *regs, int home)
{
	u64 id = bpf_get_current_pid_tgid();
	struct proc_info_t *pi = header_process(id);
	struct __http2_stack *s;

	if (!pi || pi->headers.cc_conn[home] < 0)
		return 0;
	struct go_context_key key = {.context = header_argument(regs, pi, 1), .tgid = id >> 32};
	struct header_block_t *b = header_block_map.lookup(&key);
	if (!b)
		return 0;
	s = header_begin(pi, id, key.context + pi->headers.cc_conn[home], EGRESS,
			 (u32)header_argument(regs, pi, 2));
	if (s) {
		s->headers.to.out = b->to.out;
		s->headers.to.cut = b->to.cut;
		bpf_probe_read_kernel(s->burst.payload, CAPTURE_MAX, b->data);
	}
	header_block_map.delete(&key);
	if (!s)
		return 0;
	__progs_jmp_kp_map.call(regs, KP_HEADERS);
	stack_leave(s);
	return 0;
}

int go_h2_client_write(struct pt_regs *regs)
{
	return client_write_headers(regs, 0);
}

int go_x_client_write(struct pt_regs *regs)
{
	return client_write_headers(regs, 1);
}

/* The block is whole, or as much of it as there is room for. */
INLINE void header_send(struct pt_regs *regs, struct __http2_stack *s)
{
	struct __socket_data *r = &s->op.rec;
	u32 out = s->headers.to.out & 0x1fff;

	if (s->headers.to.cut)
		r->ref_ts |= HEADERS_CUT;
	r->data_len = out;
	r->segments = 1;
	r->size = (sizeof(*r) + out + 7) & ~7;
	__builtin_memcpy(&s->burst.rec, r, sizeof(*r));
	stack_send(regs, s);
	stack_leave(s);
}

/* KP_HEADERS: hpack.HeaderFields. */
int kp_headers(struct pt_regs *regs)
{
	struct __http2_stack *s = stack_mine();

	if (!s)
		return 0;
	struct header_walk_t *h = &s->headers;
	NO_UNROLL
	for (int i = 0; i < HEADER_STEPS; i++) {
		u64 field[4] = {};

		if (!h->left || h->to.cut)
			break;
		if (READ_USER(field, h->at, 0)) {
			h->to.cut = 1;
			break;
		}
		h->at += FIELD_SIZE;
		h->left -= 1;
		header_put(&h->to, s->burst.payload, field[0], field[1], field[2], field[3], 0);
	}
	if (h->left && !h->to.cut) {
		h->rounds += 1;
		if (h->rounds < HEADER_ROUNDS)
			__progs_jmp_kp_map.call(regs, KP_HEADERS);
		h->to.cut = 1;
	}
	header_send(regs, s);
	return 0;
}

/* What comes next of a response's head: a name that is meant, a value of the field at hand,
 * the next field, the next group of the map, or what stands beside the map. False: no more. */
INLINE bool header_map_step(struct header_walk_t *h, u64 *field, u32 *flag)
{
	u64 at = 0;

	if (h->keys_left) {
		read_user(field, 16, h->keys);
		h->keys += 16;
		h->keys_left -= 1;
		*flag = HEADER_KEY;
		return true;
	}
	if (h->values_left) {
		field[0] = h->name;
		field[1] = h->name_len;
		if (read_user(field + 2, 16, h->values))
			h->to.cut = 1;
		h->values += 16;
		h->values_left -= 1;
		return true;
	}
	if (h->slots) {
		u64 old = h->map.old, slot = GO_SLOTS - h->slots;
		u64 control = h->words[0] >> (8 * (slot & 7)) & 0xff;
		u64 full = old ? control >= HMAP_FULL : !(control & 0x80);
		u64 keys = old ? 1 + 2 * slot : 1 + 5 * slot;
		u64 values = old ? 17 + 3 * slot : 3 + 5 * slot;

		h->slots -= 1;
		if (full) {
			h->name = h->words[within(keys, HEADER_WORDS)];
			h->name_len = h->words[within(keys + 1, HEADER_WORDS)];
			h->values = h->words[within(values, HEADER_WORDS)];
			h->values_left = h->words[within(values + 1, HEADER_WORDS)];
		}
		return true;
	}
	u32 more = go_map_at(&h->map, &at);
	if (more == GROUP_READ) {
		long failed = h->map.old ? read_user(h->words, HEADER_BUCKET, at)
					 : read_user(h->words, HEADER_GROUP, at);
		if (failed) {
			h->to.cut = 1;
			return false;
		}
		if (h->map.old)
			h->map.next = h->words[HEADER_BUCKET / 8 - 1];
		h->slots = GO_SLOTS;
		return true;
	}
	if (more == GROUP_SKIP)
		return true;
	return false;
}

/* KP_HEADER_MAP: a response's head. */
int kp_header_map(struct pt_regs *regs)
{
	struct __http2_stack *s = stack_mine();
	bool more = true;

	if (!s)
		return 0;
	struct header_walk_t *h = &s->headers;
	NO_UNROLL
	for (int i = 0; i < HEADER_STEPS; i++) {
		u64 field[4] = {};
		u32 flag = 0;

		more = header_map_step(h, field, &flag);
		if (!more || h->to.cut)
			break;
		if (field[1])
			header_put(&h->to, s->burst.payload, field[0], field[1], field[2], field[3], flag);
	}
	if (more && !h->to.cut) {
		h->rounds += 1;
		if (h->rounds < HEADER_ROUNDS)
			__progs_jmp_kp_map.call(regs, KP_HEADER_MAP);
		h->to.cut = 1;
	}
	s->op.rec.context_uid = h->status;
	__progs_jmp_kp_map.call(regs, KP_HEADER_REST);
	stack_leave(s);
	return 0;
}

/* KP_HEADER_REST: what stands beside the map. The status is in context_uid, and these have
 * no names: their lengths are those of empty ones. */
int kp_header_rest(struct pt_regs *regs)
{
	struct __http2_stack *s = stack_mine();

	if (!s)
		return 0;
	struct header_walk_t *h = &s->headers;
	header_put(&h->to, s->burst.payload, 0, 0, h->extra[0], h->extra[1], 0);
	header_put(&h->to, s->burst.payload, 0, 0, h->extra[2], h->extra[3], 0);
	header_put(&h->to, s->burst.payload, 0, 0, h->extra[4], h->extra[5], 0);
	header_send(regs, s);
	return 0;
}
