/* What Go programs write through TLS, told by the stack: while the first ciphertext of a Write
 * leaves, its frame is among those of the goroutine, with the arguments in it (user space has
 * found out where, discovery/go_slots.py). No probe at Write then.
 *
 * A Write of more than one record makes several calls, and is told once. A connection's records
 * are numbered where they are encrypted, one by one under a lock that a Write holds from its first
 * to its last; and how much plaintext is in each is known by its size. So it is known of each
 * record whether a Write begins with it. Where that is not certain, nothing is told, which is
 * counted; and where probes would do better, they are asked for. */
#ifndef OTEL_EBPF_TLS_WRITTEN_H
#define OTEL_EBPF_TLS_WRITTEN_H

#include "asking.h"
#include "go_frames.h"
#include "socket_record.h"
#include "tls_record.h"

#define TLS_WRITE_FRAMES 24 /* from a system call up to its Write: some 10, one more by wrapper */
#define TLS_LEAST_PAYLOAD 1024 /* crypto/tls puts no less into a record that is not the last */
#define TLS_ALONE 64 /* records of alerts and changes of keys are smaller */
#define TLS_1_0 0x0301
#define TLS_1_3 0x0304

/* Where a Write is that makes this system call. */
struct tls_frame_t {
	u64 at;    /* what its frame pointer is; 0: it is not there */
	u64 lo;    /* of the stack */
	u64 hi;
	bool top;  /* it is not there for certain: all frames were seen */
};

INLINE void tls_write_frame(struct member_fields_offset *o, struct op_t *op,
			    struct proc_info_t *pi, struct tls_frame_t *found)
{
	u64 bounds[2] = {}, frame = 0;

	if (!op->g || READ_USER(bounds, op->g, pi->g_stack_hi - 8))
		return;
	found->lo = bounds[0];
	found->hi = bounds[1];
	if (!go_first_frame(o, bounds[0], bounds[1], &frame))
		return;
	NO_UNROLL
	for (int i = 0; i < TLS_WRITE_FRAMES; i++) {
		u64 words[2] = {}; /* the frame above, and the return address */

		if (read_user(words, sizeof(words), frame))
			return;
		found->top = !words[0];
		if (words[0] <= frame || words[0] >= bounds[1])
			return;
		if (words[1] > pi->tls_write_start && words[1] < pi->tls_write_end) {
			found->at = words[0];
			return;
		}
		frame = words[0];
	}
}

/* What each record of the connection adds to its plaintext. 0: that varies, or is not known;
 * below 0: this is no connection that has shaken hands. */
INLINE s32 tls_adds(struct proc_info_t *pi, u64 conn)
{
	u16 vers = 0, suite = 0;
	u32 complete = 0;

	READ_USER(complete, conn, pi->tls_complete);
	READ_USER(vers, conn, pi->tls_vers);
	READ_USER(suite, conn, pi->tls_suite);
	if (complete != 1 || vers < TLS_1_0 || vers > TLS_1_3)
		return -1;
	if (vers == TLS_1_3)
		return 17; /* a tag, and the record's true type */
	if (suite == 0x9c || suite == 0x9d || suite == 0xc02b || suite == 0xc02c ||
	    suite == 0xc02f || suite == 0xc030)
		return 24; /* GCM: a nonce and a tag */
	if (suite == 0xcca8 || suite == 0xcca9)
		return 16; /* ChaCha20-Poly1305: a tag */
	return 0; /* CBC pads */
}

/* The latest record's number. */
INLINE u64 tls_out_number(struct proc_info_t *pi, u64 conn)
{
	u64 number = 0;

	READ_USER(number, conn, pi->tls_out_seq);
	return __builtin_bswap64(number);
}

/* What was written cannot be told: a gap is seen by its size. */
INLINE u8 tls_untold(void *ctx, struct op_t *op, struct socket_state_t *st, u64 len, bool probes)
{
	st->bytes[EGRESS] += len;
	count(STAT_TLS_UNPLACED);
	if (probes)
		ask_about(ctx, op->rec.tgid, PROCESS_WRITES_UNCLEARLY, op->rec.ts);
	return TLS_CIPHER;
}

/* The record of no Write. */
INLINE u8 tls_alone(void *ctx, struct op_t *op, struct socket_state_t *st, struct tls_write_t *w,
		    u64 number, u32 size, bool top)
{
	if (w) {
		w->seq = number;
		w->alone = 1;
	}
	if (st->tls && size >= TLS_ALONE)
		return tls_untold(ctx, op, st, size, !top);
	return st->tls ? TLS_CIPHER : TLS_GOES_ON;
}

/* Bytes that leave on the socket of a TLS connection, or of one that may be. */
INLINE u8 tls_written(void *ctx, struct member_fields_offset *o, struct op_t *op,
		      struct socket_state_t *st, struct proc_info_t *pi, struct tls_conn_t *t,
		      const u8 *header)
{
	struct __socket_data *r = &op->rec;
	u64 sk = op->sk, number = 0;
	u32 size = (u32)header[3] << 8 | header[4];
	bool begins = tls_header(header), next = false;

	if (!st->tls && !begins)
		return TLS_GOES_ON;
	if (t && t->kind == TLS_HANDSHAKE) {
		struct tls_frame_t around = {};
		u64 conn = t->conn;
		u32 complete = 0;
		READ_USER(complete, conn, pi->tls_complete);
		if (!complete)
			tls_write_frame(o, op, pi, &around);
		if (around.at)
			READ_USER(conn, around.at, (s64)pi->tls_write_conn);
		/* In a Write, too: those records are not its own. A Write of another connection may be
		 * part of a handshake: a callback asks somebody. */
		if (!complete && conn == t->conn) {
			if (!tls_learn(op, st, t->conn, TLS_HANDSHAKE, header))
				return st->tls ? TLS_CIPHER : TLS_GOES_ON;
			st->tls_fresh = 1;
			return TLS_CIPHER;
		}
	}
	struct tls_write_t *w = tls_write_map.lookup(&sk);
	if (w && w->socket_id != st->socket_id)
		w = 0;
	if (w && !st->tls_fresh) {
		number = tls_out_number(pi, w->conn);
		if (number == w->seq) { /* the rest of that record, or it is tried again */
			if (!w->alone)
				w->unsent = 0;
			return TLS_CIPHER;
		}
		/* With new keys the numbers begin anew. */
		next = number == w->seq + 1 || (w->alone && number == 1);
	}
	if (!begins) { /* the rest of a record that is older than the tracer; or records are split */
		if (w)
			tls_write_map.delete(&sk);
		return st->tls ? tls_untold(ctx, op, st, op->count, w != 0) : TLS_GOES_ON;
	}
	if (header[0] != TLS_APPLICATION_DATA)
		return tls_alone(ctx, op, st, w, number, 0, true);
	bool whole = op->count <= TLS_RECORD_HEADER + size;
	if (next && w->left && !w->unknown && whole && size > w->overhead) {
		u32 plain = size - w->overhead;
		if (plain == w->left || (plain < w->left && plain >= TLS_LEAST_PAYLOAD)) {
			w->left -= plain;
			w->seq = number;
			w->size = plain;
			w->unsent = 0;
			return TLS_CIPHER;
		}
	}
	struct tls_frame_t frame = {};
	tls_write_frame(o, op, pi, &frame);
	if (!frame.at)
		return tls_alone(ctx, op, st, w, number, size, frame.top);
	struct tls_write_t value = {.socket_id = st->socket_id, .depth = frame.hi - frame.at};
	READ_USER(value.conn, frame.at, (s64)pi->tls_write_conn);
	READ_USER(value.buf, frame.at, (s64)pi->tls_write_buf);
	READ_USER(value.len, frame.at, (s64)pi->tls_write_len);
	if (w && w->conn != value.conn && !st->tls_fresh)
		return TLS_CIPHER; /* within the Write of another connection */
	s32 adds = w && !st->tls_fresh ? w->overhead : tls_adds(pi, value.conn);
	if (adds < 0 || !tls_learn(op, st, value.conn, TLS_WRITE, header))
		return st->tls ? TLS_CIPHER : TLS_GOES_ON;
	bool fresh = st->tls_fresh;
	bool forgotten = !w && st->tls_counted; /* the map was full: it may be tried again */
	st->tls_fresh = 0;
	if (!adds || !whole || size <= adds || size - adds > value.len ||
	    (value.buf >= frame.lo && value.buf < frame.hi)) /* it may have moved with the stack */
		return tls_untold(ctx, op, st, size, true);
	value.size = size - adds;
	value.overhead = adds;
	value.seq = w && !fresh ? number : tls_out_number(pi, value.conn);
	bool other = !w || w->buf != value.buf || w->len != value.len || w->depth != value.depth;
	bool first = fresh || (value.size == value.len && !forgotten) ||
		     (next && (other || (!w->unknown && !w->left)));
	st->tls_counted = 1;
	if (!first) { /* it may have begun before it was seen */
		value.unknown = 1;
		tls_write_map.update(&sk, &value);
		return other ? tls_untold(ctx, op, st, value.len, false) : TLS_CIPHER;
	}
	value.left = value.len - value.size;
	value.ts = r->ts;
	tls_write_map.update(&sk, &value);
	if (st->family != FAMILY_UNIX) {
		u32 seq = 0;
		READ_KERNEL(seq, sk, o->tcp_write_seq);
		r->ref_ts = tls_place(seq + TLS_RECORD_HEADER + size,
				      size > TLS_OVERHEAD ? size - TLS_OVERHEAD : 0, 0);
	}
	return tls_plain(op, st, value.buf, value.len);
}

/* The Write under way has failed, and with it the connection: its record tells of all bytes. */
INLINE void tls_write_failed(void *ctx, u64 id, u64 sk, struct socket_state_t *st)
{
	struct tls_write_t *w = tls_write_map.lookup(&sk);

	if (!w || w->socket_id != st->socket_id || !w->ts)
		return;
	u64 missing = w->left + (w->unsent ? w->size : 0);
	if (!missing || missing > w->len)
		return;
	st->bytes[EGRESS] -= missing;
	tell(ctx, RECORD_CORRECTION, id, st, EGRESS, w->len - missing, w->ts);
	w->ts = 0;
}

/* A send of ciphertext has moved less than it was to: the rest comes, or never does. */
INLINE void tls_write_short(void *ctx, u64 id, u64 sk, struct socket_state_t *st, bool fatal)
{
	struct tls_write_t *w = st->tls ? tls_write_map.lookup(&sk) : 0;

	if (!w || w->socket_id != st->socket_id || w->alone || st->tls_fresh)
		return;
	w->unsent = 1;
	if (fatal)
		tls_write_failed(ctx, id, sk, st);
}

#endif
