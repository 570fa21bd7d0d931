/* What user space writes for the programs to read, and what they count. */
#ifndef OTEL_EBPF_CONFIG_TYPES_H
#define OTEL_EBPF_CONFIG_TYPES_H

#include "verifier.h"

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
	u32 armed; /* every probe is there: what begins from now on is seen from its first byte */
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

struct allow_port_bitmap {
	u8 bits[8192];
};

struct proto_infer_cache_t {
	u32 tgid;
	u8 protocol;
	u8 pad[3];
};

struct self_conn_t {
	u8 addr[16];
	u16 port;
	u16 pad[3];
};

#endif
