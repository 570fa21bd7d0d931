/* The way of bytes that came by TLS, from the uprobe that saw them: as that of segments, in data.h
 * and messages.h. */
#include "uprobe_stack.h"

/* The last bytes of plaintext that is not captured to its end. */
INLINE void tls_tail(struct op_t *op)
{
	u64 tail = 0, n = op->count < 8 ? op->count : 8;

	if (n && !read_user(&tail, n & 15, op->buf + op->count - n))
		set_tail(&op->rec, tail << (8 * (8 - n) & 63), n);
}

/* KP_DATA: run_data, for bytes that came by TLS. */
int kp_data(struct pt_regs *regs)
{
	struct __http2_stack *s = stack_mine();
	struct trace_conf_t *conf = config();
	struct member_fields_offset *o = offsets();
	u8 begins = BEGINS_NOTHING, found = 0;
	s32 n = 0;

	if (!s)
		return 0;
	struct op_t *op = &s->op;
	struct __socket_data *r = &op->rec;
	u64 sk = op->sk;
	struct socket_state_t *st = socket_state_map.lookup(&sk);
	if (!st || !conf || !o)
		goto out;
	if (st->protocol == PROTOCOL_HTTP2) {
		http2_segment(regs, o, op, &s->walk, st, false, 0, true);
		goto out;
	}
	if (st->protocol > PROTOCOL_HTTP2) {
		__progs_jmp_kp_map.call(regs, KP_MESSAGES);
		goto out;
	}
	bool start = st->direction != INGRESS;
	u32 had = start ? 0 : st->before_len & (INFER_BYTES - 1);
	if (start) {
		st->direction = INGRESS;
		st->captured = 0;
		st->before_len = 0;
		r->flags |= FLAG_RUN_START;
	}
	if (start || had) {
		n = peek_head(op, st, had);
		begins = judge(op, st, n < 0 ? 0 : n, had, &found);
		if (found == PROTOCOL_HTTP2) {
			bool preface = begins == BEGINS_REQUEST;
			http2_segment(regs, o, op, &s->walk, st, !preface,
				      preface ? HTTP2_PREFACE - had : 0, true);
			goto out;
		}
		if (begins == BEGINS_NOTHING && !st->protocol) {
			op->total = op->count + had;
			__progs_jmp_kp_map.call(regs, KP_MESSAGES);
		}
		if (begins == BEGINS_REQUEST) {
			st->uid = s->uids++;
			st->is_request = 1;
		} else if (begins == BEGINS_RESPONSE) {
			st->is_request = 0;
		}
	}
	r->begins = begins;
	fill_address(r, st);
	if (begins == BEGINS_INTERIM && switches_protocols(op->head) &&
	    protocol_on(PROTOCOL_WEBSOCKET))
		st->protocol = PROTOCOL_WEBSOCKET;
	r->tcp_seq = (u32)st->bytes[INGRESS];
	st->bytes[INGRESS] += op->count;
	if (!st->protocol && begins != BEGINS_MAYBE) {
		count_safely(STAT_UNKNOWN_PROTOCOL);
		goto out;
	}
	if (st->role == ROLE_SERVER && st->is_request)
		carry(op, st, r->ts);
	r->uid = st->uid;
	if (!op->go)
		turn_does(st->uid);
	op->capture = 0;
	if (st->captured < conf->capture) {
		op->capture = conf->capture - st->captured;
		if (op->count < op->capture)
			op->capture = op->count;
		st->captured += op->capture;
	}
	if (op->capture < op->count)
		tls_tail(op);
	if (op->go && begins != BEGINS_NOTHING &&
	    !(st->context && begins == BEGINS_REQUEST && !op->births))
		__progs_jmp_kp_map.call(regs, KP_GO);
	__progs_jmp_kp_map.call(regs, KP_OUTPUT);
out:
	stack_leave(s);
	return 0;
}

/* KP_MESSAGES: run_messages, for bytes that came by TLS. */
int kp_messages(struct pt_regs *regs)
{
	struct __http2_stack *s = stack_mine();
	struct trace_conf_t *conf = config();
	u8 begins = BEGINS_NOTHING, secret = 0;

	if (!s)
		return 0;
	struct op_t *op = &s->op;
	u64 sk = op->sk;
	struct socket_state_t *st = socket_state_map.lookup(&sk);
	if (!st || !conf)
		goto out;
	op->most = message_most(conf);
	if (!st->protocol) {
		begins = message_first(op, st);
		if (begins == BEGINS_NOTHING) {
			st->bytes[INGRESS] += op->count;
			count_safely(STAT_UNKNOWN_PROTOCOL);
			goto out;
		}
	} else {
		bool start = st->direction != INGRESS;
		u32 had = start ? 0 : st->before_len & (INFER_BYTES - 1);
		s32 n = peek_head(op, st, had);
		if (start) {
			st->direction = INGRESS;
			st->captured = 0;
			st->before_len = 0;
		}
		if (st->bytes[INGRESS])
			op->rec.flags |= FLAG_BEHIND;
		u8 towards = st->role == ROLE_SERVER ? TOWARDS_SERVER : TOWARDS_CLIENT;
		begins = message_next(op, st, n < 0 ? 0 : n, had, towards, start, &secret);
		if (st->protocol == PROTOCOL_WEBSOCKET)
			st->captured = 0;
	}
	op->rec.begins = begins;
	op->secret = secret;
	__progs_jmp_kp_map.call(regs, KP_MESSAGE);
out:
	stack_leave(s);
	return 0;
}

/* KP_MESSAGE: run_message, for bytes that came by TLS. What one read brings beyond a record's room
 * is told by its length. */
int kp_message(struct pt_regs *regs)
{
	struct __http2_stack *s = stack_mine();

	if (!s)
		return 0;
	struct op_t *op = &s->op;
	struct __socket_data *r = &op->rec;
	u64 sk = op->sk;
	struct socket_state_t *st = socket_state_map.lookup(&sk);
	if (!st)
		goto out;
	u8 begins = r->begins, secret = op->secret;
	if (begins == BEGINS_REQUEST) {
		st->uid = s->uids++;
		st->is_request = 1;
	} else if (begins == BEGINS_RESPONSE) {
		st->is_request = 0;
	}
	if (begins == BEGINS_REQUEST || begins == BEGINS_RESPONSE)
		st->captured = 0;
	if (begins == BEGINS_REQUEST)
		message_login(op, st, &secret);
	fill_address(r, st);
	r->tcp_seq = (u32)st->bytes[INGRESS];
	st->bytes[INGRESS] += op->count;
	if (st->role == ROLE_SERVER && st->is_request)
		carry(op, st, r->ts);
	r->uid = begins == BEGINS_RESPONSE && st->several ? 0 : st->uid;
	if (!op->go)
		turn_does(st->role == ROLE_CLIENT ? TURN_SEGMENT | r->ts : r->uid);
	take_payload(op, st, secret ? secret : op->most);
	if (secret)
		st->captured = MESSAGE_MOST + 1; /* nor what follows in the same run */
	op->slices = 0;
	r->length = op->count;
	if (op->capture < op->count && st->captured <= MESSAGE_MOST) /* else they are secret, too */
		tls_tail(op);
	if (op->go && begins == BEGINS_REQUEST)
		__progs_jmp_kp_map.call(regs, KP_GO);
	__progs_jmp_kp_map.call(regs, KP_OUTPUT);
out:
	stack_leave(s);
	return 0;
}
