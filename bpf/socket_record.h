/* What a record tells of its socket, and of its place in the stream. */
#ifndef OTEL_EBPF_SOCKET_RECORD_H
#define OTEL_EBPF_SOCKET_RECORD_H

#include "socket.h"

INLINE void fill_address(struct __socket_data *r, struct socket_state_t *st)
{
	r->socket_id = st->socket_id;
	r->role = st->role;
	r->protocol = st->protocol;
	r->family = st->family;
	r->netns = st->netns;
	r->local_port = st->local_port;
	r->peer_port = st->peer_port;
	__builtin_memcpy(r->local_addr, st->local_addr, 16);
	__builtin_memcpy(r->peer_addr, st->peer_addr, 16);
}

/* The number of a Unix socket's peer, which both ends know the pair by. Only of sockets that
 * were seen to be made: of those, both ends have counted the same bytes. */
INLINE void find_unix_peer(struct __socket_data *r, struct socket_state_t *st)
{
	u64 peer = st->identity_a;
	u64 *mine = (u64 *)st->local_addr, *theirs = (u64 *)st->peer_addr;

	if (!*mine || *theirs || !peer)
		return;
	struct socket_state_t *other = socket_state_map.lookup(&peer);
	if (!other || other->family != FAMILY_UNIX)
		return;
	*theirs = *(u64 *)other->local_addr;
	*(u64 *)r->peer_addr = *theirs;
}

INLINE void read_seq(struct member_fields_offset *o, struct op_t *op, struct socket_state_t *st)
{
	struct __socket_data *r = &op->rec;
	u32 seq = 0;

	if (st->family == FAMILY_UNIX || st->tls) {
		r->tcp_seq = (u32)st->bytes[r->direction & 1];
		if (st->family == FAMILY_UNIX && r->direction == INGRESS)
			find_unix_peer(r, st);
	} else if (r->direction == EGRESS) {
		r->tcp_seq = op->seq;
	} else {
		u32 next = 0;
		READ_KERNEL(seq, op->sk, o->tcp_copied_seq);
		if (op->state != TCP_ESTABLISHED) {
			/* A FIN takes a number too; this read may have gone past it. */
			READ_KERNEL(next, op->sk, o->tcp_rcv_nxt);
			if (op->state != TCP_FIN_WAIT1 && op->state != TCP_FIN_WAIT2 && seq == next)
				seq -= 1;
		}
		r->tcp_seq = seq - (u32)op->count;
	}
}

/* A small record about a socket whose conversation is followed. */
INLINE void tell(void *ctx, u8 type, u64 id, struct socket_state_t *st, u8 direction, u64 length,
		 u64 ref_ts)
{
	struct __socket_data_buffer *b;
	struct __socket_data *r;

	if (!st->protocol && !st->before_len)
		return;
	r = burst_begin(ctx, &b, type, id, bpf_ktime_get_ns());
	if (!r)
		return;
	fill_address(r, st);
	r->direction = direction;
	r->length = length;
	r->ref_ts = ref_ts;
	r->uid = st->uid;
	burst_commit(b, sizeof(*r));
}

#endif
