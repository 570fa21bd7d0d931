/* Turns of an event loop that runs each callback to its end (Node, nginx): what it writes
 * between two waits follows from what it has just read.
 *
 * A turn begins when epoll_wait returns. What the thread did last in it, a request or a
 * response that it read, is told with each request and response that it writes; for the first
 * request on a new connection, what it had done when it asked for the connection. Whatever
 * else may have run meanwhile (a timer that was due, a thread pool's result) is told too, or
 * makes that unknown. What follows from it is decided in user space (correlation/turns.py).
 * Where libuv's loop is at is read from its stack (otel_ebpf/discovery/libuv.py).
 *
 * Some loops are batched (HAProxy): they read all that is ready, then work on it. Their turn goes on
 * until they wait with nothing left to do, and what they write has a known cause only if they
 * have read one message in it.
 *
 * The probes are attached when the first such process is seen. Tracepoint programs only. */
#ifndef OTEL_EBPF_TURNS_H
#define OTEL_EBPF_TURNS_H

#include "node_frames.h"
#include "trace.h"
#include "way_out.h"

#define MS_NS 1000000ULL

/* Where libuv's loop is at. Its timers, immediates and whatever else follow from nothing that was
 * read in this turn, and run at times of their own. */
enum phase {
	PHASE_UNKNOWN,
	PHASE_READY, /* it calls back what is ready: what it has read last is the cause */
	PHASE_OTHER,
};

INLINE struct turn_t *my_turn(void)
{
	u64 id = bpf_get_current_pid_tgid();
	int zero = 0;
	u32 *followed = turns_followed.lookup(&zero);

	return followed && *followed ? turn_map.lookup(&id) : 0;
}

/* The thread has done this last: message `uid`, or what is not known (0), of which it may be
 * told later what it was. */
INLINE void turn_did(struct turn_t *t, u64 uid)
{
	t->last = uid;
	if (!uid) {
		t->others++;
	} else if (!t->first || t->first == uid) {
		t->first = uid;
		t->others--;
	}
}

INLINE void turn_does(u64 uid)
{
	struct turn_t *t = my_turn();

	if (t)
		turn_did(t, uid);
}

INLINE u8 turn_phase(struct turn_t *t)
{
	u64 word = 0;

	if (!t->slot)
		return PHASE_UNKNOWN;
	return !READ_USER(word, t->slot, 0) && word == t->polls ? PHASE_READY : PHASE_OTHER;
}

/* The thread waits with this array of events. A loop within a call of the other one (spawnSync)
 * has a place of its own, but does not go on to other phases of the outer one. */
INLINE void turn_place(struct turn_t *t, struct proc_info_t *pi, u64 events)
{
	if (!pi->loop_slot || turn_phase(t) == PHASE_READY)
		return;
	t->polls = pi->loop_polls;
	t->slot = events + pi->loop_slot;
	if (turn_phase(t) != PHASE_READY)
		t->slot = 0;
}

/* What the thread writes now follows from this, 0: not known. */
INLINE u64 turn_cause(struct turn_t *t, u8 phase)
{
	if (phase == PHASE_OTHER)
		return 0;
	if (t->batched)
		return t->others ? 0 : t->first;
	return t->last;
}

/* A socket of the thread ended: what follows (a retry) is on behalf of what it was used for. */
INLINE void turn_ends(u64 sk, struct socket_state_t *st)
{
	struct turn_t *t = my_turn();
	struct turn_opened_t *opened;

	if (!t)
		return;
	opened = turn_opened_map.lookup(&sk);
	u64 used_for = st->protocol != PROTOCOL_HTTP2 && !st->several ? st->uid : 0;
	if (opened && opened->socket_id == st->socket_id)
		used_for = opened->last;
	turn_did(t, 0);
	if (used_for)
		turn_did(t, used_for);
}

/* It is closed. A proxy's idle connection may go in anybody's turn, to make room for another. */
INLINE void turn_closes(u64 sk, struct socket_state_t *st)
{
	struct turn_t *t = my_turn();

	/* Of datagrams nobody tells that the peer has gone: it is the program's own doing. */
	if (t && !st->datagram && (!t->proxy || st->is_request || turn_opened_map.lookup(&sk)))
		turn_ends(sk, st);
}

/* A timer may have run since the loop's wait was over. */
INLINE bool turn_timer_due(struct turn_t *t, u64 now, u8 phase)
{
	return phase == PHASE_UNKNOWN && t->due && now >= t->due;
}

/* The thread has asked for a connection. */
INLINE void turn_connects(u64 sk, struct socket_state_t *st, u64 now)
{
	struct turn_t *t = my_turn();

	if (!t)
		return;
	u8 phase = turn_phase(t);
	struct turn_opened_t opened = {.socket_id = st->socket_id,
				       .last = turn_cause(t, phase),
				       .due = turn_timer_due(t, now, phase)};
	turn_opened_map.update(&sk, &opened);
}

/* Program 18: a request or response leaves a loop. */
INLINE int run_turn(void *ctx)
{
	struct op_t *op = operation();

	if (!op)
		return 0;
	struct __socket_data *r = &op->rec;
	struct turn_t *t = my_turn();
	u64 sk = op->sk;
	if (t) {
		struct turn_opened_t *opened = 0;
		u8 phase = turn_phase(t);
		r->flags |= FLAG_TURN;
		r->caller_uid = turn_cause(t, phase);
		r->caller_goid = op->turns;
		struct proc_info_t *pi = proc_info_map.lookup(&r->tgid);
		u64 frame = node_context(offsets(), pi);
		r->context_uid = frame == t->outside ? 0 : node_frame(pi, frame);
		if (turn_timer_due(t, r->ts, phase))
			r->flags |= FLAG_DUE;
		if (r->begins == BEGINS_REQUEST)
			opened = turn_opened_map.lookup(&sk);
		if (opened) {
			r->caller_uid = opened->last;
			r->flags = (r->flags & ~FLAG_DUE) | FLAG_OPENED |
				   (opened->due ? FLAG_DUE : 0);
			turn_opened_map.delete(&sk);
		}
	}
	op->turns = 0;
	segment_ends(ctx, op);
	return 0;
}

#endif
