/* The way of every segment: socket, protocol, who and why, then into the burst.
 * Three programs that hand on op_buf by tail calls, so that each stays small. */
#ifndef OTEL_EBPF_DATA_H
#define OTEL_EBPF_DATA_H

#include "go_conns.h"
#include "go_round_trip.h"
#include "infer.h"
#include "tls.h"

struct iovec_t {
	u64 base;
	u64 len;
};

#define IOVECS 64
#define TAIL_IOVECS 16   /* most buffers of a segment whose last bytes are looked at */
#define JUDGED_IOVECS 12 /* buffers that a message's first bytes are looked for in */

/* Leaves a send to its exit, where its pages are there and its length is certain. */
INLINE bool defer(struct op_t *op)
{
	u64 id = bpf_get_current_pid_tgid();
	struct data_args_t *known, args = {};
	int zero = 0;

	if (!op->at_entry)
		return false;
	known = __active_write_args_map.lookup(&id);
	if (known) {
		known->deferred = 1;
		return true;
	}
	/* Its exit would take its arguments from the registers. */
	args.ts = op->rec.ts;
	args.buf = op->buf;
	args.count = op->count;
	args.fd = op->rec.fd;
	args.seq = op->seq;
	args.call = op->rec.syscall;
	args.deferred = 1;
	if (__active_write_args_map.update(&id, &args)) {
		count(STAT_ARGS_MAP_FULL);
		return false;
	}
	u64 *sends = deferred_sends.lookup(&zero);
	if (sends)
		__sync_fetch_and_add(sends, 1);
	return true;
}

/* The run is again as it was before the socket's latest send. */
INLINE void take_back(struct socket_state_t *st)
{
	st->direction = st->sent.before_direction;
	st->captured = st->sent.before_captured;
	st->before_len = st->sent.before_len;
}

/* Fills op->head with the first bytes of the run: `had` from earlier segments, the others
 * from this one, however many buffers they are spread over. Returns their number, or -1
 * when this segment cannot be read. */
INLINE s32 peek_head(struct op_t *op, struct socket_state_t *st, u32 had)
{
	__builtin_memset(op->head, 0, sizeof(op->head));
	if (had)
		__builtin_memcpy(op->head, st->before, INFER_BYTES);
	/* What has been done is kept in memory: the verifier then sees the same after every
	 * round, and what follows the loop is looked at once. */
	op->left = op->limit && op->limit < op->count ? op->limit : op->count;
	op->done = had;
	NO_UNROLL
	for (int i = 0; i < JUDGED_IOVECS; i++) {
		struct iovec_t iov = {.base = op->buf, .len = op->count};
		u64 n, left = op->left;
		u32 at = op->done;

		if (op->iovcnt) {
			if (i >= op->iovcnt)
				break;
			if (read_user(&iov, sizeof(iov), op->buf + i * 16))
				return -1;
		} else if (i) {
			break;
		}
		n = iov.len < left ? iov.len : left;
		if (n > INFER_BYTES)
			n = INFER_BYTES;
		if (read_user(op->head + (at & 15), n & 31, iov.base))
			return -1;
		op->left = left - n;
		op->done = at + n;
		if (at + n >= INFER_BYTES || left == n)
			break;
	}
	return op->done > INFER_BYTES ? INFER_BYTES : op->done;
}

/* What the run begins, at its start or while that was not clear. op->head has n bytes. */
INLINE u8 judge(struct op_t *op, struct socket_state_t *st, u32 n, u32 had, u8 *found)
{
	u8 begins, protocol = 0;

	begins = infer(op->rec.tgid, op->head, n, had, op->count, st->protocol, &protocol);
	if (protocol == PROTOCOL_HTTP2) {
		*found = protocol_on(protocol) ? protocol : 0;
		return *found ? begins : BEGINS_NOTHING;
	}
	if (begins == BEGINS_MAYBE && n < INFER_BYTES) {
		__builtin_memcpy(st->before, op->head, INFER_BYTES);
		st->before_len = n;
		return begins;
	}
	st->before_len = 0;
	if (begins == BEGINS_MAYBE)
		begins = BEGINS_NOTHING;
	if (begins != BEGINS_NOTHING) {
		if (!protocol_on(protocol))
			return BEGINS_NOTHING;
		st->protocol = protocol;
		bool request = begins == BEGINS_REQUEST;
		st->role = request == (op->rec.direction == INGRESS) ? ROLE_SERVER : ROLE_CLIENT;
	}
	return begins;
}

/* A request or response begins: ids, who carries it, who caused it. */
INLINE void begin_message(struct op_t *op, struct socket_state_t *st, u8 begins)
{
	struct __socket_data *r = &op->rec;
	struct trace_conf_t *conf = config();

	if (begins == BEGINS_REQUEST && conf) {
		st->uid = conf->uid++;
		st->is_request = 1;
		/* Who asks over a pool's connection is known when the response comes. */
		if (r->direction == EGRESS && !st->go_pool)
			find_parent(op);
	} else if (begins == BEGINS_RESPONSE) {
		st->is_request = 0;
		if (r->direction == EGRESS)
			carry_release(st);
	}
}

INLINE void fill_address(struct __socket_data *r, struct socket_state_t *st)
{
	r->socket_id = st->socket_id;
	r->role = st->role;
	r->protocol = st->protocol;
	r->family = st->family;
	r->netns = st->netns;
	r->local_port = st->local_port;
	r->peer_port = st->peer_port;
	__builtin_memcpy(r->local_addr, st->local_addr, 16);
	__builtin_memcpy(r->peer_addr, st->peer_addr, 16);
}

/* The number of a Unix socket's peer, which both ends know the pair by. Only of sockets that
 * were seen to be made: of those, both ends have counted the same bytes. */
INLINE void find_unix_peer(struct __socket_data *r, struct socket_state_t *st)
{
	u64 peer = st->identity_a;
	u64 *mine = (u64 *)st->local_addr, *theirs = (u64 *)st->peer_addr;

	if (!*mine || *theirs || !peer)
		return;
	struct socket_state_t *other = socket_state_map.lookup(&peer);
	if (!other || other->family != FAMILY_UNIX)
		return;
	*theirs = *(u64 *)other->local_addr;
	*(u64 *)r->peer_addr = *theirs;
}

INLINE void read_seq(struct member_fields_offset *o, struct op_t *op, struct socket_state_t *st)
{
	struct __socket_data *r = &op->rec;
	u32 seq = 0;

	if (st->family == FAMILY_UNIX || st->tls) {
		r->tcp_seq = (u32)st->bytes[r->direction & 1];
		if (st->family == FAMILY_UNIX && r->direction == INGRESS)
			find_unix_peer(r, st);
	} else if (r->direction == EGRESS) {
		r->tcp_seq = op->seq;
	} else {
		u32 next = 0;
		READ_KERNEL(seq, op->sk, o->tcp_copied_seq);
		if (op->state != TCP_ESTABLISHED) {
			/* A FIN takes a number too; this read may have gone past it. */
			READ_KERNEL(next, op->sk, o->tcp_rcv_nxt);
			if (op->state != TCP_FIN_WAIT1 && op->state != TCP_FIN_WAIT2 && seq == next)
				seq -= 1;
		}
		r->tcp_seq = seq - (u32)op->count;
	}
}

/* Joins n more bytes, 1 to 8, to the last bytes so far: in memory's order, at the top end. */
INLINE u32 add_tail(u64 *tail, u32 len, u64 more, u32 n)
{
	more <<= 8 * (8 - n) & 63;
	*tail = n < 8 ? *tail >> (8 * n & 63) | more : more;
	return len + n > 8 ? 8 : len + n;
}

INLINE void set_tail(struct __socket_data *r, u64 tail, u32 len)
{
	tail = len ? tail >> (8 * (8 - len) & 63) : 0;
	r->tail_len = len;
	__builtin_memcpy(r->tail, &tail, 8);
}

/* Adds a segment without payload to the record of the one before it, when that is still
 * in this CPU's burst and nothing is missing between them. */
INLINE bool coalesce(struct op_t *op, struct socket_state_t *st)
{
	struct __socket_data *r = &op->rec;
	struct __socket_data *last = burst_record(st->co_generation, st->co_offset);

	if (!last || last->socket_id != r->socket_id || last->direction != r->direction ||
	    last->type != RECORD_DATA || last->data_len ||
	    last->tcp_seq + (u32)last->length != r->tcp_seq || last->segments == 0xffff)
		return false;
	last->length += r->length;
	last->segments += 1;
	last->end_ts = r->end_ts;
	u64 before = 0, tail = 0;
	u32 len = r->tail_len;
	__builtin_memcpy(&tail, r->tail, 8);
	if (len && len < 8 && len == r->length) {
		u32 had = last->tail_len;
		__builtin_memcpy(&before, last->tail, 8);
		before = had && had <= 8 ? before << (8 * (8 - had) & 63) : 0;
		len = add_tail(&before, had, tail, len);
		set_tail(last, before, len);
	} else {
		last->tail_len = len;
		__builtin_memcpy(last->tail, &tail, 8);
	}
	count(STAT_COALESCED);
	return true;
}

/* The last bytes of a segment, up to 8: where a chunked body's end shows. They may lie in
 * several buffers, of which the last one need not be full. */
INLINE void read_tail(struct op_t *op)
{
	struct __socket_data *r = &op->rec;

	r->tail_len = 0;
	if (op->mmsg || !op->buf || op->iovcnt > TAIL_IOVECS)
		return;
	/* Kept in memory: the verifier then sees the same in every round. */
	op->tail = 0;
	op->done = 0;
	op->left = op->count;
	NO_UNROLL
	for (int i = 0; i < TAIL_IOVECS; i++) {
		u64 left = op->left;
		struct iovec_t iov = {.base = op->buf, .len = left};
		u64 piece[2] = {};
		u32 n = 8;

		if (left == 0)
			break;
		if (op->iovcnt) {
			if (i >= op->iovcnt)
				break;
			if (read_user(&iov, sizeof(iov), op->buf + i * 16))
				return;
		} else if (i) {
			break;
		}
		if (iov.len > left)
			iov.len = left;
		if (iov.len == 0)
			continue;
		left -= iov.len;
		op->left = left;
		if (iov.len < n)
			n = iov.len;
		else if (left >= 8)
			continue; /* more than enough follows */
		if (read_user(piece, n & 15, iov.base + iov.len - n))
			return;
		op->done = add_tail(&op->tail, op->done, piece[0], n);
	}
	set_tail(r, op->tail, op->done);
}

/* Copies op->capture bytes behind the header. Returns how many, or -1 on a fault. */
INLINE s64 copy_payload(struct op_t *op, char *to)
{
	u64 want = op->capture, got = 0;

	if (want > CAPTURE_MAX)
		want = CAPTURE_MAX;
	if (want == 0)
		return 0;
	if (!op->iovcnt) {
		if (read_user_most(to, want, CAPTURE_MAX, op->buf))
			return -1;
		return want;
	}
	/* What is left is kept in memory: the verifier then sees the same in every round. */
	op->capture = want;
	NO_UNROLL
	for (int i = 0; i < IOVECS; i++) {
		struct iovec_t iov = {};
		u64 left = op->capture, n;

		if (i >= op->iovcnt || left == 0 || left > want)
			break;
		if (read_user(&iov, sizeof(iov), op->buf + i * 16))
			return -1;
		n = iov.len < left ? iov.len : left;
		if (n > CAPTURE_MAX)
			break;
		if (read_user_most(to + ((want - left) & (CAPTURE_MAX - 1)), n, CAPTURE_MAX, iov.base))
			return -1;
		op->capture = left - n;
	}
	got = want - op->capture;
	return got > CAPTURE_MAX ? -1 : got;
}

/* The usual message, whole in one buffer on a socket whose protocol is known: its payload
 * goes to its place in the burst at once, and is judged there. False: the long way. */
INLINE bool copy_at_once(void *ctx, struct op_t *op, struct socket_state_t *st, u32 capture)
{
	u64 want = op->count, at = 0;

	if (!op->buf || op->iovcnt || op->limit || want < INFER_BYTES)
		return false;
	if (want > capture)
		want = capture;
	if (want > CAPTURE_MAX || want < INFER_BYTES)
		return false;
	struct __socket_data_buffer *b = burst_reserve(ctx, op->rec.end_ts, &at);
	if (!b || at > BURST_DATA - RECORD_ROOM)
		return false;
	char *to = b->data + at + sizeof(struct __socket_data);
	if (read_user_most(to, want, CAPTURE_MAX, op->buf))
		return false;
	__builtin_memset(op->head + INFER_BYTES, 0, sizeof(op->head) - INFER_BYTES);
	__builtin_memcpy(op->head, to, INFER_BYTES);
	op->copied = 1;
	if (op->at_entry) {
		st->sent.generation = b->generation;
		st->sent.offset = at;
	}
	return true;
}

/* For the exit of a send to put right what its entry told. */
INLINE void note_sent(struct op_t *op, struct socket_state_t *st, u32 had)
{
	st->sent.generation = 0;
	st->sent.ts = op->rec.ts;
	st->sent.count = op->count;
	st->sent.tid = op->rec.tid;
	st->sent.before_captured = st->captured;
	st->sent.before_direction = st->direction;
	st->sent.before_len = had;
}

#include "http2.h"
#include "python.h"
#include "turns.h"
#include "pools.h"
#include "messages.h"

/* Program 0. op_buf holds direction, fd, sk, buffer and the bytes moved. */
INLINE int run_data(void *ctx)
{
	struct op_t *op = operation();
	struct member_fields_offset *o = offsets();
	struct trace_conf_t *conf = config();
	struct socket_state_t *st;
	u8 begins = BEGINS_NOTHING;

	if (!op || !o || !conf)
		return 0;
	struct __socket_data *r = &op->rec;
	st = socket_find(o, r->tgid, r->fd, op->sk, r->ts, &op->state);
	if (!st || st->ignore) {
		if (st)
			count(STAT_SELF);
		return 0;
	}
	find_unit(o, op);
	if (op->turns && r->direction == INGRESS)
		turn_does(0); /* until it is known what that was */
	u32 first = op->go && !op->streams ? go_new_streams(op, st) : 0;
	if (first == PROG_GO_STREAMS && !op->at_entry && st->protocol == PROTOCOL_HTTP2 && !st->tls)
		op->after = GO_AFTER;
	else if (first)
		__progs_jmp_tp_map.call(ctx, first);
	if (!op->plain && (st->tls || (!st->protocol && (op->go || ssl_process(op)))))
		__progs_jmp_tp_map.call(ctx, PROG_TLS);
	if (st->protocol >= PROTOCOL_HTTP2) {
		if (st->protocol == PROTOCOL_HTTP2)
			http2_segment(ctx, o, op, http2_walk(), st, false, 0, false);
		else
			__progs_jmp_tp_map.call(ctx, PROG_MESSAGES);
		return 0;
	}
	bool start = st->direction != r->direction;
	u32 had = start ? 0 : st->before_len & (INFER_BYTES - 1);
	bool unclear = op->buf && (start || had);
	s32 n = 0;
	if (op->at_entry)
		note_sent(op, st, had);
	if (start && st->protocol && copy_at_once(ctx, op, st, conf->capture)) {
		n = INFER_BYTES;
	} else if (unclear) {
		n = peek_head(op, st, had);
		if (n < 0 && defer(op))
			return 0;
		if (n < 0)
			n = 0;
	} else if (st->protocol && st->captured >= conf->capture && defer(op)) {
		return 0; /* only its length will count */
	}
	if (start) {
		st->direction = r->direction;
		st->captured = 0;
		st->before_len = 0;
		r->flags |= FLAG_RUN_START;
	}
	if (unclear) {
		/* A length-only start (sendfile) begins nothing that can be judged. */
		u8 found = 0;
		begins = judge(op, st, n, had, &found);
		if (found == PROTOCOL_HTTP2) {
			bool preface = begins == BEGINS_REQUEST;
			if (op->at_entry) { /* judged again at its exit */
				take_back(st);
				st->sent.generation = 0;
			}
			http2_segment(ctx, o, op, http2_walk(), st, !preface,
				      preface ? HTTP2_PREFACE - had : 0, false);
			return 0;
		}
		if (begins == BEGINS_NOTHING && !st->protocol) {
			op->total = op->count + had;
			__progs_jmp_tp_map.call(ctx, PROG_MESSAGES);
		}
		if (begins != BEGINS_MAYBE)
			begin_message(op, st, begins);
	}
	r->begins = begins;
	fill_address(r, st);
	if (begins == BEGINS_INTERIM && switches_protocols(op->head) &&
	    protocol_on(PROTOCOL_WEBSOCKET))
		st->protocol = PROTOCOL_WEBSOCKET;
	read_seq(o, op, st);
	st->bytes[r->direction & 1] += op->count;
	if (!st->protocol && begins != BEGINS_MAYBE) {
		count(STAT_UNKNOWN_PROTOCOL);
		return 0;
	}
	if (st->role == ROLE_SERVER && r->direction == INGRESS && st->is_request)
		carry(op, st, r->ts);
	r->uid = st->uid;
	if (op->turns && r->direction == INGRESS)
		turn_does(st->uid);
	op->capture = 0;
	if (op->buf && st->captured < conf->capture) {
		op->capture = conf->capture - st->captured;
		if (op->count < op->capture)
			op->capture = op->count;
		if (op->limit && op->limit < op->capture)
			op->capture = op->limit;
		st->captured += op->capture;
	}
	if (unclear && begins == BEGINS_NOTHING && op->head[0] == TLS_HANDSHAKE_RECORD) {
		op->plain = 1;
		__progs_jmp_tp_map.call(ctx, PROG_TLS);
	}
	/* Nothing is asked of a Go program's memory on the way out, but where databases are
	 * called with contexts, nor again of a server's connection that is known, unless
	 * ancestry is of use. */
	if ((r->direction == EGRESS && (!op->works || begins != BEGINS_REQUEST)) || begins == BEGINS_NOTHING ||
	    (st->context && begins == BEGINS_REQUEST && !op->births))
		op->go = 0;
	if (op->pools && (begins != BEGINS_NOTHING || pool_answers(st, r)))
		__progs_jmp_tp_map.call(ctx, PROG_POOL);
	if (op->python && r->direction == EGRESS && begins != BEGINS_NOTHING)
		__progs_jmp_tp_map.call(ctx, PROG_PYTHON);
	if (op->turns && r->direction == EGRESS && begins != BEGINS_NOTHING)
		__progs_jmp_tp_map.call(ctx, PROG_TURN);
	if (op->capture < op->count)
		__progs_jmp_tp_map.call(ctx, PROG_TAIL);
	if (op->go)
		__progs_jmp_tp_map.call(ctx, PROG_GO);
	__progs_jmp_tp_map.call(ctx, PROG_OUTPUT);
	return 0;
}

/* Program 7: a segment that is not captured to its end. */
INLINE int run_tail(void *ctx)
{
	struct op_t *op = operation();

	if (!op)
		return 0;
	u64 sk = op->sk;
	struct socket_state_t *st = socket_state_map.lookup(&sk);
	read_tail(op);
	if (op->capture == 0 && st && coalesce(op, st))
		return 0;
	if (op->go)
		__progs_jmp_tp_map.call(ctx, PROG_GO);
	__progs_jmp_tp_map.call(ctx, PROG_OUTPUT);
	return 0;
}

/* Program 1: Go's witnesses. */
INLINE int run_go(void *ctx)
{
	struct op_t *op = operation();
	int zero = 0;
	struct go_birth_t *scratch = birth_buf.lookup(&zero);

	if (!op)
		return 0;
	struct __socket_data *r = &op->rec;
	u32 tgid = r->tgid;
	u64 sk = op->sk;
	struct proc_info_t *pi = proc_info_map.lookup(&tgid);
	struct socket_state_t *st = socket_state_map.lookup(&sk);
	if (r->direction == EGRESS) {
		if (pi)
			go_find_work(ctx, op, pi);
	} else if (pi && st && (pi->http1 || pi->round_trip)) {
		struct go_key key = {.goid = r->goid, .tgid = tgid};
		struct go_conn_t *gc = go_conn_map.lookup(&key);

		/* What is too short to judge was read ahead, on a goroutine of its own. */
		if (!gc && op->g && !op->go_looked && r->begins != BEGINS_MAYBE &&
		    r->protocol == PROTOCOL_HTTP1 && st->go_tries < GO_STACK_TRIES)
			__progs_jmp_tp_map.call(ctx, PROG_GO_STACK);
		if (r->begins == BEGINS_REQUEST && op->births) {
			pi->births += 1;
			note_births(op, pi, scratch);
		}
		if (gc) {
			st->go_key = r->goid;
			if (gc->kind == GO_CONN_SERVER && !st->context)
				go_bind_server(op, st, pi, gc->receiver);
			if (gc->kind == GO_CONN_CLIENT && r->begins != BEGINS_REQUEST) {
				if (pi->round_trip)
					go_told_caller(op, gc->receiver);
				else
					go_find_caller(ctx, op, st, pi, gc->receiver);
			}
		}
	} else if (pi && st && r->begins == BEGINS_REQUEST && op->births) {
		pi->births += 1;
		note_births(op, pi, scratch);
	}
	__progs_jmp_tp_map.call(ctx, PROG_OUTPUT);
	return 0;
}

/* Program 2: the record goes into the burst. */
INLINE int run_output(void *ctx)
{
	struct op_t *op = operation();
	u64 at = 0;

	if (!op)
		return 0;
	u64 now = op->rec.end_ts; /* a moment ago */
	struct __socket_data *r = &op->rec;
	if (r->syscall == CALL_TLS_READ) {
		tls_keep_caller(op);
		return 0;
	}
	struct __socket_data_buffer *b = burst_reserve(ctx, now, &at);
	if (!b || at > BURST_DATA - RECORD_ROOM)
		return 0;
	char *to = b->data + at;
	s64 payload = op->copied ? op->capture : copy_payload(op, to + sizeof(*r));
	if (payload < 0) {
		u64 key = op->sk;
		struct socket_state_t *state = socket_state_map.lookup(&key);
		if (state && defer(op)) {
			state->bytes[EGRESS] -= op->count;
			take_back(state);
			return 0;
		}
		count(STAT_READ_FAULT);
		payload = 0;
	}
	u32 data_len = (u32)payload & 0x1fff;
	r->data_len = data_len;
	r->segments = 1;
	r->size = (sizeof(*r) + data_len + 7) & ~7;
	__builtin_memcpy(to, r, sizeof(*r));
	bool merges = data_len == 0 && r->type == RECORD_DATA;
	bool place = op->at_entry && !op->copied;
	if (place || merges) {
		u64 sk = op->sk;
		struct socket_state_t *st = socket_state_map.lookup(&sk);
		if (st && place) {
			st->sent.generation = b->generation;
			st->sent.offset = at;
		}
		if (st && merges) {
			st->co_generation = b->generation;
			st->co_offset = at;
		}
	}
	burst_commit(b, r->size);
	if (op->slices) /* there is more of this call */
		__progs_jmp_tp_map.call(ctx, r->type == RECORD_DATAGRAM ? PROG_DATAGRAM : PROG_SLICE);
	if (op->kin.count)
		__progs_jmp_tp_map.call(ctx, PROG_GO_LINEAGE);
	return 0;
}

#endif
