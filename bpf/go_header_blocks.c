/* The programs that go through a header block, wherever it was found. */
#include "go_headers.h"

/* The block is whole, or as much of it as there is room for. */
INLINE void header_send(struct pt_regs *regs, struct __http2_stack *s)
{
	struct __socket_data *r = &s->op.rec;
	u32 out = s->headers.to.out & 0x1fff;

	if (s->headers.to.cut)
		r->ref_ts |= HEADERS_CUT;
	r->data_len = out;
	r->segments = 1;
	r->size = (sizeof(*r) + out + 7) & ~7;
	__builtin_memcpy(&s->burst.rec, r, sizeof(*r));
	stack_send(regs, s);
	stack_leave(s);
}

/* KP_HEADERS: hpack.HeaderFields. */
int kp_headers(struct pt_regs *regs)
{
	struct __http2_stack *s = stack_mine();

	if (!s)
		return 0;
	struct header_walk_t *h = &s->headers;
	NO_UNROLL
	for (int i = 0; i < HEADER_STEPS; i++) {
		u64 field[4] = {};

		if (!h->left || h->to.cut)
			break;
		if (READ_USER(field, h->at, 0)) {
			h->to.cut = 1;
			break;
		}
		h->at += FIELD_SIZE;
		h->left -= 1;
		header_put(&h->to, s->burst.payload, field[0], field[1], field[2], field[3], 0);
	}
	if (h->left && !h->to.cut) {
		h->rounds += 1;
		if (h->rounds < HEADER_ROUNDS)
			__progs_jmp_kp_map.call(regs, KP_HEADERS);
		h->to.cut = 1;
	}
	header_send(regs, s);
	return 0;
}

/* What comes next of a response's head: a name that is meant, a value of the field at hand,
 * the next field, the next group of the map, or what stands beside the map. False: no more. */
INLINE bool header_map_step(struct header_walk_t *h, u64 *field, u32 *flag)
{
	u64 at = 0;

	if (h->keys_left) {
		read_user(field, 16, h->keys);
		h->keys += 16;
		h->keys_left -= 1;
		*flag = HEADER_KEY;
		return true;
	}
	if (h->values_left) {
		field[0] = h->name;
		field[1] = h->name_len;
		if (read_user(field + 2, 16, h->values))
			h->to.cut = 1;
		h->values += 16;
		h->values_left -= 1;
		return true;
	}
	if (h->slots) {
		u64 old = h->map.old, slot = GO_SLOTS - h->slots;
		u64 control = h->words[0] >> (8 * (slot & 7)) & 0xff;
		u64 full = old ? control >= HMAP_FULL : !(control & 0x80);
		u64 keys = old ? 1 + 2 * slot : 1 + 5 * slot;
		u64 values = old ? 17 + 3 * slot : 3 + 5 * slot;

		h->slots -= 1;
		if (full) {
			h->name = h->words[within(keys, HEADER_WORDS)];
			h->name_len = h->words[within(keys + 1, HEADER_WORDS)];
			h->values = h->words[within(values, HEADER_WORDS)];
			h->values_left = h->words[within(values + 1, HEADER_WORDS)];
		}
		return true;
	}
	u32 more = go_map_at(&h->map, &at);
	if (more == GROUP_READ) {
		long failed = h->map.old ? read_user(h->words, HEADER_BUCKET, at)
					 : read_user(h->words, HEADER_GROUP, at);
		if (failed) {
			h->to.cut = 1;
			return false;
		}
		if (h->map.old)
			h->map.next = h->words[HEADER_BUCKET / 8 - 1];
		h->slots = GO_SLOTS;
		return true;
	}
	if (more == GROUP_SKIP)
		return true;
	return false;
}

/* KP_HEADER_MAP: a response's head. */
int kp_header_map(struct pt_regs *regs)
{
	struct __http2_stack *s = stack_mine();
	bool more = true;

	if (!s)
		return 0;
	struct header_walk_t *h = &s->headers;
	NO_UNROLL
	for (int i = 0; i < HEADER_STEPS; i++) {
		u64 field[4] = {};
		u32 flag = 0;

		more = header_map_step(h, field, &flag);
		if (!more || h->to.cut)
			break;
		if (field[1])
			header_put(&h->to, s->burst.payload, field[0], field[1], field[2], field[3], flag);
	}
	if (more && !h->to.cut) {
		h->rounds += 1;
		if (h->rounds < HEADER_ROUNDS)
			__progs_jmp_kp_map.call(regs, KP_HEADER_MAP);
		h->to.cut = 1;
	}
	s->op.rec.context_uid = h->status;
	__progs_jmp_kp_map.call(regs, KP_HEADER_REST);
	stack_leave(s);
	return 0;
}

/* KP_HEADER_REST: what stands beside the map. The status is in context_uid, and these have
 * no names: their lengths are those of empty ones. */
int kp_header_rest(struct pt_regs *regs)
{
	struct __http2_stack *s = stack_mine();

	if (!s)
		return 0;
	struct header_walk_t *h = &s->headers;
	header_put(&h->to, s->burst.payload, 0, 0, h->extra[0], h->extra[1], 0);
	header_put(&h->to, s->burst.payload, 0, 0, h->extra[2], h->extra[3], 0);
	header_put(&h->to, s->burst.payload, 0, 0, h->extra[4], h->extra[5], 0);
	header_send(regs, s);
	return 0;
}
