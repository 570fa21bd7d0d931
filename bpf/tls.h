/* TLS of Go programs and of OpenSSL, seen from the system calls beneath it. What a program writes
 * is recorded when its first ciphertext leaves, here or in tls_written.h; what it reads is recorded by
 * go_tls.c and openssl.c, on the way out of the library. The ciphertext itself is not recorded. */
#ifndef OTEL_EBPF_TLS_H
#define OTEL_EBPF_TLS_H

#include "openssl.h"
#include "socket_record.h"
#include "tls_record.h"
#include "tls_written.h"

/* Bytes on the socket of a TLS connection, or of one that may be. TLS_GOES_ON: op is to go on,
 * as it is or as the plaintext that these bytes are the first ciphertext of. */
INLINE u8 tls_segment(void *ctx, struct member_fields_offset *o, struct op_t *op,
		      struct socket_state_t *st)
{
	struct __socket_data *r = &op->rec;
	u32 tgid = r->tgid, complete = 0, seq = 0;
	struct go_key key = {.goid = tls_runner(op), .tgid = tgid};
	struct tls_conn_t *t;
	struct proc_info_t *pi;
	u8 header[8] = {};

	if (r->direction == INGRESS && st->tls && !op->go) {
		t = key.goid ? tls_conn_map.lookup(&key) : 0;
		ssl_arrived(o, op, st, t && t->kind == TLS_READ);
		return TLS_CIPHER;
	}
	if (r->direction == INGRESS && st->tls) {
		if (!op->go || st->direction != EGRESS || st->role != ROLE_CLIENT ||
		    st->protocol != PROTOCOL_HTTP1)
			return TLS_CIPHER;
		/* A response comes: who waits for it is asked here, where all means are at hand. */
		r->begins = BEGINS_RESPONSE;
		r->protocol = st->protocol;
		r->syscall = CALL_TLS_READ;
		r->uid = st->uid;
		return TLS_WITNESSES;
	}
	u64 first = op->buf;
	if (op->iovcnt)
		READ_USER(first, op->buf, 0);
	if (op->count >= TLS_RECORD_HEADER)
		read_user(header, TLS_RECORD_HEADER, first);
	t = key.goid ? tls_conn_map.lookup(&key) : 0;
	bool known = st->tls;
	pi = op->go && r->direction == EGRESS ? proc_info_map.lookup(&tgid) : 0;
	if (pi && pi->tls_write_end && key.goid && !(t && t->kind == TLS_WRITE))
		return tls_written(ctx, o, op, st, pi, t, header);
	if (t && !tls_learn(op, st, t->conn, t->kind, header))
		t = 0;
	if (r->direction == INGRESS) {
		if (t && !op->go)
			ssl_arrived(o, op, st, t->kind == TLS_READ);
		if (t)
			return TLS_CIPHER;
		if ((header[0] == TLS_APPLICATION_DATA || !op->go) && tls_header(header) && key.goid) {
			/* Perhaps the Read around it tells in a moment whose bytes these are. */
			struct tls_reader_t reader = {.sk = op->sk,
						      .socket_id = st->socket_id,
						      .ts = r->ts,
						      .fd = r->fd,
						      .type = header[0]};
			tls_reader_map.update(&key, &reader);
		}
		return TLS_GOES_ON;
	}
	if (!op->go)
		return ssl_segment(o, op, st, t, known, first, header);
	if (!t)
		return st->tls ? TLS_CIPHER : TLS_GOES_ON;
	if (t->kind != TLS_WRITE || t->told || header[0] != TLS_APPLICATION_DATA || !pi)
		return TLS_CIPHER;
	if (!pi->tls_armed) { /* nor is the rest of this Write told */
		t->told = 1;
		return TLS_CIPHER;
	}
	/* Where Reads are seen from their entries on, one may have begun before: its bytes, a
	 * request or response, would be missing from the conversation that begins here. */
	if (!known && !pi->tls_kept)
		st->tls_late = 1;
	/* A write that has to shake hands first: those records are not its own. */
	READ_USER(complete, t->conn, pi->tls_complete);
	if (pi->tls_complete < 0 || !complete || st->tls_late)
		return TLS_CIPHER;
	t->told = 1;
	t->ts = r->ts;
	t->sk = op->sk;
	if (st->family != FAMILY_UNIX) {
		u32 size = (u32)header[3] << 8 | header[4];
		READ_KERNEL(seq, op->sk, o->tcp_write_seq);
		r->ref_ts = tls_place(seq + TLS_RECORD_HEADER + size,
				      size > TLS_OVERHEAD ? size - TLS_OVERHEAD : 0, 0);
	}
	return tls_plain(op, st, t->buf, t->len);
}

/* Program 16. */
INLINE int run_tls(void *ctx)
{
	struct op_t *op = operation();
	struct member_fields_offset *o = offsets();

	if (!op || !o)
		return 0;
	u64 sk = op->sk;
	struct socket_state_t *st = socket_state_map.lookup(&sk);
	if (!st)
		return 0;
	if (op->plain && !op->go && tls_header(op->head))
		ssl_ask(ctx, op);
	if (op->plain && !((op->go || ssl_process(op)) && tls_hello(op->head))) { /* bytes that look like it */
		if (op->capture < op->rec.length)
			__progs_jmp_tp_map.call(ctx, PROG_TAIL);
		__progs_jmp_tp_map.call(ctx, PROG_OUTPUT);
		return 0;
	}
	if (op->plain) { /* all that it will be from here on is TLS: CONNECT, STARTTLS */
		tell(ctx, RECORD_CLOSE, (u64)op->rec.tgid << 32 | op->rec.tid, st, 0, 0, 0);
		carry_release(st);
		st->protocol = 0;
		st->is_request = 0;
		return 0;
	}
	u8 way = tls_segment(ctx, o, op, st);
	op->plain = 1;
	if (way == TLS_GOES_ON)
		__progs_jmp_tp_map.call(ctx, PROG_DATA);
	if (way == TLS_WITNESSES)
		__progs_jmp_tp_map.call(ctx, PROG_GO);
	return 0;
}

/* What PROG_GO has found out is kept for the Read. */
INLINE void tls_keep_caller(struct op_t *op)
{
	struct __socket_data *r = &op->rec;
	u64 sk = op->sk;
	struct tls_caller_t value = {.uid = r->uid,
				     .caller_uid = r->caller_uid,
				     .context_uid = r->context_uid,
				     .caller_goid = r->caller_goid,
				     .caller_site = r->caller_site,
				     .flags = r->flags};

	if (r->flags & FLAG_GO_POOLED)
		tls_caller_map.update(&sk, &value);
}

#endif
