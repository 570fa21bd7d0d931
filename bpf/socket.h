/* The state that is kept for a socket. */
#ifndef OTEL_EBPF_SOCKET_H
#define OTEL_EBPF_SOCKET_H

#include "burst.h"
#include "chosen.h"
#include "sock.h"

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
