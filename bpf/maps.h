/* Every map of the socket half. Sizes may be set by the loader (-D). */
#ifndef OTEL_EBPF_MAPS_H
#define OTEL_EBPF_MAPS_H

#include "types.h"

#ifndef MAX_SOCKETS
#define MAX_SOCKETS 65536
#endif
#ifndef MAX_TRACES
#define MAX_TRACES 65536
#endif
#ifndef MAX_THREADS
#define MAX_THREADS 16384
#endif

BPF_PERF_OUTPUT(__socket_data);
/* Numbers of processes that execute a program, at once: bursts wake nobody singly. */
BPF_PERF_OUTPUT(process_events);
BPF_PERCPU_ARRAY(__data_buf, struct __socket_data_buffer, 1);
BPF_PERCPU_ARRAY(__members_offset, struct member_fields_offset, 1);
BPF_PERCPU_ARRAY(__trace_conf_map, struct trace_conf_t, 1);
BPF_PERCPU_ARRAY(__trace_stats_map, struct trace_stats, 1);
BPF_HASH(__active_write_args_map, u64, struct data_args_t, MAX_THREADS);
/* Sends in progress that were left to their exits, where exits keep no other arguments. */
BPF_ARRAY(deferred_sends, u64, 1);
BPF_HASH(__active_read_args_map, u64, struct data_args_t, MAX_THREADS);
BPF_HASH(__socket_info_map, u64, struct socket_info_t, MAX_SOCKETS);
BPF_HASH(__trace_map, u64, struct trace_info_t, MAX_TRACES);
BPF_PROG_ARRAY(__progs_jmp_tp_map, 64);
/* The same for uprobes' programs; the loader fills it before the first uprobe. */
BPF_PROG_ARRAY(__progs_jmp_kp_map, 16);
BPF_ARRAY(__allow_port_bitmap, struct allow_port_bitmap, 1);
BPF_ARRAY(__protocol_filter, u32, 256);
BPF_ARRAY(__proto_infer_cache_map, struct proto_infer_cache_t, 4096);

BPF_HASH(proc_info_map, u32, struct proc_info_t, 4096);

/* State of a socket by its address: descriptors come and go, are duplicated and
 * inherited, while a conversation goes on. */
BPF_HASH(socket_state_map, u64, struct socket_state_t, MAX_SOCKETS);
/* Processes chosen by --pid, --exe or --port, when a choice was made. */
BPF_HASH(target_map, u32, u32, 16384);
/* Of these, the latest that was asked for of each slot: an array is looked at in no time. */
#define CHOSEN_SLOTS 8192 /* a power of two */
BPF_ARRAY(chosen_slots, u32, CHOSEN_SLOTS);
/* Processes whose end was told, until their number is given away again. */
BPF_TABLE("lru_hash", u32, u32, ended_map, 8192);
/* The agent's own connections, so that the other side of them is left alone. */
BPF_TABLE("lru_hash", struct self_conn_t, u32, self_conn_map, 1024);
/* Go: receivers of connection loops, by goroutine; contexts of server connections. */
BPF_TABLE("lru_hash", struct go_key, struct go_conn_t, go_conn_map, 65536);
BPF_TABLE("lru_hash", struct go_context_key, struct go_context_t, go_context_map, 65536);
/* Goroutines that serve a stream; who asked for a gRPC client's stream, by its address; and
 * goroutines in a call of a database. */
BPF_TABLE("lru_hash", struct go_key, struct go_handler_t, go_handler_map, 65536);
BPF_TABLE("lru_hash", struct go_key, struct go_asked_t, go_asked_map, 16384);
BPF_TABLE("lru_hash", struct go_key, struct go_work_t, go_work_map, 16384);
BPF_TABLE("lru_hash", struct go_key, struct go_work_t, go_tx_map, 4096); /* by the *Tx */
/* Streams of HTTP/2 server connections, by their contexts. */
BPF_TABLE("lru_hash", struct go_context_key, u64, go_stream_map, 65536);
BPF_TABLE("lru_hash", u64, struct go_birth_t, go_birth_map, 8192);
/* Who is running, told by uprobes; see go_identity.c. By thread: the goroutine it runs, its g;
 * and who called runtime.newproc1. By goroutine: who bore it, and when; its latest read or
 * write. */
BPF_HASH(goroutines_map, u64, u64, MAX_THREADS);
BPF_HASH(go_running_map, u64, u64, MAX_THREADS);
BPF_HASH(pid_tgid_callerid_map, u64, struct go_newproc_caller, MAX_THREADS);
BPF_TABLE("lru_hash", struct go_key, u64, go_ancerstor_map, 65536);
BPF_TABLE("lru_hash", struct go_key, struct go_newborn_t, go_newborn_map, 65536);
BPF_TABLE("lru_hash", struct go_key, u64, go_rw_ts_map, 16384);
BPF_TABLE("lru_hash", struct go_context_key, struct go_caller_t, go_round_trip_map, 16384);
BPF_HASH(python_info_map, u32, struct python_info_t, 4096);
BPF_TABLE("lru_hash", struct python_copy_key, struct python_copy_t, python_copies, 65536);
BPF_HASH(python_copies_since, u32, u64, 4096); /* process -> ns: older copies may be gone, and newer were not missed */
BPF_ARRAY(turns_followed, u32, 1); /* 1: there are processes of which turn_map tells */
BPF_TABLE("lru_hash", u64, struct turn_t, turn_map, 8192);
BPF_TABLE("lru_hash", u64, struct turn_opened_t, turn_opened_map, 16384);
/* Threads of Node whose frames are followed, by bpf_get_current_pid_tgid(); frames by where they are;
 * and a thread without frames. */
BPF_HASH(node_heap_map, u64, struct node_heap_t, 128);
BPF_TABLE("lru_hash", struct node_place_t, u64, node_place_map, 32768);
BPF_ARRAY(node_empty, struct node_heap_t, 1);
/* Threads of processes whose workers are followed (pools.h), and the latest wakes there. */
BPF_HASH(pool_map, u32, struct pool_info_t, 4096);
BPF_TABLE("lru_hash", u64, struct pool_thread_t, pool_threads, 16384);
BPF_TABLE("lru_hash", struct pool_place_t, struct pool_wake_t, pool_wakes, 32768);
BPF_TABLE("lru_hash", u64, struct py_worker_t, py_workers, 16384);
BPF_TABLE("lru_hash", struct python_copy_key, struct py_owner_t, py_owners, 16384); /* by future */
BPF_PERCPU_ARRAY(py_walk_buf, struct py_walk_t, 1);
/* Scratch of tracepoint programs only: they run with preemption off, uprobe programs
 * do not and must never touch it. */
BPF_PERCPU_ARRAY(op_buf, struct op_t, 1);
BPF_PERCPU_ARRAY(socket_buf, struct socket_state_t, 1);
BPF_TABLE("lru_hash", u64, struct http2_conn_t, http2_conn_map, 16384);
BPF_ARRAY(bursts_refused, u64, 1);
BPF_PERCPU_ARRAY(http2_buf, struct http2_walk_t, 1);
BPF_PERCPU_ARRAY(go_scan_buf, struct go_scan_t, 1);
BPF_PERCPU_ARRAY(birth_buf, struct go_birth_t, 1);
BPF_PERCPU_ARRAY(go_stack_buf, struct go_stack_t, 1);
BPF_PERCPU_ARRAY(go_older_buf, struct go_older_t, 1);

BPF_PERCPU_ARRAY(datagram_buf, struct datagram_t, 1);
BPF_TABLE("lru_hash", struct dns_query_t, u64, dns_query_map, 16384);

#ifndef TLS_CALLS
#define TLS_CALLS 65536
#endif
#define HTTP2_STACKS 4 /* uprobe programs at work on one CPU, one preempted by another */
BPF_PERCPU_ARRAY(__http2_stack, struct __http2_stack, HTTP2_STACKS);
BPF_HASH(tls_conn_map, struct go_key, struct tls_conn_t, TLS_CALLS);
BPF_TABLE("lru_hash", struct tls_socket_key, struct tls_socket_t, tls_socket_map, 65536);
BPF_TABLE("lru_hash", struct go_key, struct tls_reader_t, tls_reader_map, 4096);
BPF_TABLE("lru_hash", u64, struct tls_write_t, tls_write_map, 16384);
BPF_TABLE("lru_hash", u64, struct tls_caller_t, tls_caller_map, 16384);
BPF_TABLE("lru_hash", u32, u32, ssl_process_map, 8192); /* processes that have called OpenSSL */
BPF_TABLE("lru_hash", struct tls_socket_key, struct ssl_retry_t, ssl_retry_map, 4096);
BPF_TABLE("lru_hash", u64, struct ssl_pending_t, ssl_pending_map, 16384);
BPF_TABLE("lru_hash", u64, struct ssl_kept_t, ssl_kept_map, 256);
BPF_ARRAY(ssl_kept_empty, struct ssl_kept_t, 1); /* never written */
BPF_TABLE("lru_hash", u64, struct ssl_in_t, ssl_in_map, 16384);

#define HEADER_BLOCKS 512
BPF_TABLE("lru_hash", struct http2_seq_key, u32, http2_tcp_seq_map, 4096);
/* Header blocks that clients are putting together; and one without anything in it. */
BPF_HASH(header_block_map, struct go_context_key, struct header_block_t, HEADER_BLOCKS);
BPF_ARRAY(header_empty, struct header_block_t, 1);

enum kp_prog {
	KP_DATA = 0,
	KP_GO = 1,
	KP_OUTPUT = 2,
	KP_GO_STACK = 3,
	KP_HTTP2 = 4,
	KP_HEADERS = 5,
	KP_HEADER_MAP = 6,
	KP_HEADER_REST = 7,
	KP_MESSAGES = 8,
	KP_FRAMES = 9,
	KP_MESSAGE = 10
};

enum prog {
	PROG_DATA = 0,
	PROG_GO = 1,
	PROG_OUTPUT = 2,
	PROG_ENTER_SEND = 3,
	PROG_EXIT_SEND = 4,
	PROG_EXIT_RECEIVE = 5,
	PROG_SWEEP = 6,
	PROG_TAIL = 7,
	PROG_GO_STACK = 8,
	PROG_HTTP2 = 9,
	PROG_GO_STREAMS = 10,
	PROG_GO_ASKED = 11,
	PROG_GO_SERVER = 12,
	PROG_GO_TELL = 13,
	PROG_GO_PROOF = 14,
	PROG_GO_LINEAGE = 15,
	PROG_TLS = 16,
	PROG_PYTHON = 17,
	PROG_TURN = 18,
	PROG_POOL = 19,
	PROG_GO_OLDER = 20,
	PROG_MESSAGES = 21,
	PROG_SLICE = 22,
	PROG_GO_ENDS = 23,
	PROG_MESSAGE_FIRST = 24,
	PROG_MESSAGE = 25,
	PROG_DATAGRAM_SEND = 26,
	PROG_DATAGRAM_RECEIVE = 27,
	PROG_DATAGRAM = 28,
	PROG_DATAGRAM_WHO = 29,
	PROG_PY_WORK = 30,
	PROG_PY_WAIT = 31
};

INLINE struct member_fields_offset *offsets(void)
{
	int zero = 0;
	return __members_offset.lookup(&zero);
}

INLINE struct trace_conf_t *config(void)
{
	int zero = 0;
	return __trace_conf_map.lookup(&zero);
}

INLINE struct op_t *operation(void)
{
	int zero = 0;
	return op_buf.lookup(&zero);
}

INLINE void count_n(u32 what, u64 n)
{
	int zero = 0;
	struct trace_stats *stats = __trace_stats_map.lookup(&zero);
	if (stats && what < STAT_COUNT)
		stats->counts[what] += n;
}

INLINE void count(u32 what)
{
	count_n(what, 1);
}

#endif
