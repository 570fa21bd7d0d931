/* OpenSSL, seen from the system calls beneath it. An SSL that has a socket makes them itself, on
 * the thread that is in SSL_read or SSL_write. One that reads and writes memory (asyncio, Node)
 * does not: then the call just before, or just after, on the same thread is the one. */
#ifndef OTEL_EBPF_OPENSSL_H
#define OTEL_EBPF_OPENSSL_H

#include "asking.h"
#include "openssl_in.h"

#define SSL_WHOLE_SEND 16384 /* what is smaller is all that there was to be sent */
#define SSL_LEAST_FRAGMENT 512 /* max_fragment_length knows none smaller */

/* Whether the process has called OpenSSL. */
INLINE bool ssl_process(struct op_t *op)
{
	u32 *known = ssl_process_map.lookup(&op->rec.tgid);

	return known && *known == SSL_CALLED;
}

/* It sends or gets TLS, and no probe tells of it. */
INLINE void ssl_ask(void *ctx, struct op_t *op)
{
	ask_about(ctx, op->rec.tgid, PROCESS_SPEAKS_TLS, op->rec.ts);
}

/* Whether a record may hold the first of so many bytes. */
INLINE bool ssl_fits(u32 size, u64 len)
{
	u64 least = len < SSL_LEAST_FRAGMENT ? len : SSL_LEAST_FRAGMENT;

	return size >= least + SSL_LEAST_OVERHEAD && size < len + SSL_OVERHEAD;
}

/* What is on its way out is the ciphertext of an SSL_write into memory. Behind the handshake's
 * last records, perhaps. Returns where the record begins that holds its first bytes, or -1. */
INLINE s64 ssl_find_record(u64 at, u64 n, u64 len, u32 *size)
{
	u64 off = 0;
	bool finished = false; /* what comes next: the handshake's last message, of 1.3 in disguise */

	NO_UNROLL
	for (int i = 0; i < SSL_RECORDS; i++) {
		u8 header[8] = {};

		if (off + TLS_RECORD_HEADER > n || read_user(header, TLS_RECORD_HEADER, at + off) ||
		    !tls_header(header))
			break;
		*size = (u32)header[3] << 8 | header[4];
		if (header[0] == TLS_APPLICATION_DATA && !finished && ssl_fits(*size, len))
			return off;
		finished = header[0] == TLS_CHANGE_CIPHER_SPEC;
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
		u32 p_tid = p->tid;
		u64 p_len = len;
		ssl_pending_map.delete(&sk);
		if (st->tls_late)
			return TLS_CIPHER;
		struct ssl_kept_t *kept = same || p_tid != r->tid ? 0 : ssl_kept_map.lookup(&sk);
		if (kept && kept->socket_id == st->socket_id && kept->len) {
			same = true;
			op->kept = 1;
			buf = (u64)kept->bytes;
			len = kept->len;
			kept->len = 0;
		}
		/* More was written than this send can carry: one before it went unseen, and the buffer
		 * may be that one's. (What fills a record may be sent in parts.) */
		if (total > p_len && op->count < SSL_WHOLE_SEND && op->count < total + SSL_LEAST_OVERHEAD)
			same = false;
		if (!same) { /* a gap is seen by its size */
			op->kept = 0;
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
	if (total > len || op->kept)
		op->limit = len;
	return TLS_GOES_ON;
}

#endif
