/* OpenSSL, seen from the system calls beneath it. An SSL that has a socket makes them itself, on
 * the thread that is in SSL_read or SSL_write. One that reads and writes memory (asyncio, Node)
 * does not: then the call just before, or just after, on the same thread is the one. */
#ifndef OTEL_EBPF_OPENSSL_H
#define OTEL_EBPF_OPENSSL_H

#include "tls_record.h"

/* What a record adds to its plaintext: less than this in every cipher suite. */
#define SSL_OVERHEAD 96
#define SSL_LEAST_OVERHEAD 16
#define SSL_LEAST_FRAGMENT 512 /* max_fragment_length knows none smaller */

/* Whether the process has called OpenSSL. */
INLINE bool ssl_process(struct op_t *op)
{
	u32 *known = ssl_process_map.lookup(&op->rec.tgid);

	return known && *known == SSL_CALLED;
}

/* It sends or gets TLS, and no probe tells of it: user space looks at it again, once in a while,
 * for a library may be loaded at any time. */
INLINE void ssl_ask(void *ctx, struct op_t *op)
{
	u32 tgid = op->rec.tgid, now = SSL_ASKED + (u32)(op->rec.ts >> SSL_ASK_SHIFT);
	u32 *known = ssl_process_map.lookup(&tgid);

	if (known && (*known == SSL_CALLED || now - *known < SSL_ASK_AGAIN))
		return;
	if (ssl_process_map.update(&tgid, &now))
		return;
	tgid |= PROCESS_SPEAKS_TLS;
	process_events.perf_submit(ctx, &tgid, sizeof(tgid));
}

/* Where records begin is not known any more, nor which of them the program has read. */
INLINE void ssl_lost(struct ssl_in_t *in)
{
	in->synced = 0;
	in->used = in->arrived;
	in->taken = 0;
}

/* Ciphertext arrived: where its records end. `inside`: the thread is in an SSL_read. */
INLINE void ssl_arrived(struct member_fields_offset *o, struct op_t *op, struct socket_state_t *st,
			bool inside)
{
	u64 sk = op->sk;
	u32 start = 0, n = op->count;
	struct ssl_in_t *in = ssl_in_map.lookup(&sk);

	if (st->family == FAMILY_UNIX)
		return;
	if (!in || in->socket_id != st->socket_id) {
		struct ssl_in_t fresh = {.socket_id = st->socket_id};
		ssl_in_map.update(&sk, &fresh);
		in = ssl_in_map.lookup(&sk);
		if (!in)
			return;
	}
	if (!op->buf || op->iovcnt) {
		ssl_lost(in);
		return;
	}
	READ_KERNEL(start, sk, o->tcp_copied_seq);
	start -= n;
	if (!in->synced || (s32)(in->at - start) < 0)
		in->at = start;
	NO_UNROLL
	for (int i = 0; i < SSL_RECORDS; i++) {
		u32 off = in->at - start, size;
		u8 header[8] = {};

		if (off >= n)
			return;
		if (off + TLS_RECORD_HEADER > n ||
		    read_user(header, TLS_RECORD_HEADER, op->buf + off) || !tls_header(header)) {
			ssl_lost(in);
			return;
		}
		size = (u32)header[3] << 8 | header[4];
		in->at += TLS_RECORD_HEADER + size;
		in->synced = 1;
		if (header[0] != TLS_APPLICATION_DATA)
			continue;
		u32 slot = in->arrived & (SSL_RECORDS - 1);
		in->ends[slot] = in->at;
		in->sizes[slot] = size;
		in->arrived += 1;
		if (in->arrived - in->used > SSL_RECORDS)
			in->used = in->arrived - SSL_RECORDS;
		if (inside && n == TLS_RECORD_HEADER)
			in->within = in->arrived;
	}
	if (in->at - start < n)
		ssl_lost(in); /* more than are looked at */
}

/* Where in the TCP stream the n bytes were that an SSL_read for `room` bytes has brought. */
INLINE u64 ssl_read_place(struct socket_state_t *st, u64 sk, u64 n, u64 room)
{
	struct ssl_in_t *in = ssl_in_map.lookup(&sk);
	u32 before, last;

	if (!in || in->socket_id != st->socket_id || n > 16384)
		return 0;
	last = (in->arrived - 1) & (SSL_RECORDS - 1);
	if (in->used != in->arrived && in->within == in->arrived &&
	    n + SSL_LEAST_OVERHEAD <= in->sizes[last]) {
		/* OpenSSL has asked for a header alone, so nothing was left of the records before,
		 * and it asks for no more once it has something to bring. */
		in->used = in->arrived;
		in->end = in->ends[last];
		in->size = in->sizes[last];
		in->taken = n;
		if (!in->overhead && n < room)
			in->overhead = in->size - n;
		return tls_place(in->end, n, 0);
	}
	if (in->taken && in->taken + n < in->size) {
		before = in->taken;
		in->taken += n;
		return tls_place(in->end, n, before);
	}
	in->taken = 0;
	u32 found = SSL_RECORDS, exact = 0, fits = 0;
	NO_UNROLL
	for (int i = 0; i < SSL_RECORDS; i++) {
		u32 next = in->used + i, size = in->sizes[next & (SSL_RECORDS - 1)];
		u32 more = size - n;

		if (next == in->arrived)
			break;
		if (n + SSL_LEAST_OVERHEAD > size)
			continue; /* of the handshake, or a ticket */
		if (n == room && more > SSL_OVERHEAD) {
			/* The first part of one that is larger than what was asked for. */
			if (!fits) {
				found = i;
				exact = fits = 1;
			}
			break;
		}
		if (more > SSL_OVERHEAD)
			continue;
		fits += 1;
		if (in->overhead ? more == in->overhead : more == 16 || more == 17 || more == 24) {
			exact += 1;
			if (exact == 1)
				found = i;
		} else if (found == SSL_RECORDS && !exact) {
			found = i;
		}
	}
	/* Records of equal size, of which it may be any: only what is known to add so many bytes
	 * tells them apart, and then the first one comes first. */
	if (found == SSL_RECORDS || (fits > 1 && exact != 1 && !in->overhead))
		return 0;
	u32 slot = (in->used + found) & (SSL_RECORDS - 1);
	in->used += found + 1;
	in->end = in->ends[slot];
	in->size = in->sizes[slot];
	in->taken = n;
	if (!in->overhead && n < room)
		in->overhead = in->size - n;
	return tls_place(in->end, n, 0);
}

/* Whether a record may hold the first of so many bytes. */
INLINE bool ssl_fits(u32 size, u64 len)
{
	u64 least = len < SSL_LEAST_FRAGMENT ? len : SSL_LEAST_FRAGMENT;

	return size > least && size < len + SSL_OVERHEAD;
}

/* What is on its way out is the ciphertext of an SSL_write into memory. Behind the handshake's
 * last records, perhaps. Returns where the record begins that holds its first bytes, or -1. */
INLINE s64 ssl_find_record(u64 at, u64 n, u64 len, u32 *size)
{
	u64 off = 0;

	NO_UNROLL
	for (int i = 0; i < SSL_RECORDS; i++) {
		u8 header[8] = {};

		if (off + TLS_RECORD_HEADER > n || read_user(header, TLS_RECORD_HEADER, at + off) ||
		    !tls_header(header))
			break;
		*size = (u32)header[3] << 8 | header[4];
		if (header[0] == TLS_APPLICATION_DATA && ssl_fits(*size, len))
			return off;
		off += TLS_RECORD_HEADER + *size;
	}
	return -1;
}

/* Ciphertext leaves, by a thread that is in an SSL_write (t), or that was. */
INLINE u8 ssl_segment(struct member_fields_offset *o, struct op_t *op, struct socket_state_t *st,
		      struct tls_conn_t *t, bool known, u64 first, const u8 *header)
{
	struct __socket_data *r = &op->rec;
	u64 sk = op->sk, buf = 0, len = 0, total = 0, head[2] = {};
	u32 seq = 0, size = (u32)header[3] << 8 | header[4];
	s64 off = 0;

	if (!st->tls)
		return TLS_GOES_ON;
	if (t && t->kind == TLS_WRITE) {
		if (header[0] != TLS_APPLICATION_DATA || !tls_header(header))
			return TLS_CIPHER;
		/* An SSL_read that its probe did not see begin may have a message to tell. */
		if (!known && !st->tls_whole)
			st->tls_late = 1;
		if (t->told || st->tls_late || !ssl_fits(size, t->len))
			return TLS_CIPHER;
		t->told = 1;
		t->ts = r->ts;
		t->sk = sk;
		buf = t->buf;
		len = total = t->len;
	} else {
		struct ssl_pending_t *p = ssl_pending_map.lookup(&sk);
		if (!p || p->socket_id != st->socket_id)
			return TLS_CIPHER;
		buf = p->buf;
		len = p->len;
		total = p->total;
		off = ssl_find_record(first, op->iovcnt > 1 ? 16384 : op->count, len, &size);
		if (off < 0)
			return TLS_CIPHER; /* of the handshake: the next one, then */
		u64 n = len < 16 ? len : 16;
		bool same = p->tid == r->tid && !read_user(head, n & 31, buf) &&
			    head[0] == p->head[0] && head[1] == p->head[1];
		ssl_pending_map.delete(&sk);
		if (st->tls_late)
			return TLS_CIPHER;
		if (!same) { /* a gap is seen by its size */
			st->bytes[EGRESS] += total;
			count(STAT_TLS_UNPLACED);
			return TLS_CIPHER;
		}
	}
	if (st->family != FAMILY_UNIX) {
		READ_KERNEL(seq, sk, o->tcp_write_seq);
		r->ref_ts = tls_place(seq + off + TLS_RECORD_HEADER + size,
				      size > SSL_OVERHEAD ? size - SSL_OVERHEAD : 0, 0);
	}
	tls_plain(op, st, buf, total);
	if (total > len)
		op->limit = len;
	return TLS_GOES_ON;
}

#endif
