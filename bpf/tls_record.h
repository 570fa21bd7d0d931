/* TLS records and the sockets that they pass, whatever library they are of. */
#ifndef OTEL_EBPF_TLS_RECORD_H
#define OTEL_EBPF_TLS_RECORD_H

#include "trace.h"

#define TLS_RECORD_HEADER 5
#define TLS_HANDSHAKE_RECORD 0x16
#define TLS_CHANGE_CIPHER_SPEC 0x14
#define TLS_APPLICATION_DATA 0x17
/* What a record adds to its plaintext: less than this in every cipher suite of crypto/tls. */
#define TLS_OVERHEAD 64

#define TLS_READ_MAX (1 << 30) /* no Read brings more; one TLS record holds 16 KiB */

/* In a go_key, of a thread of a program that is not Go's: with its number. */
#define TLS_THREAD (1ULL << 63)

enum tls_way { TLS_CIPHER = 0, TLS_GOES_ON = 1, TLS_WITNESSES = 2 };

/* A record's header: type, version 3.0 to 3.4, length. */
INLINE bool tls_header(const u8 *p)
{
	return p[0] >= 0x14 && p[0] <= TLS_APPLICATION_DATA && p[1] == 3 && p[2] <= 4;
}

/* A ClientHello: a record that holds one handshake message of type 1. */
INLINE bool tls_hello(const u8 *p)
{
	return p[0] == TLS_HANDSHAKE_RECORD && tls_header(p) && p[5] == 1 && p[6] == 0 &&
	       ((u32)p[7] << 8 | p[8]) + 4 == ((u32)p[3] << 8 | p[4]);
}

INLINE u64 tls_place(u32 end, u32 span, u32 before)
{
	return TLS_PLACE | (u64)end << TLS_PLACE_END_SHIFT |
	       (u64)(span & 0x7fff) << TLS_PLACE_SPAN_SHIFT | (before & 0xffff);
}

/* Who is inside of a TLS library, if anybody is. */
INLINE u64 tls_runner(struct op_t *op)
{
	return op->go ? op->rec.goid : TLS_THREAD | op->rec.tid;
}

/* From now on the socket's conversation is what the program reads and writes through TLS. */
INLINE void tls_begin(struct socket_state_t *st)
{
	st->direction = 0xff;
	st->before_len = 0;
	st->captured = 0;
	st->bytes[INGRESS] = 0;
	st->bytes[EGRESS] = 0;
	st->tls = PROTOCOL_TLS;
}

/* What the socket beneath is known as now; 0 when it is another by now, or left alone. */
INLINE struct socket_state_t *tls_state(u64 sk, u64 socket_id)
{
	struct socket_state_t *st = socket_state_map.lookup(&sk);

	if (!st || st->socket_id != socket_id || !st->tls || st->ignore)
		return 0;
	return st;
}

/* The running goroutine, inside of crypto/tls for `conn`, moves bytes on this socket: it is the
 * one beneath. Bytes that are no TLS record prove nothing. */
INLINE bool tls_learn(struct op_t *op, struct socket_state_t *st, u64 conn, u8 kind,
		      const u8 *header)
{
	struct __socket_data *r = &op->rec;
	struct tls_socket_key key = {.conn = conn, .tgid = r->tgid};
	struct tls_socket_t *known = tls_socket_map.lookup(&key);
	struct tls_socket_t value = {.sk = op->sk, .socket_id = st->socket_id, .fd = r->fd};

	if (st->tls && known && known->socket_id == st->socket_id)
		return true;
	if (!tls_header(header) || tls_socket_map.update(&key, &value))
		return false;
	if (!st->tls) {
		tls_begin(st);
		st->tls_whole = kind == TLS_HANDSHAKE;
	}
	return true;
}

/* From here on op is about what the program has written. */
INLINE u8 tls_plain(struct op_t *op, struct socket_state_t *st, u64 buf, u64 len)
{
	op->buf = buf;
	op->count = len;
	op->iovcnt = 0;
	op->limit = 0;
	op->mmsg = 0;
	op->at_entry = 0; /* how the ciphertext fares says nothing of these bytes */
	op->rec.length = len;
	op->rec.syscall = CALL_TLS_WRITE | (st->tls_whole ? TLS_WHOLE : 0);
	return TLS_GOES_ON;
}

#endif
