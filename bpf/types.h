/* Values of the maps, and the scratch that a probe's programs hand on. */
#ifndef OTEL_EBPF_TYPES_H
#define OTEL_EBPF_TYPES_H

#include "go_types.h"

/* Unrolled, the loops would cost seconds of compile time. Kernels since 5.3 take them. */
#define NO_UNROLL _Pragma("clang loop unroll(disable)")
/* The compiler knows the value's bounds and drops a mask that kernels before 6.18 need. */
#define FORGET_BOUNDS(value) asm volatile("" : "+r"(value))
#define INLINE static inline __attribute__((always_inline))

/* An index into an array of `size` members, a power of two; the mask comes last. */
INLINE u64 within(u64 index, u64 size)
{
	FORGET_BOUNDS(index);
	return index & (size - 1);
}

/* The number of an HTTP/2 stream's request, among those of HTTP/1 requests (bit 63 clear):
 * 8 bits of the CPU that numbered the socket, 24 of its count, 31 of the stream. */
INLINE u64 stream_uid(u64 socket_id, u32 stream)
{
	return 1ULL << 63 | (socket_id >> 48 & 0xff) << 55 | (socket_id & 0xffffff) << 31 |
	       (stream & 0x7fffffff);
}

/* Kernel struct offsets, from BTF. -1: this kernel has no such member. */
struct member_fields_offset {
	s32 task_files;
	s32 task_fsbase;
	s32 task_tgid;
	s32 task_pid;
	s32 task_nsproxy;
	s32 task_stack;
	s32 nsproxy_net_ns;
	s32 net_ns_inum;
	s32 files_fdt;
	s32 fdtable_max_fds;
	s32 fdtable_fd;
	s32 file_private_data;
	s32 socket_type;
	s32 socket_file;
	s32 socket_sk;
	s32 sk_family;
	s32 sk_daddr;
	s32 sk_rcv_saddr;
	s32 sk_dport;
	s32 sk_num;
	s32 sk_state;
	s32 sk_v6_daddr;
	s32 sk_v6_rcv_saddr;
	s32 tcp_copied_seq;
	s32 tcp_write_seq;
	s32 tcp_rcv_nxt;
	s32 unix_peer;
	s32 task_signal;
	s32 signal_live;
	u32 ready;
};

enum filter { FILTER_PROCESSES = 1, FILTER_PORTS = 2 };

struct trace_conf_t {
	u64 uid;       /* next trace uid of this CPU; the CPU is in the top bits */
	u64 socket_id; /* next socket id of this CPU */
	u64 max_age;   /* ns after which a burst leaves with the next record */
	u32 self_tgid; /* the agent, never traced */
	u32 filter;    /* enum filter */
	u32 capture;   /* payload bytes of one run, at most CAPTURE_MAX */
	u32 registers; /* receives have no entry probe: arguments come from registers */
};

struct trace_stats {
	u64 counts[STAT_COUNT];
};

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
	CALL_SHUTDOWN = 16
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

/* One direction of an HTTP/2 connection: where its frames are. */
struct http2_half_t {
	u32 left;    /* bytes of the current frame's payload that are still to come */
	u32 serial;  /* records made so far */
	u8 sync;     /* the next byte's place among the frames is known */
	u8 got;      /* bytes of the next frame's header, in `head` */
	u8 keep;     /* the current frame's payload goes into records */
	u8 ends;     /* the current frame is the last of its stream */
	u8 untold;   /* HTTP2_LOST, HTTP2_BEGINS: for the next record to tell */
	u8 strays;   /* segments without a frame */
	u8 steady;   /* segments, up to 255, that began where the one before had ended */
	u8 whole;    /* all of its header blocks so far have been recorded */
	u32 next;    /* where the next segment begins, as tcp_seq */
	u8 head[16];
};

/* What is kept of an HTTP/2 connection beside its socket_state_t. */
struct http2_conn_t {
	u64 socket_id;
	u64 refused; /* bursts that had been lost when it began */
	struct http2_half_t halves[2]; /* by direction */
};

/* A segment of HTTP/2 while it is gone through. */
struct http2_walk_t {
	u64 at;   /* where the next byte is */
	u64 room; /* bytes in its buffer from there on */
	u64 rest; /* bytes of the segment still to go through */
	u32 next; /* buffer after this one */
	u32 out;  /* payload bytes for the record */
	u16 mid;  /* of them, how many belong to a frame that an earlier record began */
	u16 frames;
	u16 round;
	u8 inside; /* of such a frame */
	u8 tell;   /* there is a record even without payload */
	u8 lost;
	u8 stop;
	u8 full;
	u8 trial; /* the protocol is a guess */
	u8 block; /* a header block comes next: 1, or 2 behind a priority */
	u8 preface; /* bytes of the client's preface still to pass */
	u8 opened; /* the preface was seen in this round */
	u8 told; /* HTTP2_TOLD, or 0 */
	u8 cut;    /* no program was left for the rest */
	u8 unread; /* what is lost could not be read */
	u8 pad[2];
	u8 head[32];
	struct http2_conn_t fresh;
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
	u64 go_pool; /* net/http.persistConn over it, once that is proved */
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
	u8 several_pad[6];
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

struct allow_port_bitmap {
	u8 bits[8192];
};

struct proto_infer_cache_t {
	u32 tgid;
	u8 protocol;
	u8 pad[3];
};

/* Runtime offsets of one process. Absent: not known yet, or not Go. */
struct proc_info_t {
	u64 allp;    /* address of runtime.allp, 0 when unknown */
	u64 goidgen; /* address of runtime.sched.goidgen */
	s32 tls_g;
	s32 g_goid;
	s32 g_parent_goid; /* -1 before Go 1.21 */
	s32 g_startpc;
	s32 p_goidcache;
	s32 p_goidcacheend;
	s32 sudog_g;
	s32 hchan_qcount;
	s32 hchan_buf;
	s32 hchan_elemsize;
	s32 hchan_recvx;
	s32 hchan_recvq;
	s32 pc_conn;
	s32 pc_reqch;
	s32 rc_treq; /* -1 where requestAndChan holds the request itself */
	s32 rc_req;
	s32 rc_ch;
	s32 treq_ctx;
	s32 request_ctx;
	s32 conn_rwc;
	s32 conn_cancel_ctx;
	s32 conn_cur_req;
	s32 response_req;
	s32 fd_sysfd; /* within net.netFD */
	u8 go;
	u8 http1; /* the net/http offsets above are known */
	u8 births; /* requests since anybody asked who was born during one, at most 255 */
	/* HTTP/2 and gRPC: see go_types.h. */
	u8 streams; /* any of them is known */
	u8 swiss;   /* maps are those of Go 1.24 */
	u8 asked;   /* go_asked_map is told of its gRPC streams */
	u8 works;   /* and go_work_map of its calls of databases */
	u8 pad[1];
	/* Receivers on stacks (go_stack.h). */
	s32 g_stack_hi;
	s32 tls_conn; /* crypto/tls.Conn.conn */
	struct go_h2_t h2[2]; /* net/http's own, golang.org/x/net's */
	struct go_grpc_t grpc;
	/* Who is running, and who bore it (go_identity.c). */
	u8 stack_abi;      /* arguments and results on the stack: before Go 1.17 */
	u8 identity;       /* enum go_identity */
	u8 newproc;        /* runtime.newproc1 has its probes */
	u8 newproc_caller; /* which of newproc1's arguments is the caller's g, from 1 */
	u8 round_trip;     /* (*persistConn).roundTrip has its probe */
	u8 identity_pad[3];
	/* crypto/tls (tls.h) */
	s32 tls_complete;  /* Conn.isHandshakeComplete, before Go 1.21 handshakeStatus */
	s32 tls_raw_input; /* -1: where records are in the TCP stream cannot be told */
	s32 tls_input;
	s32 tls_kept; /* Read's arguments are found on the stack at its RETs */
	/* CPython: details are in python_info_map (python.h). */
	u8 python; /* enum identities */
	u8 turns; /* enum turns: a loop that runs each callback to its end (turns.h) */
	u8 pools; /* who wakes whom among its threads is followed (pools.h) */
	u8 runtime_pad[5];
	/* Node's async context (turns.h): the isolate, from the thread pointer, and within it. */
	s32 node_isolate;
	s32 node_data; /* 0: not known */
	/* Connections of many streams that no probe saw begin (go_older.h). */
	struct go_loop_t loops[GO_LOOPS];
	struct go_headers_t headers; /* see go_headers.c */
	/* libuv (turns.h): what a word of the stack holds while it calls back what is ready to be
	 * read, and where that word is, from the events that epoll_wait is given. */
	u64 loop_polls;
	u32 loop_slot; /* 0: not known */
	u32 loop_pad;
	/* Java's virtual threads (java.h): a thread's structure from the thread pointer, and in it. */
	s32 java_thread;
	s32 java_continuation;
	s32 java_number;
	s32 java_pad;
};

/* A process whose threads are followed. Waits between these addresses say nothing: there is
 * a lock that all of its threads take in turns (CPython's). */
struct pool_info_t {
	u64 ignore_from;
	u64 ignore_to;
};

/* What a thread of such a process does; see pools.h. */
struct pool_thread_t {
	u64 segment; /* number of its work up to the next response that it writes */
	u64 in;      /* segment of the thread that has woken it, for its next request; 0: none */
	u64 token;   /* request whose response it has read last, or that has reached it */
	u64 read;    /* when that was read */
	u64 waits;   /* address that it waits on, 0: none */
	u64 since;   /* when it began to */
	u8 serves;   /* it has read a request or written a response: its segments mean one */
	u8 hops;     /* threads that the token has come through, 0: this one read the response */
	u8 loop;     /* it waits for many connections at once: its segments mean nothing */
	u8 pad[5];
};

struct pool_place_t {
	u64 address;
	u64 tgid;
};

/* The latest wake at an address. */
struct pool_wake_t {
	u64 in;
	u64 token;
	u64 read;
	u64 ts;
	u32 tid;   /* who woke */
	u8 taken;  /* somebody has been woken by it */
	u8 mixed;  /* another thread woke here before that, for something else */
	u8 hops;   /* as of pool_thread_t */
	u8 pad;
};

struct python_copy_key {
	u64 context;
	u64 tgid;
};

/* What a context was copied from, and when. */
struct python_copy_t {
	u64 of;
	u64 ts;
};

/* The number of a segment from a server of which several requests may wait, with the time at which it
 * was read: which of them were answered with it is known in user space, which has the protocol's
 * parser. */
#define TURN_SEGMENT (1ULL << 62)

/* Memory shows what runs on a thread. */
enum identities {
	IDENTITY_PYTHON = 1, /* a task's context */
	IDENTITY_JAVA = 2,   /* a virtual thread */
};

/* A thread's turn, see turns.h. */
struct turn_t {
	u64 since; /* when its last wait was over */
	u64 last;  /* what it did last in this turn: number of a message, 0: not known */
	u64 due;   /* when a timer will be due, 0: none */
	u64 outside; /* Node's async context where nothing runs */
	u64 first; /* the first of what it did, in a batched loop's turn */
	u64 slot;  /* address of the word that tells where libuv's loop is at, 0: not known */
	u64 polls; /* what is there while it calls back what is ready */
	u16 others; /* what it has read beside that; the cause is one of several then */
	u8 zero;   /* the last look was no wait */
	u8 batched;
	u8 proxy;
	u8 pad[3];
};

/* A connection that no request was written on yet. */
struct turn_opened_t {
	u64 socket_id;
	u64 last; /* as of turn_t, when the thread asked for the connection */
	u64 due;  /* a timer may have asked */
};

enum turns {
	TURNS_PROGRAM = 1,
	TURNS_PROXY = 2,   /* runs no code of its users' */
	TURNS_BATCHED = 3, /* reads all that is ready before it works on it (HAProxy) */
};

/* Where a CPython process keeps what python.h reads: addresses, then offsets in bytes. */
struct python_info_t {
	u64 interpreter;  /* the main one's state; threads of others are left alone */
	u64 context_type; /* of contextvars.Context */
	u64 tasks;        /* asyncio's dict of running tasks, 0: not known (yet); or its module */
	s32 tls;          /* the thread's state, from the thread pointer */
	s32 thread_interpreter;
	s32 thread_context;
	s32 task_context;
	s32 wakeup_self;
	s32 function_closure;
	s32 partial_args;
	s32 group_values; /* attributes of an asyncio.TaskGroup; below 0: a pointer to them */
	s32 thread_task;  /* since 3.14: where the thread's state names the running task, else 0 */
	s32 future_awaited_by; /* since 3.14: a future's only waiter, or a set of them; else 0 */
	u8 dict_keys_old;      /* as before 3.11 */
	u8 pad[7];
};

enum go_identity {
	GO_BY_TLS = 0,
	GO_BY_UPROBE = 1, /* runtime.casgstatus tells */
	GO_BY_BOTH = 2    /* and both are compared */
};

/* A thread is in runtime.newproc1. */
struct go_newproc_caller {
	u64 goid;
	u64 sp; /* stack pointer at its entry */
};

/* The goroutine that asked last for a request on a client connection. */
struct go_caller_t {
	u64 goid;
	u64 parent_goid;
	u64 site;
};

/* A goroutine whose birth was seen. */
struct go_newborn_t {
	u64 ts;   /* 0: the birth itself was not seen */
	u64 site; /* address of the function it was started with */
};

#define GO_ANCESTORS 5 /* generations */

/* Goroutines between one that calls and the one that it inherits from. */
struct go_kin_t {
	u64 goid[4];
	u32 count;
	u32 pad;
};

#define GO_STACK_WORDS 64 /* a power of two */

struct go_stack_t {
	u64 words[GO_STACK_WORDS];
};

/* The top of a goroutine's stack down to the frame of its connection's loop, and more. */
#define GO_LOOP_WORDS 128 /* a power of two */

struct go_older_t {
	u64 words[GO_LOOP_WORDS];
	u64 lo;       /* the stack's ends */
	u64 hi;
	u64 frame;    /* the frame at hand: where it keeps the address of the one above */
	u64 kind;     /* enum go_conn_kind of the loop that the goroutine runs; 0: none */
	u64 below;    /* words of that loop's frame, and of those above it */
	u64 receiver;
};

#define BIRTH_PS 16

/* Goroutine ids that had not been handed out when a request was read. */
struct go_birth_t {
	u64 goidgen;
	u64 uid;
	u64 from[BIRTH_PS];
	u64 to[BIRTH_PS];
};

struct self_conn_t {
	u8 addr[16];
	u16 port;
	u16 pad[3];
};

/* One operation on its way through the programs of __progs_jmp_tp_map. */
struct op_t {
	struct __socket_data rec;
	u64 sk;
	u64 buf;
	u64 count;
	u64 unit;
	u64 g; /* address of the running goroutine */
	u64 parent_goid;
	u64 at; /* place in the burst */
	u64 tail; /* last bytes so far */
	u64 iovs;  /* of slices: where the segment's buffers are listed, or 0 */
	u64 place; /* and how much of the segment the records so far have told of */
	u64 room;  /* and how much more may be captured */
	u64 total; /* bytes of the run so far, while its protocol is not known */
	u64 left; /* of a loop over the segment's buffers: what is still to be done */
	u32 done; /* and what is done */
	u32 iovcnt;
	u32 iovn;
	u32 mmsg;  /* messages that one call moved */
	u32 limit; /* payload bytes that follow each other; 0: all */
	u32 capture; /* payload bytes to take */
	u32 seq;     /* tcp_seq of a send */
	u8 at_entry; /* a send on its way in: its exit will confirm it */
	u8 go;
	u8 copied; /* the payload is in the burst already */
	u8 state;  /* of the TCP connection */
	u8 births; /* who is born during this request is of interest */
	u8 go_looked; /* the goroutine's stack was searched */
	u8 streams; /* the connection's streams have been looked at */
	u8 looked;  /* a server's streams have been, for this response */
	u8 again;   /* they are, from the first one on */
	u8 rounds;  /* programs spent on a table of streams */
	u8 server_rounds;
	u8 jumps; /* programs spent on streams */
	u8 hit;   /* the stream looked for is there */
	u8 plain; /* bytes as the program means them, not TLS's */
	u8 works; /* databases are called with contexts */
	u8 python; /* its context is of interest */
	u8 turns;  /* its loop's turn is */
	u8 pools;  /* who woke its thread is */
	u8 slices; /* records that are still to be made of the segment (messages.h) */
	u8 secret; /* bytes of it that may be taken at most, for a password follows; 0: all */
	u32 most;  /* and of a message's run otherwise */
	u8 after;  /* streams are looked at behind the frames, with as many programs as these leave */
	u8 after_pad[7];
	struct go_kin_t kin;
	u8 head[48]; /* first bytes of the run, zeros behind them; not cleared with the rest */
};

/* A call that moved datagrams, beside op_t (datagrams.h). */
struct datagram_t {
	u64 name;     /* the peer's address, in the program's memory; 0: the connected peer */
	u64 messages; /* next of an array of mmsghdr, 0: there is no array */
	u64 room;     /* bytes of a plain buffer */
	u32 left;     /* datagrams to go through */
	u32 rounds;   /* and those that were */
	u32 failed;   /* errno of a send */
	u32 pad;
};

/* A query that waits for its answer. */
struct dns_query_t {
	u64 socket_id;
	u64 peer[2];
	u16 port;
	u16 id;
	u8 direction;
	u8 pad[3];
};

#define OP_CLEARED __builtin_offsetof(struct op_t, head)

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

#define SSL_RECORDS 4

/* Values of ssl_process_map: SSL_CALLED, or when it was asked about, in about seconds. */
enum ssl_process { SSL_CALLED = 1, SSL_ASKED = 2 };
#define SSL_ASK_SHIFT 30
#define SSL_ASK_AGAIN 60

/* In process_events, added to the number of a process that speaks TLS by nobody knows what. */
#define PROCESS_SPEAKS_TLS (1U << 31)

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

/* A burst of one record, as a uprobe program sends it: struct __socket_data_buffer. */
struct __http2_burst {
	u32 events_num;
	u32 len;
	u32 cpu;
	u32 pad;
	u64 seq;
	u64 records;
	u64 first_ts;
	u64 generation;
	struct __socket_data rec;
	char payload[2 * CAPTURE_MAX];
};

/* Where a read ended: of a process, on a descriptor. */
struct http2_seq_key {
	u32 tgid;
	s32 fd;
	u32 end;
	u32 pad;
};

/* Of a header block's record: bytes of payload so far. */
struct header_out_t {
	u32 out;
	u32 cut; /* there was more */
};

#define HEADER_WORDS 64 /* a power of two, with room for a group of a map[string][]string */

/* A header block while it is gone through. */
struct header_walk_t {
	struct header_out_t to;
	u64 at; /* of the next hpack.HeaderField */
	u64 left;
	u64 keys; /* a string for each name that is meant, the others are left out */
	u64 keys_left;
	u64 name; /* of a map's field, whose values come next */
	u64 name_len;
	u64 values;
	u64 values_left;
	u64 slots; /* left of the group in `words` */
	u64 status;
	u64 extra[6]; /* date, content-type, content-length: places and lengths */
	u64 rounds;
	struct go_map_t map;
	u64 words[HEADER_WORDS];
};

/* The block that a client's goroutine is putting together, field by field. */
struct header_block_t {
	struct header_out_t to;
	u64 name; /* of the last field, by which one that is told twice is known */
	u64 value;
	u64 value_len;
	char data[2 * CAPTURE_MAX];
};

/* What a uprobe program needs for one operation. It can be preempted by others on its CPU,
 * so it takes one of several for itself. */
struct __http2_stack {
	u64 owner; /* the thread that has it: pid_tgid */
	u32 users;
	u32 pad;
	u64 uids;
	u64 records;
	struct op_t op;
	struct go_birth_t births;
	struct go_stack_t stack;
	struct http2_walk_t walk;
	struct header_walk_t headers;
	struct socket_state_t fresh;
	u64 sockets; /* made known so far */
	struct __http2_burst burst;
};

#endif
