/* The records that leave the kernel, and the words both halves use for them.
 *
 * Python mirrors this file in otel_ebpf/events/layout.py; a test compiles it with
 * `gcc -g` and compares every member with that mirror through DWARF. Values are
 * data: append, never renumber.
 */
#ifndef OTEL_EBPF_RECORDS_H
#define OTEL_EBPF_RECORDS_H

#ifdef OTEL_EBPF_HOST_COMPILE
#include <stdint.h>
typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t s32;
typedef int64_t s64;
#endif

#define BURST_SIZE 32768 /* largest value of a per-CPU array on every kernel since 5.10 */
#define BURST_HEADER 48
#define BURST_DATA (BURST_SIZE - BURST_HEADER)
#define BURST_RECORDS 128 /* records after which a burst leaves, full or not */
#define CAPTURE_MAX 4096  /* upper limit of the captured bytes of one segment */

enum record_type {
	RECORD_VOID = 0,       /* taken back: the send moved nothing */
	RECORD_DATA = 1,       /* bytes moved on a socket */
	RECORD_CLOSE = 2,      /* the last known descriptor of a socket was closed */
	RECORD_CORRECTION = 3, /* a send recorded at `ref_ts` moved only `length` bytes */
	RECORD_EXEC = 4,
	RECORD_FORK = 5, /* a new process; `uid` holds its parent's tgid */
	RECORD_EXIT = 6, /* a process has ended */
	RECORD_EOF = 7,  /* the peer closed its side, or shutdown(SHUT_WR) closed ours */
	RECORD_ERROR = 8, /* a socket call failed for good; `length` holds the errno */
	RECORD_STREAM = 9, /* who asked for client stream `length` of socket_id's connection */
	RECORD_LINEAGE = 10, /* goroutines through which caller_goid inherits `uid`; see go_lineage.h */
	RECORD_WAKE = 11, /* the response to request `uid` has led to this thread's being woken in
			  * its segment `goid`; see pools.h */
	RECORD_HEADERS = 12, /* a header block of stream `length`, decoded; see go_headers.h */
	RECORD_DATAGRAM = 13 /* like RECORD_DATA, of one datagram, with its own peer; tcp_seq: errno
			      * of a send that failed */
};

enum direction { INGRESS = 0, EGRESS = 1 };
enum role { ROLE_UNKNOWN = 0, ROLE_CLIENT = 1, ROLE_SERVER = 2 };
enum family { FAMILY_NONE = 0, FAMILY_IPV4 = 1, FAMILY_IPV6 = 2, FAMILY_UNIX = 3 };

/* What a segment begins, as the kernel's inference saw it. */
enum begins {
	BEGINS_NOTHING = 0,
	BEGINS_REQUEST = 1,
	BEGINS_RESPONSE = 2,
	BEGINS_INTERIM = 3, /* HTTP 1xx */
	BEGINS_MAYBE = 4,   /* too few bytes to tell */
	BEGINS_FRAMES = 5   /* nothing by itself; its payload is as http2_record.h tells */
};

/* How parent_uid was found; docs/correlation.md explains each. */
enum parent_rule {
	RULE_NONE = 0,
	RULE_THREAD = 1,    /* the writing thread carries the request */
	RULE_SOLE = 2,      /* a thread that serves several; one was in flight */
	RULE_GOROUTINE = 3, /* the writing goroutine carries it */
	RULE_ANCESTOR = 4,  /* a goroutine that bore the writer, during the request */
	RULE_AMBIGUOUS = 5, /* several requests in flight on the thread: no parent */
	RULE_WORKER = 6,    /* the thread carries none; parent_uid is the segment of the one that woke
			     * it, or 0 (pools.h) */
	RULE_SERVER = 7     /* the same, of a thread that has served requests */
};

enum record_flags {
	FLAG_RUN_START = 1,     /* first segment since the direction turned */
	FLAG_RESPONDED = 2,     /* the parent's response had begun already */
	FLAG_GO = 4,            /* goid is that of a goroutine */
	FLAG_CALLER = 8,        /* caller_uid comes from the parked caller */
	FLAG_CONTEXT = 16,      /* context_uid comes from the context chain */
	FLAG_DEFERRED = 32,     /* a send recorded at its exit, with its entry's time */
	FLAG_GO_POOLED = 64,    /* read on the read loop of a net/http client connection */
	FLAG_CALLER_PARENT = 128 /* the caller inherits from the goroutine that bore it */
};

/* Values of `syscall` that are no system calls: bytes that passed through TLS, as the program
 * wrote and read them. The others are enum call's. */
enum tls_call {
	CALL_TLS_READ = 17,
	CALL_TLS_WRITE = 18,
	TLS_WHOLE = 128 /* added: the connection was followed from its handshake on */
};

/* `ref_ts` of such a record (`caller_site` where it has frames) tells where in the TCP stream its first byte travelled, for both
 * ends the same: this bit; 32 bits, the number behind the TLS record that held it; 15 bits,
 * how many bytes that record certainly held from there on; 16 bits, bytes before it in it. */
#define TLS_PLACE (1ULL << 63)
/* Where a request's ref_ts tells of its context instead (below), `fd` has those 32 bits, or 0. */
#define TLS_PLACE_END_SHIFT 31
#define TLS_PLACE_SPAN_SHIFT 16

/* `ref_ts` of RECORD_HEADERS. */
enum headers_told {
	HEADERS_PLACED = 1, /* the read that brought the block's end began at tcp_seq */
	HEADERS_CUT = 2,    /* there was more than there is room for, or that could be read */
	HEADERS_OF_MAP = 4  /* a response's head as a Go program keeps it: its status in context_uid, its
			     * fields in no order, and three without names at the end: date, content-type,
			     * content-length */
};

/* Without FLAG_GO: caller_goid is the CPython context that the thread runs in, with this flag
 * that of an asyncio task, whose number's low 16 bits are on top; of a request, caller_site and context_uid are those of the task that
 * waits for it and of the next one, or those that it was copied from: then ref_ts and
 * caller_uid tell when. Of a response, ref_ts tells when its context was made, if known. */
#define FLAG_TASK FLAG_CALLER

/* The same, of a loop with turns (turns.h): caller_uid is the message that the thread read last
 * before it wrote this one; FLAG_OPENED: before it asked for this connection, whose first
 * request this is; FLAG_DUE: a timer may have run in between. caller_goid is of enum turns. */
#define FLAG_TURN FLAG_CONTEXT
#define FLAG_OPENED FLAG_CALLER_PARENT
#define FLAG_DUE FLAG_GO_POOLED

/* Without FLAG_GO: goid of a request or response that leaves is the segment of its thread where
 * those are followed (pools.h), else 0; parent_uid of such a response is the request whose own
 * response has reached the thread last, or 0. */

/* Of a protocol of messages.h, where it is recognised: the connection was seen to be made, and
 * these are its first bytes. */
#define FLAG_FRESH FLAG_RUN_START

/* And of every segment that follows: it is not the first one of its direction. */
#define FLAG_BEHIND FLAG_RUN_START

/* Counters of __trace_stats_map. Indices of `counts`. */
enum stat {
	STAT_RECORDS = 0,          /* records written to bursts */
	STAT_BURSTS = 1,           /* bursts submitted */
	STAT_BURST_LOST = 2,       /* records lost with a burst that the perf buffer refused */
	STAT_UNKNOWN_PROTOCOL = 3, /* segments of sockets that speak no known protocol */
	STAT_READ_FAULT = 4,       /* payloads that could not be read */
	STAT_SOCKET_MAP_FULL = 5,
	STAT_TRACE_MAP_FULL = 6,
	STAT_ARGS_MAP_FULL = 7,
	STAT_COALESCED = 8,        /* segments added to an earlier record */
	STAT_TAKEN_BACK = 9,       /* sends that moved nothing */
	STAT_SHORT_SENDS = 10,     /* sends that moved less than asked */
	STAT_PORT_REFUSED = 11,    /* sockets outside the chosen ports */
	STAT_SELF = 12,            /* segments of the agent's own export */
	STAT_GO_NOT_PARKED = 13,   /* responses whose caller was not waiting yet */
	STAT_GO_DISAGREE = 14,     /* the two witnesses named different requests */
	STAT_GO_STALE_CONTEXT = 15, /* a context of an earlier request on the connection */
	STAT_SOCKETS_OPENED = 16,
	STAT_SOCKETS_CLOSED = 17,
	STAT_TRACES_OPENED = 18,
	STAT_TRACES_CLOSED = 19,
	STAT_FLUSHES = 20,         /* getppid flushes that found something to send */
	STAT_PROTOCOL_OFF = 21,    /* segments of a protocol that is switched off */
	STAT_REGISTERS = 22,       /* not a count: system calls' registers can be read */
	STAT_GO_STACK_FOUND = 23,   /* receivers found on a goroutine's stack */
	STAT_GO_STACK_NOTHING = 24, /* stacks on which there was none */
	STAT_GO_STREAMS_UNBOUND = 25, /* client streams of which nothing tells who asked */
	STAT_GO_SCAN_CUT = 26,        /* tables of streams too large to be looked through */
	STAT_GO_THREADS_FULL = 27,
	STAT_GO_BIRTHS = 28,           /* goroutines whose birth runtime.newproc1 told */
	STAT_GO_IDENTITY_DIFFERS = 29, /* memory and the scheduler named different goroutines */
	STAT_GO_IDENTITY_AGREES = 30,  /* the same one */
	STAT_GO_PARENT_DIFFERS = 31,   /* or who bore it */
	STAT_GO_PARENT_AGREES = 32,
	STAT_TLS_UNPLACED = 33,     /* TLS calls that moved bytes of no socket that is known */
	STAT_TLS_CROWDED = 34,      /* TLS reads that found no room to be recorded in */
	STAT_HTTP2_UNSEEN = 35,     /* segments of HTTP/2 that no program was left for */
	STAT_HEADERS_UNPLACED = 36, /* header blocks told of connections whose socket is not known */
	STAT_HEADERS_CROWDED = 37,  /* header blocks that found no room to be told in */
	STAT_HTTP2_CUT = 38,        /* segments with more frames than were gone through */
	STAT_GO_LOOK_CUT = 39,      /* looks at streams that left some to the next segment */
	STAT_HTTP2_GAPS = 40,       /* places in HTTP/2's streams at which bytes passed unseen */
	STAT_HTTP2_NOT_READ = 41,   /* segments of HTTP/2 that could not be read to their end */
	STAT_HTTP2_NO_FRAME = 42,   /* segments of HTTP/2 in which no frame was where one had to be */
	STAT_DATAGRAMS_CUT = 43,    /* datagrams of one call, behind those that were looked at */
	STAT_COUNT = 64
};

/* One record. `size` bytes follow each other in a burst, 8-aligned; the first
 * `data_len` bytes after the header are payload. */
struct __socket_data {
	u16 size;     /* header, payload and padding */
	u8 type;      /* enum record_type */
	u8 direction; /* enum direction */
	u8 role;      /* enum role */
	u8 protocol;  /* DeepFlow's number; 0 while unknown */
	u8 begins;    /* enum begins */
	u8 rule;      /* enum parent_rule */
	u32 tgid;
	u32 tid;
	u64 ts;     /* CLOCK_MONOTONIC, ns: entry of a send, exit of a receive */
	u64 end_ts; /* of the last segment added to this record */
	u64 socket_id;
	u64 length;   /* bytes moved, all segments of this record */
	u32 tcp_seq;  /* of the first byte; for Unix sockets the bytes moved before */
	u16 segments; /* system calls in this record */
	u16 data_len; /* payload bytes that follow */
	u64 uid;         /* the message this segment belongs to; of a stream, stream_uid */
	u64 parent_uid;  /* the request that caused it, by `rule` */
	u64 caller_uid;  /* the request of the goroutine that waits for this response */
	u64 context_uid; /* the request whose context.Context this response's request has */
	u64 goid;
	u64 ref_ts; /* of a correction: the send's ts; of TLS: TLS_PLACE */
	u64 caller_goid; /* who wrote this request, or waits for this response; a CPython context */
	u64 caller_site; /* address of the function that goroutine was started with */
	u32 fd; /* see TLS_PLACE */
	u8 flags; /* enum record_flags */
	u8 family;
	u8 tail_len; /* last bytes of a segment whose payload does not reach its end */
	u8 syscall;
	u8 tail[8];
	u32 netns;
	u16 local_port;
	u16 peer_port;
	u8 local_addr[16]; /* IPv4 in the first 4 bytes */
	u8 peer_addr[16];
};

struct __socket_data_buffer {
	u32 events_num;
	u32 len; /* bytes of data in use */
	u32 cpu;
	u32 pad;
	u64 seq;      /* bursts submitted by this CPU before this one */
	u64 records;  /* records written by this CPU before this burst */
	u64 first_ts; /* of the oldest record here */
	u64 generation; /* unique over all CPUs */
	char data[BURST_DATA];
};

#endif
