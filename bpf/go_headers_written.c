/* Uprobes on the functions that write a header block, of the same packages as those that have read
 * one in go_headers_read.c, and attached as those are. */
#include "go_headers.h"

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
