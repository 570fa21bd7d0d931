/* Tracepoint pairs of the calls that move bytes, and of those that make and end sockets. */
#include "datagrams.h"
#include "go_asked.h"
#include "go_older.h"
#include "probe.h"

#define MSG_OOB 1
#define MSG_PEEK 2
#define MSG_TRUNC 0x20
#define MSG_ERRQUEUE 0x2000
/* What such a receive returns stays where it is, or never was in the stream. */
#define BESIDE_STREAM (MSG_PEEK | MSG_OOB | MSG_ERRQUEUE)
#define MMSGS 1024 /* UIO_MAXIOV: the kernel takes no more */
#define EINPROGRESS 115

/* x86-64: call numbers, and where struct pt_regs keeps their arguments; see task.h. */
#define NR_READ 0
#define NR_READV 19
#define NR_RECVFROM 45
#define NR_RECVMSG 47
#define NR_RECVMMSG 299
#define PT_R10 56

int prog_data(void *ctx)
{
	return run_data(ctx);
}

int prog_tail(void *ctx)
{
	return run_tail(ctx);
}

int prog_go_stack(void *ctx)
{
	return run_go_stack(ctx);
}

int prog_go_lineage(void *ctx)
{
	return run_go_lineage(ctx);
}

int prog_go(void *ctx)
{
	return run_go(ctx);
}

int prog_go_streams(void *ctx)
{
	return run_go_streams(ctx);
}

int prog_go_asked(void *ctx)
{
	return run_go_asked(ctx);
}

int prog_go_ends(void *ctx)
{
	return run_go_ends(ctx);
}

int prog_go_server(void *ctx)
{
	return run_go_server(ctx);
}

int prog_go_tell(void *ctx)
{
	return run_go_tell(ctx);
}

int prog_go_proof(void *ctx)
{
	return run_go_proof(ctx);
}

int prog_go_older(void *ctx)
{
	return run_go_older(ctx);
}

int prog_python(void *ctx)
{
	return run_python(ctx);
}

int prog_turn(void *ctx)
{
	return run_turn(ctx);
}

int prog_pool(void *ctx)
{
	return run_pool(ctx);
}

int prog_messages(void *ctx)
{
	return run_messages(ctx);
}

int prog_message_first(void *ctx)
{
	return run_message_first(ctx);
}

int prog_message(void *ctx)
{
	return run_message(ctx);
}

int prog_slice(void *ctx)
{
	return run_slice(ctx);
}

int prog_datagram(void *ctx)
{
	return run_datagram(ctx);
}

int prog_datagram_who(void *ctx)
{
	return run_datagram_who(ctx);
}

int prog_output(void *ctx)
{
	return run_output(ctx);
}

int prog_tls(void *ctx)
{
	return run_tls(ctx);
}

int prog_http2(void *ctx)
{
	return run_http2(ctx);
}

/* The agent's own send: remember the connection, so that its peer's view is left alone. */
INLINE void note_self(struct member_fields_offset *o, s32 fd)
{
	int zero = 0;
	struct socket_state_t *st = socket_buf.lookup(&zero);
	struct self_conn_t mine = {};
	u64 sk = sock_of_fd(o, fd);
	u32 one = 1;

	if (!sk || !st)
		return;
	__builtin_memset(st, 0, sizeof(*st));
	st->family = sock_family(o, sk);
	if (st->family == FAMILY_UNIX || st->family == FAMILY_NONE)
		return;
	sock_addresses(o, sk, st);
	self_conn_addr(&mine, st->family, st->local_addr);
	mine.port = st->local_port;
	self_conn_map.update(&mine, &one);
}

/* Sum of a message's buffers, or -1 when there are more than are looked at. What the loop
 * knows is in memory: the verifier then sees the same after every round. */
INLINE s64 iov_total(struct op_t *op, u64 iov, u32 n)
{
	if (n > IOVECS)
		return -1;
	op->left = 0;
	op->done = n;
	NO_UNROLL
	for (int i = 0; i < IOVECS; i++) {
		u64 len = 0;
		if (i >= op->done)
			break;
		if (read_user(&len, sizeof(len), iov + i * 16 + 8))
			return -1;
		op->left += len;
	}
	return op->left;
}

/* msghdr: name, namelen, iov, iovlen... */
INLINE void read_msghdr(u64 msg, u64 *iov, u64 *n)
{
	READ_USER(*iov, msg, 16);
	READ_USER(*n, msg, 24);
}

/* Bytes of the first n messages of an mmsghdr array: each a msghdr, then the bytes moved;
 * 64 bytes apart. Payload is taken of the first; the others are a gap. */
INLINE void read_mmsg(struct op_t *op, u64 messages, long n)
{
	u64 iov = 0, iovcnt = 0;
	u32 first = 0;

	op->mmsg = n;
	op->left = 0;
	NO_UNROLL
	for (int i = 0; i < MMSGS; i++) {
		u32 len = 0;
		if (i >= op->mmsg)
			break;
		READ_USER(len, messages, i * 64 + 56);
		op->left += len;
	}
	read_msghdr(messages, &iov, &iovcnt);
	READ_USER(first, messages, 56);
	op->buf = iov;
	op->iovcnt = iovcnt;
	op->count = op->left;
	if (n > 1)
		op->limit = first;
}

/* A send on its way in. Its buffer, its place in the stream and its time are taken
 * here: the peer cannot have read it yet. */
INLINE int run_enter_send(void *ctx)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 tgid = id >> 32;
	struct member_fields_offset *o = offsets();
	struct trace_conf_t *conf = config();
	struct op_t *op = operation();
	struct data_args_t args = {};
	u64 now;

	if (!o || !o->ready || !conf || !op)
		return 0;
	s32 fd = op->rec.fd;
	u64 buf = op->buf, count_ = op->count, iovcnt = op->iovcnt;
	u8 call = op->rec.syscall;
	if (tgid == conf->self_tgid) {
		note_self(o, fd);
		return 0;
	}
	u64 datagram = 0;
	u64 sk = sock_of_any(o, fd, &datagram);
	if (!sk) {
		op->sk = datagram;
		if (datagram)
			__progs_jmp_tp_map.call(ctx, PROG_DATAGRAM_SEND);
		return 0;
	}
	now = bpf_ktime_get_ns();
	bool deferred = call == CALL_SENDMMSG;
	if (iovcnt && !deferred) {
		s64 total = iov_total(op, buf, iovcnt);
		if (total < 0)
			deferred = true;
		count_ = total;
	}
	if (!deferred && count_ == 0)
		return 0;
	u32 seq = 0;
	READ_KERNEL(seq, sk, o->tcp_write_seq);
	/* A plain send's exit finds its arguments in the registers. */
	if (!conf->registers || iovcnt || deferred) {
		args.ts = now;
		args.buf = buf;
		args.count = count_;
		args.iovcnt = iovcnt;
		args.fd = fd;
		args.call = call;
		args.deferred = deferred;
		args.seq = seq;
		if (__active_write_args_map.update(&id, &args)) {
			count(STAT_ARGS_MAP_FULL);
			return 0;
		}
		if (deferred)
			return 0;
	}
	op = op_start(id, EGRESS, fd, call, now);
	if (!op)
		return 0;
	op->sk = sk;
	op->buf = buf;
	op->iovcnt = iovcnt;
	op->count = count_;
	op->rec.length = count_;
	op->seq = seq;
	op->at_entry = 1;
	__progs_jmp_tp_map.call(ctx, PROG_DATA);
	return 0;
}

/* Every send enters here; what follows is one program for all of them. */
INLINE int enter_send(void *ctx, s32 fd, u64 buf, u64 count_, u64 iovcnt, u8 call)
{
	u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct trace_conf_t *conf = config();
	struct op_t *op = operation();

	if (!conf || !op || (tgid != conf->self_tgid && !process_chosen(conf, tgid)))
		return 0;
	op->rec.fd = fd;
	op->rec.syscall = call;
	op->buf = buf;
	op->count = count_;
	op->iovcnt = iovcnt;
	__progs_jmp_tp_map.call(ctx, PROG_ENTER_SEND);
	return 0;
}

/* An errno that ends a connection's conversation, as opposed to "try again". */
INLINE bool fatal(long ret)
{
	return ret == -104 || ret == -32 || ret == -110 || ret == -111 || ret == -113 ||
	       ret == -101 || ret == -103;
}

/* The send moved less than its record says. */
INLINE void correct_send(void *ctx, u64 id, s32 fd, u64 asked, long ret)
{
	struct member_fields_offset *o = offsets();
	u64 sk, moved = ret > 0 ? ret : 0, missing = asked - moved;
	struct socket_state_t *st;

	if (!o)
		return;
	sk = sock_of_fd(o, fd);
	st = socket_state_map.lookup(&sk);
	if (!st)
		return;
	if (st->tls) { /* ciphertext: what the program wrote is on its way all the same */
		if (fatal(ret))
			tell(ctx, RECORD_ERROR, id, st, EGRESS, -ret, 0);
		return;
	}
	struct sent_t *sent = &st->sent;
	if (sent->tid != (u32)id || sent->count != asked) {
		/* Another thread has sent on it meanwhile: where bytes are missing is not known. */
		if (missing)
			tell(ctx, RECORD_CORRECTION, id, st, EGRESS, moved, 0);
		sent = 0;
	}
	st->bytes[EGRESS] -= missing;
	if (sent && moved == 0)
		take_back(st); /* the run begins anew with the next try */
	if (sent && sent->generation) { /* else of no known protocol */
		struct __socket_data *r = burst_record(sent->generation, sent->offset);
		count(moved ? STAT_SHORT_SENDS : STAT_TAKEN_BACK);
		if (r && r->socket_id == st->socket_id && r->length == asked) {
			r->length = moved;
			if (r->data_len > moved)
				r->data_len = moved;
			if (moved == 0)
				r->type = RECORD_VOID;
		} else {
			tell(ctx, RECORD_CORRECTION, id, st, EGRESS, moved, sent->ts);
		}
		sent->tid = 0;
	}
	if (fatal(ret))
		tell(ctx, RECORD_ERROR, id, st, EGRESS, -ret, 0);
}

/* A send on its way out: confirmed when all was taken, else put right. */
INLINE int exit_send(void *ctx, long ret, u8 call)
{
	u64 id = bpf_get_current_pid_tgid();
	struct data_args_t *known = __active_write_args_map.lookup(&id);

	if (!known)
		return 0;
	if (known->call == call) {
		if (known->deferred || ret != (long)known->count)
			__progs_jmp_tp_map.call(ctx, PROG_EXIT_SEND);
	}
	forget_send(id);
	return 0;
}

/* The registers with which the thread entered the kernel lie at the top of its kernel
 * stack: r10, r9, r8, ax, cx, dx, si, di, orig_ax. */
struct entry_regs {
	u64 r10, r9, r8, ax, cx, dx, si, di, orig_ax;
};

INLINE bool read_entry_regs(struct member_fields_offset *o, long nr, struct entry_regs *regs)
{
	u64 stack = kernel_stack(o);

	if (!stack)
		return false;
	stack += KERNEL_STACK - PT_REGS + PT_R10;
	READ_KERNEL(*regs, stack, 0);
	if (regs->orig_ax == (u32)nr) /* the upper half of nr is not set */
		return true;
	READ_KERNEL(*regs, stack, -16); /* kernels with FRED leave two words above */
	return regs->orig_ax == (u32)nr;
}

/* The same for a send of one buffer: the registers still hold its arguments. */
INLINE int exit_plain_send(struct sys_exit_args *c, u8 call)
{
	struct member_fields_offset *o = offsets();
	struct trace_conf_t *conf = config();
	struct entry_regs regs = {};
	int zero = 0;

	if (!conf || !o)
		return 0;
	if (!conf->registers)
		return exit_send(c, c->ret, call);
	u64 *sends = deferred_sends.lookup(&zero);
	if (sends && *sends)
		exit_send(c, c->ret, call);
	if (c->ret >= 0 && (!read_entry_regs(o, c->nr, &regs) || c->ret == (long)regs.dx))
		return 0;
	if (tracing(bpf_get_current_pid_tgid() >> 32))
		__progs_jmp_tp_map.call(c, PROG_EXIT_SEND);
	return 0;
}

/* The rarer ways out: not all was taken, or how much there was is known only now. */
INLINE int run_exit_send(struct sys_exit_args *ctx, long ret)
{
	u64 id = bpf_get_current_pid_tgid();
	struct data_args_t *known = __active_write_args_map.lookup(&id);
	struct member_fields_offset *o = offsets();
	struct data_args_t args = {};

	if (!o || !o->ready)
		return 0;
	if (known) {
		args = *known;
		forget_send(id);
	} else {
		struct entry_regs regs = {};
		if (!read_entry_regs(o, ctx->nr, &regs))
			return 0;
		args.fd = regs.di;
		args.count = regs.dx;
	}
	u8 call = args.call;
	if (!args.deferred) {
		correct_send(ctx, id, args.fd, args.count, ret);
		return 0;
	}
	u64 datagram = 0;
	u64 sk = sock_of_any(o, args.fd, &datagram);
	if (datagram) {
		datagram_sent(ctx, id, &args, datagram, ret);
		return 0;
	}
	if (ret <= 0) {
		struct socket_state_t *st = socket_state_map.lookup(&sk);
		if (st && !st->ignore && fatal(ret))
			tell(ctx, RECORD_ERROR, id, st, EGRESS, -ret, 0);
		return 0;
	}
	struct op_t *op = op_start(id, EGRESS, args.fd, call, args.ts);
	if (!sk || !op)
		return 0;
	op->rec.flags = FLAG_DEFERRED;
	op->seq = args.seq;
	op->rec.end_ts = bpf_ktime_get_ns();
	op->sk = sk;
	op->buf = args.buf;
	op->iovcnt = args.iovcnt;
	op->count = ret;
	if (call == CALL_SENDMMSG)
		read_mmsg(op, args.buf, ret);
	op->rec.length = op->count;
	__progs_jmp_tp_map.call(ctx, PROG_DATA);
	return 0;
}

INLINE int enter_receive(s32 fd, u64 buf, u64 count_, u64 iovcnt, u8 call, u64 flags, u64 name)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 tgid = id >> 32;
	struct data_args_t args = {};

	if (!tracing(tgid))
		return 0;
	args.buf = buf;
	args.count = count_;
	args.iovcnt = iovcnt;
	args.fd = fd;
	args.call = call;
	args.name = name;
	args.peek = (flags & BESIDE_STREAM) != 0;
	args.discard = (flags & MSG_TRUNC) != 0;
	if (__active_read_args_map.update(&id, &args))
		count(STAT_ARGS_MAP_FULL);
	return 0;
}

INLINE int exit_receive(void *ctx, long ret, u8 call)
{
	u64 id = bpf_get_current_pid_tgid();
	struct data_args_t *known;
	struct trace_conf_t *conf = config();
	u32 tgid = id >> 32;

	if (!conf)
		return 0;
	known = conf->registers ? 0 : __active_read_args_map.lookup(&id);
	if (!known) {
		/* Arguments are read from the registers; or it slept in this call since
		 * before the agent came; or it is not to be traced. */
		if ((ret >= 0 || fatal(ret)) && tracing(tgid))
			__progs_jmp_tp_map.call(ctx, PROG_EXIT_RECEIVE);
		return 0;
	}
	/* EAGAIN is the most frequent answer there is. */
	if (known->call == call && !known->peek && ret != -EAGAIN)
		__progs_jmp_tp_map.call(ctx, PROG_EXIT_RECEIVE);
	__active_read_args_map.delete(&id);
	return 0;
}

/* A receive's arguments at its exit: one probe instead of two, and no map. */
INLINE bool recover_receive(struct member_fields_offset *o, struct sys_exit_args *c,
			    struct data_args_t *args)
{
	struct entry_regs regs = {};
	u64 iov = 0, n = 0, flags = 0, nr = (u32)c->nr;

	if (!read_entry_regs(o, c->nr, &regs))
		return false;
	u64 di = regs.di, si = regs.si, dx = regs.dx, r10 = regs.r10;
	args->fd = di;
	args->buf = si;
	args->count = dx;
	if (nr == NR_READ) {
		args->call = CALL_READ;
	} else if (nr == NR_RECVFROM) {
		args->call = CALL_RECVFROM;
		flags = r10;
	} else if (nr == NR_READV) {
		args->call = CALL_READV;
		args->iovcnt = dx;
	} else if (nr == NR_RECVMSG) {
		args->call = CALL_RECVMSG;
		read_msghdr(si, &iov, &n);
		args->buf = iov;
		args->iovcnt = n;
		flags = dx;
	} else if (nr == NR_RECVMMSG) {
		args->call = CALL_RECVMMSG;
		flags = r10;
	} else {
		return false;
	}
	args->discard = (flags & MSG_TRUNC) != 0;
	return !(flags & BESIDE_STREAM);
}

/* One program for what every receive brought. */
INLINE int run_exit_receive(struct sys_exit_args *ctx, long ret)
{
	u64 id = bpf_get_current_pid_tgid();
	struct data_args_t *known = 0;
	struct data_args_t args = {};
	struct member_fields_offset *o = offsets();
	struct trace_conf_t *conf = config();

	if (!o || !o->ready || !conf)
		return 0;
	if (!conf->registers)
		known = __active_read_args_map.lookup(&id);
	if (known) {
		args = *known;
		__active_read_args_map.delete(&id);
	} else if (!recover_receive(o, ctx, &args)) {
		return 0;
	}
	u8 call = args.call;
	u64 datagram = 0;
	u64 sk = sock_of_any(o, args.fd, &datagram);
	struct op_t *op = op_start(id, INGRESS, args.fd, call, bpf_ktime_get_ns());
	if (!sk && ret > 0) {
		turn_does(0); /* a pipe, an eventfd: what follows has another cause */
		pool_signalled(ctx, id, args.fd, ret);
	}
	if (!sk || !op) {
		if (datagram && op)
			datagram_taken(ctx, op, &args, datagram, ret);
		return 0;
	}
	op->sk = sk;
	op->buf = args.buf;
	op->iovcnt = args.iovcnt;
	op->count = ret;
	if (call == CALL_RECVMMSG && ret > 0)
		read_mmsg(op, args.buf, ret);
	if (ret <= 0 || op->count == 0) {
		/* End of stream or failure: told for conversations that are followed. Who
		 * asks for nothing gets nothing, which is no end. */
		if (ret < 0 ? !fatal(ret)
			    : op->iovcnt ? iov_total(op, op->buf, op->iovcnt) == 0 : args.count == 0)
			return 0;
		struct socket_state_t *st = socket_state_map.lookup(&sk);
		if (st && !st->ignore) {
			turn_ends(sk, st);
			tell(ctx, ret < 0 ? RECORD_ERROR : RECORD_EOF, id, st, INGRESS,
			     ret < 0 ? -ret : 0, 0);
		}
		return 0;
	}
	if (args.discard && sock_family(o, sk) != FAMILY_UNIX)
		op->buf = 0;
	op->rec.length = op->count;
	__progs_jmp_tp_map.call(ctx, PROG_DATA);
	return 0;
}

int prog_enter_send(struct sys_enter_args *c)
{
	return run_enter_send(c);
}

int prog_exit_send(struct sys_exit_args *c)
{
	return run_exit_send(c, c->ret);
}

int prog_datagram_send(struct sys_enter_args *c)
{
	return run_datagram_send(c);
}

int prog_datagram_receive(struct sys_exit_args *c)
{
	struct trace_conf_t *conf = config();
	struct member_fields_offset *o = offsets();
	struct op_t *op = operation();
	struct entry_regs regs = {};
	u64 name = 0;

	if (!conf || !o || !op || datagrams_ignored(o, op->rec.tgid, op->rec.fd, op->sk))
		return 0;
	if (conf->registers && read_entry_regs(o, c->nr, &regs))
		name = (u32)c->nr == NR_RECVFROM ? regs.r8 : (u32)c->nr == NR_RECVMSG ? regs.si : 0;
	return run_datagram_receive(c, name);
}

int prog_exit_receive(struct sys_exit_args *c)
{
	return run_exit_receive(c, c->ret);
}

int enter_write(struct sys_enter_args *c)
{
	if (c->args[2] == POOL_SIGNAL)
		pool_signals(bpf_get_current_pid_tgid(), c->args[0]);
	return enter_send(c, c->args[0], c->args[1], c->args[2], 0, CALL_WRITE);
}

int exit_write(struct sys_exit_args *c)
{
	return exit_plain_send(c, CALL_WRITE);
}

int enter_sendto(struct sys_enter_args *c)
{
	return enter_send(c, c->args[0], c->args[1], c->args[2], 0, CALL_SENDTO);
}

int exit_sendto(struct sys_exit_args *c)
{
	return exit_plain_send(c, CALL_SENDTO);
}

int enter_writev(struct sys_enter_args *c)
{
	return enter_send(c, c->args[0], c->args[1], 0, c->args[2], CALL_WRITEV);
}

int exit_writev(struct sys_exit_args *c)
{
	return exit_send(c, c->ret, CALL_WRITEV);
}

int enter_sendmsg(struct sys_enter_args *c)
{
	u64 iov = 0, n = 0;

	read_msghdr(c->args[1], &iov, &n);
	return enter_send(c, c->args[0], iov, 0, n, CALL_SENDMSG);
}

int exit_sendmsg(struct sys_exit_args *c)
{
	return exit_send(c, c->ret, CALL_SENDMSG);
}

int enter_sendmmsg(struct sys_enter_args *c)
{
	return enter_send(c, c->args[0], c->args[1], 0, 0, CALL_SENDMMSG);
}

int exit_sendmmsg(struct sys_exit_args *c)
{
	return exit_send(c, c->ret, CALL_SENDMMSG);
}

/* Tells user space, which calls it from a thread of its own, whether registers can be
 * read here. */
int exit_getppid(struct sys_exit_args *c)
{
	struct trace_conf_t *conf = config();
	struct member_fields_offset *o = offsets();
	struct entry_regs regs = {};
	int zero = 0;
	struct trace_stats *stats = __trace_stats_map.lookup(&zero);

	if (!conf || !o || !stats || bpf_get_current_pid_tgid() >> 32 != conf->self_tgid)
		return 0;
	if (read_entry_regs(o, c->nr, &regs) && regs.ax == c->ret)
		stats->counts[STAT_REGISTERS] = 1;
	return 0;
}

int enter_read(struct sys_enter_args *c)
{
	return enter_receive(c->args[0], c->args[1], c->args[2], 0, CALL_READ, 0, 0);
}

int exit_read(struct sys_exit_args *c)
{
	return exit_receive(c, c->ret, CALL_READ);
}

int enter_recvfrom(struct sys_enter_args *c)
{
	return enter_receive(c->args[0], c->args[1], c->args[2], 0, CALL_RECVFROM, c->args[3],
			     c->args[4]);
}

int exit_recvfrom(struct sys_exit_args *c)
{
	return exit_receive(c, c->ret, CALL_RECVFROM);
}

int enter_readv(struct sys_enter_args *c)
{
	return enter_receive(c->args[0], c->args[1], 1, c->args[2], CALL_READV, 0, 0);
}

int exit_readv(struct sys_exit_args *c)
{
	return exit_receive(c, c->ret, CALL_READV);
}

int enter_recvmsg(struct sys_enter_args *c)
{
	u64 iov = 0, n = 0;

	read_msghdr(c->args[1], &iov, &n);
	return enter_receive(c->args[0], iov, n, n, CALL_RECVMSG, c->args[2],
			     c->args[1]);
}

int exit_recvmsg(struct sys_exit_args *c)
{
	return exit_receive(c, c->ret, CALL_RECVMSG);
}

int enter_recvmmsg(struct sys_enter_args *c)
{
	return enter_receive(c->args[0], c->args[1], c->args[2], 0, CALL_RECVMMSG, c->args[3], 0);
}

int exit_recvmmsg(struct sys_exit_args *c)
{
	return exit_receive(c, c->ret, CALL_RECVMMSG);
}
