/* TLS records that arrive for OpenSSL, and which of them a program has read. */
#ifndef OTEL_EBPF_OPENSSL_IN_H
#define OTEL_EBPF_OPENSSL_IN_H

#include "tls_record.h"

/* What a record adds to its plaintext: less than this in every cipher suite. */
#define SSL_OVERHEAD 96
#define SSL_LEAST_OVERHEAD 16

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

#endif
