/* UDP sockets that are left alone, and where a datagram and its peer's address are. */
#ifndef OTEL_EBPF_DATAGRAM_SOCKET_H
#define OTEL_EBPF_DATAGRAM_SOCKET_H

#include "head.h"
#include "infer_dns.h"

#define OTHER_DATAGRAMS 16  /* that are looked at, before a socket is left alone */
#define MMSGHDR 64

INLINE struct datagram_t *datagram(void)
{
	int zero = 0;
	return datagram_buf.lookup(&zero);
}

INLINE bool datagrams_left_alone(u32 tgid, s32 fd, u64 sk)
{
	u64 key = fd_key(tgid, fd);
	struct socket_info_t *info = __socket_info_map.lookup(&key);

	return info && info->sk == sk && !info->socket_id && info->ts >= OTHER_DATAGRAMS;
}

/* This one was no DNS. */
INLINE void datagram_of_others(u32 tgid, s32 fd, u64 sk)
{
	u64 key = fd_key(tgid, fd);
	struct socket_info_t *info = __socket_info_map.lookup(&key), fresh = {.sk = sk, .ts = 1};

	if (!info || info->sk != sk)
		__socket_info_map.update(&key, &fresh);
	else if (!info->socket_id)
		info->ts += 1;
}

/* A datagram socket's own ports: the local one, and the connected peer's above it. */
INLINE u32 datagram_ports(struct member_fields_offset *o, u64 sk)
{
	u16 local = 0, peer = 0;

	READ_KERNEL(local, sk, o->sk_num);
	READ_KERNEL(peer, sk, o->sk_dport);
	return local | (u32)bpf_ntohs(peer) << 16;
}

INLINE bool dns_port(u32 ports)
{
	return (ports & 0xffff) == DNS_PORT || ports >> 16 == DNS_PORT;
}

/* Others that have DNS's header. */
INLINE bool dns_of_others(u16 port)
{
	return port == MDNS_PORT || port == LLMNR_PORT || port == NBNS_PORT;
}

/* The next datagram of the call: where its bytes and its peer's address are. */
INLINE void datagram_next(struct op_t *op, struct datagram_t *d)
{
	if (d->messages) {
		/* name, namelen, iov, iovlen, control, controllen, flags, bytes moved */
		u64 header[8] = {};
		READ_USER(header, d->messages, 0);
		d->messages += MMSGHDR;
		d->name = header[0];
		op->buf = header[2];
		op->iovcnt = header[3];
		op->count = (u32)header[7];
		if (op->rec.direction == EGRESS && d->failed)
			op->count = CAPTURE_MAX; /* nothing was: what there is will be read */
		if (!op->iovcnt)
			op->buf = 0;
	}
	d->rounds += 1;
	d->left -= 1;
}

/* Port of the datagram's peer in *port, its address in `to`, 16 bytes. */
INLINE void datagram_peer(struct datagram_t *d, u16 *port, u64 *to)
{
	u64 name[2] = {}; /* family, port, IPv4 address; or flow, IPv6 address */

	if (!d->name || READ_USER(name, d->name, 0))
		return;
	u16 family = name[0];
	if (family == AF_INET) {
		to[0] = name[0] >> 32;
		to[1] = 0;
	} else if (family == AF_INET6) {
		if (read_user(to, 16, d->name + 8))
			return;
	} else {
		return;
	}
	*port = bpf_ntohs((u16)(name[0] >> 16));
}

/* A datagram socket of no interest: no UDP, one that is left alone, or DNS is switched off. */
INLINE bool datagrams_ignored(struct member_fields_offset *o, u32 tgid, s32 fd, u64 sk)
{
	if (datagrams_left_alone(tgid, fd, sk))
		return true;
	u8 family = sock_family(o, sk);
	return (family != FAMILY_IPV4 && family != FAMILY_IPV6) || !protocol_on(PROTOCOL_DNS);
}

#endif
