/* From a descriptor to the socket behind it, and the state kept for that socket. */
#ifndef OTEL_EBPF_SOCKET_H
#define OTEL_EBPF_SOCKET_H

#include "burst.h"
#include "task.h"

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define TCP_ESTABLISHED 1
#define TCP_FIN_WAIT1 4
#define TCP_FIN_WAIT2 5

#define SOCKET_WORDS 6 /* struct socket as far as it is of interest */

INLINE u64 fd_key(u32 tgid, s32 fd)
{
	return (u64)tgid << 32 | (u32)fd;
}

/* struct sock * of a stream socket, or 0: not a socket, not a stream, not open. Sets *datagram
 * to that of a datagram socket. */
INLINE u64 sock_of_any(struct member_fields_offset *o, s32 fd, u64 *datagram)
{
	u32 room = 0;
	u64 table = open_files(o, &room), file = 0, sock = 0;
	u64 words[SOCKET_WORDS] = {};

	if (!table || fd < 0 || (u32)fd >= room)
		return 0;
	READ_KERNEL(file, table, (u64)(u32)fd * 8);
	if (!file)
		return 0;
	READ_KERNEL(sock, file, o->file_private_data);
	if (!sock)
		return 0;
	/* One read for the members that are wanted, which are close to each other. Only a
	 * socket points back to its file from there. */
	READ_KERNEL(words, sock, 0);
	u32 back = (u32)o->socket_file >> 3, sk = (u32)o->socket_sk >> 3;
	if (back >= SOCKET_WORDS || sk >= SOCKET_WORDS || words[back] != file)
		return 0;
	u16 type = words[0] >> (8 * (o->socket_type & 7));
	if (type == SOCK_STREAM)
		return words[sk];
	if (type == SOCK_DGRAM)
		*datagram = words[sk];
	return 0;
}

INLINE u64 sock_of_fd(struct member_fields_offset *o, s32 fd)
{
	u64 datagram = 0;

	return sock_of_any(o, fd, &datagram);
}

INLINE u8 sock_family(struct member_fields_offset *o, u64 sk)
{
	u16 family = 0;

	READ_KERNEL(family, sk, o->sk_family);
	return family == AF_INET    ? FAMILY_IPV4
	       : family == AF_INET6 ? FAMILY_IPV6
	       : family == AF_UNIX  ? FAMILY_UNIX
				    : FAMILY_NONE;
}

/* What differs between two sockets that used the same struct sock; and the connection's
 * state, for TCP. */
INLINE void sock_identity(struct member_fields_offset *o, u64 sk, u8 family, u64 *a, u64 *b,
			  u8 *state)
{
	*a = 0;
	*b = 0;
	if (family == FAMILY_UNIX) {
		if (o->unix_peer >= 0)
			READ_KERNEL(*a, sk, o->unix_peer);
		return;
	}
	/* struct sock_common begins with daddr, rcv_saddr, a hash, dport, num, family, state:
	 * one ABI-like block that sock_diag and others rely on; the loader checks it. */
	u64 words[3] = {};
	READ_KERNEL(words, sk, o->sk_daddr);
	*a = words[0];
	*b = (words[1] >> 48) | ((words[1] >> 32 & 0xffff) << 16);
	*state = words[2] >> 16;
}

INLINE u32 current_netns(struct member_fields_offset *o)
{
	u64 task = bpf_get_current_task();
	u64 proxy = 0, net = 0;
	u32 inum = 0;

	READ_KERNEL(proxy, task, o->task_nsproxy);
	if (!proxy)
		return 0;
	READ_KERNEL(net, proxy, o->nsproxy_net_ns);
	READ_KERNEL(inum, net, o->net_ns_inum);
	return inum;
}

INLINE void sock_addresses(struct member_fields_offset *o, u64 sk, struct socket_state_t *st)
{
	u16 dport = 0;

	if (st->family == FAMILY_UNIX || st->family == FAMILY_NONE)
		return;
	READ_KERNEL(dport, sk, o->sk_dport);
	READ_KERNEL(st->local_port, sk, o->sk_num);
	st->peer_port = bpf_ntohs(dport);
	if (st->family == FAMILY_IPV4) {
		u32 local = 0, peer = 0;
		READ_KERNEL(local, sk, o->sk_rcv_saddr);
		READ_KERNEL(peer, sk, o->sk_daddr);
		*(u32 *)st->local_addr = local;
		*(u32 *)st->peer_addr = peer;
	} else {
		READ_KERNEL(st->local_addr, sk, o->sk_v6_rcv_saddr);
		READ_KERNEL(st->peer_addr, sk, o->sk_v6_daddr);
	}
}

INLINE bool port_allowed(u16 port)
{
	int zero = 0;
	struct allow_port_bitmap *map = __allow_port_bitmap.lookup(&zero);
	return map && (map->bits[(port >> 3) & 8191] >> (port & 7)) & 1;
}

/* The same address whether a v4 socket or a v4-mapped v6 socket holds it. */
INLINE void self_conn_addr(struct self_conn_t *key, u8 family, const u8 *addr)
{
	const u32 *w = (const u32 *)addr;
	u32 *out = (u32 *)key->addr;

	if (family == FAMILY_IPV6 && !(w[0] == 0 && w[1] == 0 && w[2] == bpf_htonl(0xffff))) {
		out[0] = w[0];
		out[1] = w[1];
		out[2] = w[2];
		out[3] = w[3];
	} else {
		out[3] = family == FAMILY_IPV6 ? w[3] : w[0];
	}
}

/* A process was chosen, or none had to be. */
INLINE bool process_chosen(struct trace_conf_t *conf, u32 tgid)
{
	/* Where ports choose too, the socket decides. */
	return !(conf->filter & FILTER_PROCESSES) || (conf->filter & FILTER_PORTS) ||
	       target_map.lookup(&tgid);
}

/* Ports choose services: a server socket on a chosen port chooses its process. */
INLINE bool socket_refused(struct trace_conf_t *conf, struct socket_state_t *st, u32 tgid)
{
	if (!(conf->filter & FILTER_PORTS) || target_map.lookup(&tgid))
		return false;
	return !port_allowed(st->local_port) && !port_allowed(st->peer_port);
}

/* `st` is memory to make it in, which is too large for the stack; `id` the number it gets. */
INLINE struct socket_state_t *socket_make(struct member_fields_offset *o,
					  struct socket_state_t *st, u64 sk, u32 tgid, u64 now,
					  u64 id)
{
	struct trace_conf_t *conf = config();
	struct self_conn_t mine = {};

	if (!conf)
		return 0;
	__builtin_memset(st, 0, sizeof(*st));
	st->family = sock_family(o, sk);
	if (st->family == FAMILY_NONE)
		return 0;
	st->direction = 0xff;
	st->ts = now;
	st->socket_id = id;
	u8 state;
	sock_identity(o, sk, st->family, &st->identity_a, &st->identity_b, &state);
	sock_addresses(o, sk, st);
	if (st->family != FAMILY_UNIX) {
		self_conn_addr(&mine, st->family, st->peer_addr);
		mine.port = st->peer_port;
		if (self_conn_map.lookup(&mine))
			st->ignore = 1;
	}
	if (!st->ignore && socket_refused(conf, st, tgid)) {
		st->ignore = 1;
		count(STAT_PORT_REFUSED);
	}
	if (st->family != FAMILY_UNIX)
		st->netns = current_netns(o);
	/* Older than the tracer, it may be read on one CPU while it is written on another. */
	if (socket_state_map.insert(&sk, st)) {
		struct socket_state_t *made = socket_state_map.lookup(&sk);
		if (!made)
			count(STAT_SOCKET_MAP_FULL);
		return made;
	}
	count(STAT_SOCKETS_OPENED);
	return socket_state_map.lookup(&sk);
}

/* For tracepoint programs. */
INLINE struct socket_state_t *socket_create(struct member_fields_offset *o, u64 sk, u32 tgid,
					    u64 now)
{
	struct trace_conf_t *conf = config();
	int zero = 0;
	struct socket_state_t *st = socket_buf.lookup(&zero);

	return conf && st ? socket_make(o, st, sk, tgid, now, conf->socket_id++) : 0;
}

INLINE void carry_release(struct socket_state_t *st)
{
	if (!st->counted)
		return;
	st->counted = 0;
	u64 key = st->trace_key;
	struct trace_info_t *t = __trace_map.lookup(&key);
	if (!t)
		return;
	if (t->open)
		t->open -= 1;
	if (t->open == 0)
		t->ambiguous = 0;
	if (t->uid == st->uid)
		t->responded = 1;
}

INLINE void trace_delete(u64 key, u64 socket_id)
{
	struct trace_info_t *t = __trace_map.lookup(&key);

	/* An event loop's entry outlives one of its sockets. */
	if (t && t->socket_id == socket_id && t->open == 0 && !(t->loop & LOOP_STREAMS)) {
		__trace_map.delete(&key);
		go_birth_map.delete(&key);
		count(STAT_TRACES_CLOSED);
	}
}

/* Forget all that hangs on a socket. */
INLINE void socket_forget(u64 sk, u32 tgid, struct socket_state_t *st)
{
	carry_release(st);
	if (st->trace_key)
		trace_delete(st->trace_key, st->socket_id);
	if (st->opener_key)
		trace_delete(st->opener_key, st->socket_id);
	if (st->context) {
		struct go_context_key key = {.context = st->context, .tgid = tgid};
		go_context_map.delete(&key);
		key.context = st->context_before;
		if (key.context)
			go_context_map.delete(&key);
	}
	if (st->go_key) {
		struct go_key key = {.goid = st->go_key, .tgid = tgid};
		go_conn_map.delete(&key);
	}
	socket_state_map.delete(&sk);
	count(STAT_SOCKETS_CLOSED);
}

/* A descriptor that is used with a socket for the first time holds a reference. */
INLINE void socket_refer(u32 tgid, s32 fd, u64 sk, struct socket_state_t *st, u64 now)
{
	u64 key = fd_key(tgid, fd);
	struct socket_info_t *known;

	if (st->last_key == key + 1)
		return;
	st->last_key = key + 1; /* pid 0, fd 0 never comes, but 0 must mean none */
	known = __socket_info_map.lookup(&key);
	if (known && known->socket_id == st->socket_id)
		return;
	struct socket_info_t info = {.sk = sk, .socket_id = st->socket_id, .ts = now};
	if (__socket_info_map.update(&key, &info)) {
		count(STAT_SOCKET_MAP_FULL);
		return;
	}
	st->refs += 1;
}

/* The state of a socket, made at first sight; 0 for sockets to leave alone. */
INLINE struct socket_state_t *socket_find(struct member_fields_offset *o, u32 tgid, s32 fd, u64 sk,
					  u64 now, u8 *state)
{
	struct socket_state_t *st = socket_state_map.lookup(&sk);

	if (st) {
		u64 a, b;
		sock_identity(o, sk, st->family, &a, &b, state);
		/* The kernel clears the local port of a reset socket: still the same one. */
		if (((u16)b || st->family == FAMILY_UNIX) &&
		    (a != st->identity_a || b != st->identity_b)) {
			socket_forget(sk, tgid, st); /* its close went unseen */
			st = 0;
		}
	}
	if (!st) {
		st = socket_create(o, sk, tgid, now);
		if (st && st->family != FAMILY_UNIX)
			READ_KERNEL(*state, sk, o->sk_state);
	}
	if (!st)
		return 0;
	socket_refer(tgid, fd, sk, st, now);
	st->ts = now;
	return st;
}

#endif
