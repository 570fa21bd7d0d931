/* Who asked for the streams of a Go client's connection: the new ones are found in its table,
 * their contexts followed, and user space told, some at a time and in the order of their
 * numbers. What no program is left for comes with the connection's next segment. */
#ifndef OTEL_EBPF_GO_ASKED_H
#define OTEL_EBPF_GO_ASKED_H

#include "go_list.h"

#define STEPS_AT_ONCE 160 /* steps along chains of contexts in one program */
#define ENDS_AT_ONCE 64

/* Program 10: looks for new streams in the connection's table. */
INLINE int run_go_streams(void *ctx)
{
	struct op_t *op = operation();
	struct go_scan_t *s = go_scan();
	u32 more = GROUP_READ;

	if (!op || !s)
		return 0;
	struct socket_state_t *st = op_socket(op);
	struct proc_info_t *pi = op_process(op);
	if (!st || !pi)
		return 0;
	if (!op->rounds)
		go_begin_scan(op, s, st, pi);
	op->rounds += 1;
	NO_UNROLL
	for (int i = 0; i < GROUPS_AT_ONCE; i++) {
		more = go_map_next(&s->client);
		if (more == GROUP_END)
			break;
		if (more == GROUP_SKIP)
			continue;
		NO_UNROLL
		for (u32 j = 0; j < GO_SLOTS; j++) {
			u64 stream = 0, full;
			u32 id = 0;
			full = go_map_slot(&s->client, j, &id, &stream);
			full &= above(id, s->last) & (above(id, s->top) ^ 1);
			/* Without branches: what is no new stream goes to the place behind. */
			u64 place = go_place(id, s->last) & -full | GO_WINDOW & (full - 1);
			struct go_found_t *at = &s->list[within(place, 2 * GO_WINDOW)];
			at->stream = stream;
			at->tag = (u64)s->look << 32 | id;
			s->found += full & ~go_known(s, place);
		}
		if (s->found >= s->expected) {
			more = GROUP_END;
			break;
		}
	}
	if (more != GROUP_END) {
		if (op->rounds < GROUP_ROUNDS)
			go_jump(ctx, op, PROG_GO_STREAMS);
		count(STAT_GO_SCAN_CUT);
		s->blind = 1;
	}
	go_jump(ctx, op, PROG_GO_ASKED);
	go_cut_list(s, 0);
	go_end_scan(ctx, op, s, st);
	return 0;
}

/* Where the walk from the context of the stream at this place begins; nowhere, where there is
 * no stream, or its slot is being filled: it is there when it is looked at again. */
INLINE void go_begin_walk(struct go_scan_t *s)
{
	struct go_found_t *found = go_found(s, s->begun);
	struct go_asker_t *asker = go_asker(s, s->begun);
	u32 id = 0, number = go_number(s->begun, s->last);
	u64 base = found->stream, words[2] = {};

	asker->end = GO_ENDS_ABSENT;
	if (found->tag != ((u64)s->look << 32 | number) || go_known(s, s->begun))
		return;
	if (s->stream_base >= 0)
		READ_USER(base, base, s->stream_base);
	READ_USER(id, base, s->stream_id);
	if (id != number)
		return;
	if (s->stream_req >= 0)
		READ_USER(base, base, s->stream_req);
	READ_USER(words, base, s->stream_ctx);
	asker->type = words[0];
	asker->context = words[1];
	asker->end = GO_WALKS;
}

/* Program 11: follows the contexts of the streams found. */
INLINE int run_go_asked(void *ctx)
{
	struct op_t *op = operation();
	struct go_scan_t *s = go_scan();

	if (!op || !s)
		return 0;
	struct socket_state_t *st = op_socket(op);
	struct proc_info_t *pi = op_process(op);
	if (!st || !pi)
		return 0;
	u32 tgid = op->rec.tgid;
	NO_UNROLL
	for (int i = 0; i < GO_CHUNK; i++) {
		if (s->begun >= s->chunk)
			break;
		go_begin_walk(s);
		s->begun += 1;
	}
	NO_UNROLL
	for (int i = 0; i < STEPS_AT_ONCE; i++) {
		struct go_asker_t *asker = go_asker(s, s->walked);
		u32 end = asker->end;

		if (s->walked >= s->chunk)
			break;
		if (!s->walking)
			go_walk_of(&s->walk, asker->type, asker->context, tgid);
		if (end == GO_WALKS)
			end = go_walk_on(&s->walk, pi, tgid);
		asker->end = end;
		WAYS_MEET();
		end = asker->end;
		s->walking = end == GO_WALKS;
		asker->context = s->walk.context;
		asker->before = s->walk.before;
		asker->type = s->walk.words[4];
		asker->value = s->walk.words[5];
		s->walked += end != GO_WALKS;
	}
	if (s->walked < s->chunk) {
		if (go_jumps_left(op, 3)) /* this one, and those that tell of what was found */
			go_jump(ctx, op, PROG_GO_ASKED);
		go_cut_list(s, s->walked);
	}
	go_jump(ctx, op, PROG_GO_ENDS);
	go_cut_list(s, s->told);
	go_end_scan(ctx, op, s, st);
	return 0;
}

/* Program 20: whose requests the contexts belong to at which those walks have ended. */
INLINE int run_go_ends(void *ctx)
{
	struct op_t *op = operation();
	struct go_scan_t *s = go_scan();

	if (!op || !s)
		return 0;
	struct socket_state_t *st = op_socket(op);
	struct proc_info_t *pi = op_process(op);
	if (!st || !pi)
		return 0;
	NO_UNROLL
	for (int i = 0; i < ENDS_AT_ONCE; i++) {
		struct go_asker_t *asker = go_asker(s, s->ended);
		struct go_walk_t *w = &s->walk;

		if (s->ended >= s->chunk)
			break;
		w->context = asker->context;
		w->before = asker->before;
		w->words[4] = asker->type;
		w->words[5] = asker->value;
		w->kind = 0;
		asker->uid = go_walk_end(w, pi, op->rec.tgid, asker->end, op->looked);
		WAYS_MEET();
		if (!asker->uid && w->kind && !op->looked)
			break;
		/* The next look may have programs enough, if this one had not all of them for it. */
		if (!asker->uid && op->looked == GO_LOOKED_PART && (s->ended || !op->at_entry))
			break;
		op->looked = 0;
		s->ended += 1;
	}
	if (s->ended < s->chunk) {
		if (go_jumps_left(op, 2) && op->looked != GO_LOOKED_PART) {
			if (s->walk.kind && !op->looked) {
				op->looked = 1;
				go_look(ctx, op, s, PROG_GO_ENDS);
			}
			go_jump(ctx, op, PROG_GO_ENDS);
		}
		go_cut_list(s, s->ended);
	}
	go_jump(ctx, op, PROG_GO_TELL);
	go_cut_list(s, s->told);
	go_end_scan(ctx, op, s, st);
	return 0;
}

#endif
