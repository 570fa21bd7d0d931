/* What is kept of sockets and their calls, and what the units carry that read them. */
#ifndef OTEL_EBPF_SOCKET_TYPES_H
#define OTEL_EBPF_SOCKET_TYPES_H

#include "go_types.h"

enum call {
	CALL_WRITE = 1,
	CALL_SENDTO = 2,
	CALL_SENDMSG = 3,
	CALL_SENDMMSG = 4,
	CALL_WRITEV = 5,
	CALL_READ = 6,
	CALL_RECVFROM = 7,
	CALL_RECVMSG = 8,
	CALL_RECVMMSG = 9,
	CALL_READV = 10,
	CALL_SENDFILE = 11,
	CALL_SPLICE = 12,
	CALL_CONNECT = 13,
	CALL_ACCEPT = 14,
	CALL_DUP = 15,
	CALL_SHUTDOWN = 16,
	CALL_SETSOCKOPT = 32 /* above enum tls_call */
};

struct data_args_t {
	u64 ts;
	u64 buf; /* buffer, or iovec, or mmsghdr array */
	u64 count;
	u32 iovcnt; /* 0: buf is a plain buffer */
	s32 fd;
	union {
		struct {
			s32 other_fd; /* splice's output */
			u32 seq;      /* tcp_seq at entry */
		};
		u64 name; /* datagrams: the address's buffer, or the msghdr */
	};
	u8 call;
	u8 peek;     /* what it returns stays where it is, or never was in the stream */
	u8 discard;  /* MSG_TRUNC: the bytes are gone, but not into the buffer */
	u8 deferred; /* the entry left all to the exit */
	u8 pad[4];
};

/* A socket's latest send whose exit has not been seen, for the exit to put right: where its
 * record is, and the run's state before it. */
struct sent_t {
	u64 generation; /* burst that holds the record; 0: none was made */
	u64 ts;
	u64 count;
	u32 offset; /* in that burst */
	u32 tid;
	u32 before_captured;
	u8 before_direction;
	u8 before_len;
	u8 pad[2];
};

/* What socket is behind a descriptor. */
struct socket_info_t {
	u64 sk;
	u64 socket_id;
	u64 ts;
};

/* One socket, however many descriptors or processes share it. Key: struct sock *. */
struct socket_state_t {
	u64 socket_id;
	u64 identity_a; /* addresses and ports, which tell a reused struct sock apart */
	u64 identity_b;
	u64 uid;        /* of the latest request on this socket */
	u64 trace_key;  /* unit that carries that request */
	u64 opener_key; /* goroutine that inherited in order to connect */
	u64 last_key;   /* latest pid+fd seen */
	u64 go_key;     /* entry of go_conn_map */
	u64 context;    /* entry of go_context_map */
	u64 context_before; /* that of the HTTP/1 connection that it began as */
	u64 ts;
	u64 go_conn;       /* Go's connection of many streams */
	u64 co_generation; /* burst that holds the record segments are added to */
	u64 bytes[2];      /* moved so far in each direction */
	u32 co_offset;
	u32 captured; /* payload bytes taken of this run */
	u32 refs;     /* descriptors that were used with it */
	u32 netns;
	u8 protocol;
	u8 role;
	u8 direction; /* of the current run; 0xff before the first */
	u8 counted;   /* its request counts as open on trace_key */
	u8 ignore;
	u8 family;
	u8 before_len; /* first bytes of the run, while it is too short to judge */
	u8 is_request; /* the run is (part of) a request */
	u8 go_kind;    /* enum go_conn_kind, of go_conn */
	u8 bind_tries; /* reads in which that was looked for */
	u8 go_missed;  /* looks in a row that did not find the streams up to go_aged */
	u8 go_gap;     /* streams are left to be found or told of */
	u32 go_next;   /* number of the next stream when they were looked at */
	u64 go_seen[GO_SEEN]; /* a bit for each stream behind go_told that was told of, too */
	u32 go_told; /* streams up to this one were told of */
	u32 go_aged; /* streams up to this one had begun at the first of those looks */
	u64 before[2]; /* those bytes */
	u64 go_pool; /* net/http.persistConn over it, once that is proved, */
	u64 go_slot; /* and where that has the request which waits for a response */
	struct sent_t sent;
	u16 local_port;
	u16 peer_port;
	u8 go_tries; /* searches for its receiver on a goroutine's stack */
	u8 tls;      /* PROTOCOL_TLS: its bytes are ciphertext, of which the program's calls tell */
	u8 tls_late; /* a Read that its probe did not see begin may still be under way */
	u8 tls_whole; /* seen from its handshake on */
	u8 local_addr[16];
	u8 peer_addr[16];
	u8 several; /* replies may be those of requests before the latest (messages.h) */
	u8 datagram; /* without a connection (datagrams.h) */
	/* MQTT, as long as it is not known (infer_midway.h): a packet that waits for an answer */
	u8 mqtt_asked; /* its type */
	u8 mqtt_direction;
	u16 mqtt_id;
	u8 tls_fresh; /* it has shaken hands, and Go's Write has written nothing since */
	u8 tls_counted; /* its Writes are in tls_write_map, or were */
};

#define LOOP_SEVERAL 1
#define LOOP_STREAMS 2 /* it reads streams of HTTP/2, of which none is carried */

/* What a unit (thread or goroutine) carries. */
struct trace_info_t {
	u64 uid;
	u64 socket_id;
	u64 ts;
	u64 begun; /* when uid's first bytes were read */
	u64 goid;
	u32 open;      /* requests it has read whose response has not begun */
	u8 ambiguous;  /* more than one was open; until none is */
	u8 loop;       /* LOOP_SEVERAL: this was so at some time; LOOP_STREAMS */
	u8 responded;  /* uid's response has begun */
	u8 inherited;  /* taken over from an ancestor */
};

#endif
