/* A connection's receiver, found on the stack of the goroutine that reads from it.
 *
 * The method that a connection's goroutine was started with keeps its receiver near the top of
 * the stack for as long as it runs. The proof is the descriptor: of all words there, one points
 * to an object whose connection is over just the descriptor that is being read. No filter by
 * address: where Go's heap lies is random since 1.26.
 */
#ifndef OTEL_EBPF_GO_STACK_H
#define OTEL_EBPF_GO_STACK_H

#include "trace.h"

/* Connections that no receiver was found for are looked at this often: the first message may
 * have been read by another goroutine (a proxy's CONNECT), a pool's by many. */
#define GO_STACK_TRIES 3
#define GO_WRAPPERS 4 /* around a connection */

/* The descriptor of the *net.TCPConn (or *net.UnixConn) whose data word is `conn`; -1: none.
 * Without branches: the verifier follows each way through a loop's body in every round. */
INLINE s32 go_conn_fd(struct proc_info_t *pi, u64 conn)
{
	u64 net_fd = 0, fd = 0;
	s64 failed = READ_USER(net_fd, conn, 0);

	failed |= READ_USER(fd, net_fd, pi->fd_sysfd);
	FORGET_BOUNDS(failed);
	return (s32)(fd | failed >> 63);
}

/* Whether the interface at `at` is a connection over descriptor fd, itself or under TLS. */
INLINE bool go_conn_is(struct proc_info_t *pi, u64 at, s32 fd)
{
	u64 conn = 0, under = 0;
	struct tls_socket_key key = {.tgid = bpf_get_current_pid_tgid() >> 32};
	struct tls_socket_t *beneath;

	if (READ_USER(conn, at, 8) || !conn)
		return false;
	if (go_conn_fd(pi, conn) == fd)
		return true;
	key.conn = conn; /* what crypto/tls was seen to read from and write to */
	beneath = tls_socket_map.lookup(&key);
	if (beneath)
		return beneath->fd == fd;
	if (pi->tls_conn < 0 || READ_USER(under, conn, pi->tls_conn + 8) || !under)
		return false;
	return go_conn_fd(pi, under) == fd;
}

/* The object near the top of g's stack whose connection, an interface at offset `conn`, is
 * over descriptor fd; 0: there is none. */
INLINE u64 go_stack_receiver(struct proc_info_t *pi, struct go_stack_t *stack, u64 g, s32 conn,
			     s32 fd)
{
	u64 hi = 0;

	if (!stack || !g || conn < 0 || pi->g_stack_hi < 0 || fd < 0)
		return 0;
	if (READ_USER(hi, g, pi->g_stack_hi) || READ_USER(stack->words, hi, -(s64)sizeof(stack->words)))
		return 0;
	NO_UNROLL
	for (int i = GO_STACK_WORDS - 1; i >= 0; i--) {
		u64 object = stack->words[i & (GO_STACK_WORDS - 1)];
		if (object < 4096 || (object & 7))
			continue;
		if (go_conn_is(pi, object + conn, fd))
			return object;
	}
	return 0;
}

/* The same, under wrappers of the program's own or of a module: those that embed a connection, as
 * an interface or a *net.TCPConn, begin with it. Only for a receiver that is certain. */
INLINE bool go_conn_beneath(struct proc_info_t *pi, u64 at, s32 fd)
{
	u64 conn = 0;

	if (go_conn_is(pi, at, fd))
		return true;
	if (READ_USER(conn, at, 8))
		return false;
	NO_UNROLL
	for (int i = 0; i < GO_WRAPPERS; i++) {
		u64 words[2] = {};
		if (read_user(words, sizeof(words), conn))
			return false;
		if (go_conn_fd(pi, words[0]) == fd || go_conn_fd(pi, words[1]) == fd)
			return true;
		conn = words[1];
	}
	return false;
}

/* A net/http connection that is older than the tracer, or whose program has no probe: as if
 * the probe had told. */
INLINE void go_stack_search(struct op_t *op, struct go_stack_t *stack)
{
	struct __socket_data *r = &op->rec;
	u32 tgid = r->tgid;
	u64 sk = op->sk;
	struct proc_info_t *pi = proc_info_map.lookup(&tgid);
	struct socket_state_t *st = socket_state_map.lookup(&sk);
	if (pi && st && st->go_tries < GO_STACK_TRIES) {
		bool server = r->begins == BEGINS_REQUEST;
		struct go_key key = {.goid = r->goid, .tgid = tgid};
		struct go_conn_t value = {.kind = server ? GO_CONN_SERVER : GO_CONN_CLIENT};
		u64 receiver = go_stack_receiver(pi, stack, op->g,
						 server ? pi->conn_rwc : pi->pc_conn, (s32)r->fd);

		if (receiver && !server) {
			/* A client's queue of requests has one slot. */
			u64 queue = 0, slots[2] = {};
			READ_USER(queue, receiver, pi->pc_reqch);
			READ_USER(slots, queue, pi->hchan_qcount);
			if (slots[0] > 1 || slots[1] != 1)
				receiver = 0;
		}
		value.receiver = receiver;
		st->go_tries += 1;
		if (receiver) {
			go_conn_map.update(&key, &value);
			count(STAT_GO_STACK_FOUND);
		} else {
			count(STAT_GO_STACK_NOTHING);
		}
	}
	op->go_looked = 1;
}

/* Program 8. Then the witnesses. */
INLINE int run_go_stack(void *ctx)
{
	struct op_t *op = operation();
	int zero = 0;

	if (!op)
		return 0;
	go_stack_search(op, go_stack_buf.lookup(&zero));
	__progs_jmp_tp_map.call(ctx, PROG_GO);
	return 0;
}

#endif
