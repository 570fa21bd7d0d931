/* The kernel half's order of inference for a connection of which nothing is known, compiled for
 * the host: bpf/infer.h and message_first of bpf/message_head.h, with every protocol on. */
#define OTEL_EBPF_HOST_COMPILE
#include "infer_message.h"
#undef OTEL_EBPF_HOST_COMPILE
#define OTEL_EBPF_MAPS_H
#include <string.h>

struct proto_infer_cache_t {
	u32 tgid;
	u8 protocol;
};
static u32 *on(int *key)
{
	static u32 one = 1;
	(void)key;
	return &one;
}
static struct proto_infer_cache_t *nothing(int *key)
{
	(void)key;
	return 0;
}
static struct {
	u32 *(*lookup)(int *);
} __protocol_filter = {on};
static struct {
	struct proto_infer_cache_t *(*lookup)(int *);
} __proto_infer_cache_map = {nothing};
struct op_t {
	u8 head[32];
	u64 buf, count, total, tail;
	u32 iovcnt;
	u8 seen, judged;
	struct {
		u8 direction;
	} rec;
};
struct socket_state_t {
	u16 local_port, peer_port, mqtt_id;
	u8 mqtt_asked, mqtt_direction;
};
#define OTEL_EBPF_TASK_H
static long read_user(void *to, u32 size, u64 from)
{
	memcpy(to, (const void *)from, size);
	return 0;
}

#include "infer.h"
#include "infer_protocols.h"
#include "infer_midway.h"

/* What follows is the conversation of one old connection: each segment answers the one before. On
 * MQTT's port it needs the fewest words to be taken for that. */
static struct socket_state_t old = {.peer_port = MQTT_PORT};
static u8 direction;

static u32 midway(struct op_t *op, const u8 *data, u32 size, u32 n, u64 tail)
{
	u8 protocol = 0, towards = TOWARDS_UNKNOWN, begins;

	op->buf = (u64)data;
	op->count = op->total = size;
	op->rec.direction = direction = !direction;
	begins = infer_midway(op, &old, n, tail, &protocol, &towards);
	return begins == BEGINS_REQUEST || begins == BEGINS_RESPONSE ? protocol : 0;
}

/* The protocol of a segment of a connection of which nothing is known, 0: none. HTTP/2 only by its preface: what may be its frames
 * is told apart by a walk over them. */
u32 taken_for(const u8 *data, u32 size)
{
	struct op_t op = {};
	u32 n = size < INFER_BYTES ? size : INFER_BYTES;
	u8 protocol = 0, begins;

	memcpy(op.head, data, n);
	op.seen = n;
	op.total = size;
	if (size >= 8)
		memcpy(&op.tail, data + size - 8, 8);
	begins = infer(1, op.head, n, 0, size, 0, &protocol);
	if (begins == BEGINS_REQUEST || begins == BEGINS_RESPONSE || begins == BEGINS_INTERIM)
		return protocol;
	if (begins == BEGINS_MAYBE || begins == BEGINS_FRAMES)
		return 0;
	begins = infer_by_words(&op, &protocol);
	if (begins == BEGINS_NOTHING)
		begins = infer_new(&op, &protocol);
	if (begins == BEGINS_NOTHING)
		return midway(&op, data, size, n, op.tail);
	return begins == BEGINS_REQUEST || begins == BEGINS_RESPONSE ? protocol : 0;
}
