/* TLS: calls that are under way, sockets beneath them, records that have arrived. */
#ifndef OTEL_EBPF_TLS_TYPES_H
#define OTEL_EBPF_TLS_TYPES_H

#include "verifier.h"

/* A goroutine is inside of crypto/tls: its arguments, for the way out. Key: go_key. */
struct tls_conn_t {
	u64 conn;     /* *tls.Conn */
	u64 buf;      /* the caller's bytes */
	u64 len;
	u64 depth;    /* of the stack pointer below stack_hi: stacks move, this does not change */
	u64 stack_hi;
	u64 ts;       /* of the record made of a write */
	u64 sk;       /* socket that the record was about */
	s32 fd;       /* descriptor beneath, -1 while it is not known */
	u8 kind;      /* enum tls_kind */
	u8 told;      /* a write's bytes have been recorded */
	u8 pad[2];
};

enum tls_kind { TLS_HANDSHAKE = 1, TLS_READ = 2, TLS_WRITE = 3 };

struct tls_socket_key {
	u64 conn;
	u64 tgid;
};

/* The socket beneath a *tls.Conn. */
struct tls_socket_t {
	u64 sk;
	u64 socket_id;
	s32 fd;
	u32 pad;
};

/* The latest Write of a Go connection, where its frame on the stack tells of it (tls_written.h).
 * Key: struct sock *. */
struct tls_write_t {
	u64 socket_id;
	u64 conn;  /* *tls.Conn */
	u64 buf;   /* the caller's bytes */
	u64 len;
	u64 depth; /* of its frame below stack_hi */
	u64 seq;   /* the latest record's number, as the connection counts what it has encrypted */
	u64 ts;    /* of the record in the burst that tells of it; 0: none does */
	u64 left;  /* bytes of it that no record holds yet */
	u32 size;  /* and those in the latest one */
	u8 overhead; /* what a record adds to them */
	u8 unsent;   /* the latest one has not left whole */
	u8 unknown;  /* how much is left is not known */
	u8 alone;    /* the latest record was no Write's: an alert, a change of keys */
};

/* The socket that a goroutine has read TLS records from, or a thread. Key: go_key. */
struct tls_reader_t {
	u64 sk;
	u64 socket_id;
	u64 ts;
	s32 fd;
	u32 type; /* of the first record */
};

/* An SSL_write whose bytes were recorded, and which is to be called again. Key: tls_socket_key. */
struct ssl_retry_t {
	u64 len;
	u64 ts;
	u64 sk;
};

/* What a program has given to an SSL_write that writes into memory: its ciphertext leaves with
 * the socket's next send. Key: struct sock *. */
struct ssl_pending_t {
	u64 socket_id;
	u64 buf;   /* of the first such call since the last send, */
	u64 len;   /* its bytes, */
	u64 total; /* and those of all calls */
	u64 head[2]; /* its first bytes: they show that the buffer is what it was */
	u32 tid;
	u32 pad;
};

/* The first bytes of the first such call of a connection: within the last step of a handshake
 * Node writes from a buffer that is gone when they leave. Key: struct sock *. */
struct ssl_kept_t {
	u64 socket_id;
	u32 len; /* 0: they have left */
	u32 pad;
	char bytes[CAPTURE_MAX];
};

#define SSL_RECORDS 4

/* Values of ssl_process_map: SSL_CALLED, or when it was asked about, in about seconds. */
enum ssl_process { SSL_CALLED = 1, SSL_ASKED = 2 };
#define SSL_ASK_SHIFT 30
#define SSL_ASK_AGAIN 60

/* In process_events, added to the number of a process that speaks TLS by nobody knows what, or
 * QUIC, or has the kernel encrypt; a process' number has 22 bits. */
#define PROCESS_SPEAKS_TLS (1U << 31)
#define PROCESS_SPEAKS_QUIC (1U << 30)
#define PROCESS_HAS_KERNEL_TLS (1U << 29)
#define PROCESS_WRITES_UNCLEARLY (1U << 28) /* a Go program whose Writes its stack does not tell */

/* TLS records that have arrived on a socket. Key: struct sock *. */
struct ssl_in_t {
	u64 socket_id;
	u32 at;    /* TCP sequence number where the next one begins */
	u32 ends[SSL_RECORDS]; /* numbers behind the latest ones with application data, */
	u32 sizes[SSL_RECORDS];
	u32 arrived; /* how many there were, */
	u32 within;  /* `arrived` when the latest header was asked for within an SSL_read */
	u32 used;    /* and of how many the program has begun to read */
	u32 end;     /* of the one that it has begun, */
	u32 size;
	u32 taken;   /* and what it has read of it */
	u32 synced;
	u32 overhead; /* what a record adds to its plaintext, once that is known */
};

/* What the memory of a Go client told of the caller when the ciphertext of a response came,
 * for the Read that brings it. Key: struct sock *. */
struct tls_caller_t {
	u64 uid; /* of the request */
	u64 caller_uid;
	u64 context_uid;
	u64 caller_goid;
	u64 caller_site;
	u32 flags;
	u32 pad;
};

#endif
