/* What programs of uprobes have in place of per-CPU scratch. */
#ifndef OTEL_EBPF_UPROBE_TYPES_H
#define OTEL_EBPF_UPROBE_TYPES_H

#include "header_types.h"
#include "http2_types.h"
#include "op_types.h"
#include "socket_types.h"
#include "tls_types.h"

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
