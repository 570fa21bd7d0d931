/* From a descriptor to the kernel's socket behind it, and what that says of itself. */
#ifndef OTEL_EBPF_SOCK_H
#define OTEL_EBPF_SOCK_H

#include "task.h"

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define TCP_ESTABLISHED 1
#define TCP_FIN_WAIT1 4
#define TCP_FIN_WAIT2 5

#define SOCKET_WORDS 6 /* struct socket as far as it is of interest; the loader checks that */
#define SOCKET_ROOM 8

INLINE u64 fd_key(u32 tgid, s32 fd)
{
	return (u64)tgid << 32 | (u32)fd;
}

/* Of what may be a struct socket. */
INLINE void socket_members(struct member_fields_offset *o, u64 sock, u64 *back, u64 *sk, u16 *type)
{
#ifdef KERNEL_WORDS
	READ_KERNEL(*back, sock, o->socket_file);
	READ_KERNEL(*sk, sock, o->socket_sk);
	READ_KERNEL(*type, sock, o->socket_type);
#else
	/* One read: they are close to each other, and each read is a call. */
	u64 words[SOCKET_ROOM] = {};

	read_kernel(words, 8 * SOCKET_WORDS, sock);
	*back = words[within((u32)o->socket_file >> 3, SOCKET_ROOM)];
	*sk = words[within((u32)o->socket_sk >> 3, SOCKET_ROOM)];
	*type = words[0] >> (8 * (o->socket_type & 7));
#endif
}

/* struct sock * of a stream socket, or 0: not a socket, not a stream, not open. Sets *datagram
 * to that of a datagram socket. */
INLINE u64 sock_of_any(struct member_fields_offset *o, s32 fd, u64 *datagram)
{
	u32 room = 0;
	u64 table = open_files(o, &room), file = 0, sock = 0;

	if (!table || fd < 0 || (u32)fd >= room)
		return 0;
	READ_KERNEL(file, table, (u64)(u32)fd * 8);
	if (!file)
		return 0;
	READ_KERNEL(sock, file, o->file_private_data);
	if (!sock)
		return 0;
	u64 back = 0, sk = 0;
	u16 type = 0;
	socket_members(o, sock, &back, &sk, &type);
	if (back != file) /* only a socket points back to its file from there */
		return 0;
	if (type == SOCK_STREAM)
		return sk;
	if (type == SOCK_DGRAM)
		*datagram = sk;
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
	read_kernel_words(words, 3, sk + o->sk_daddr);
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

#endif
