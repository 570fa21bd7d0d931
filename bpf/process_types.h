/* What user space has found out about a process. */
#ifndef OTEL_EBPF_PROCESS_TYPES_H
#define OTEL_EBPF_PROCESS_TYPES_H

#include "go_types.h"

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
	/* CPython: details are in python_info_map (python_tasks.h). */
	u8 python; /* enum identities */
	u8 turns; /* enum turns: a loop that runs each callback to its end (turns.h) */
	u8 pools; /* who wakes whom among its threads is followed (pools.h) */
	u8 runtime_pad[5];
	/* Node's async context (turns.h): the isolate, from the thread pointer, and within it. */
	s32 node_isolate;
	s32 node_data; /* 0: not known */
	/* Connections of many streams that no probe saw begin (go_older.h). */
	struct go_loop_t loops[GO_LOOPS];
	struct go_headers_t headers; /* see go_headers.h */
	/* libuv (turns.h): what a word of the stack holds while it calls back what is ready to be
	 * read, and where that word is, from the events that epoll_wait is given. */
	u64 loop_polls;
	u32 loop_slot; /* 0: not known */
	u32 node_follows; /* the collector of Node's memory is watched (node_frames.h) */
	/* Java's virtual threads (java.h): a thread's structure from the thread pointer, and in it. */
	s32 java_thread;
	s32 java_continuation;
	s32 java_number;
	s32 tokio_task; /* number of the task that runs, from the thread pointer; 0: not known */
	/* crypto/tls.(*Conn).Write (tls_written.h): its code; tls_write_end 0: its probes tell. */
	u64 tls_write_start;
	u64 tls_write_end;
	s32 tls_write_conn; /* its receiver, buffer and length, from its frame pointer */
	s32 tls_write_buf;
	s32 tls_write_len;
	s32 tls_out_seq; /* within a Conn */
	s32 tls_vers;
	s32 tls_suite;
	/* 1: all is there that tells of its TLS. Of half of it a conversation would be told whose
	 * requests have no responses, or those of others. */
	u32 tls_armed;
	u32 tls_pad;
};

enum go_identity {
	GO_BY_TLS = 0,
	GO_BY_UPROBE = 1, /* runtime.casgstatus tells */
	GO_BY_BOTH = 2    /* and both are compared */
};

/* Where a CPython process keeps what python_tasks.h reads: addresses, then offsets in bytes. */
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
	u8 frame_counts;       /* frame_top is a number of slots, not an address */
	u8 tuple_items;        /* where a tuple's begin */
	u8 pad[5];
	/* Pools of threads (python_pools.h): types, 0 as long as they are not there. */
	u64 work_type;       /* concurrent.futures.thread._WorkItem */
	u64 future_type;     /* concurrent.futures.Future */
	u64 aio_future_type; /* asyncio.Future */
	u64 list_type;
	u64 list_iterator_type;
	u64 tuple_type;
	u64 set_type;
	u64 cell_type;
	s32 frame_of_thread; /* the thread's innermost frame, or where that is told */
	s32 frame_within;    /* there; -1: it is the frame */
	s32 frame_previous;
	s32 frame_code;
	s32 frame_top;    /* where its stack ends, if it has called */
	s32 frame_locals; /* variables, then its stack */
	s32 code_locals;  /* number of variables; 0: frame_top is always told */
	s32 object_values; /* attributes, as group_values; 0: those of an instance's dict */
	s32 work_future;   /* which of a _WorkItem's: its future */
	s32 future_callbacks; /* and of a future's: what is called when it is done */
};

#endif
