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
};

#include "infer.h"
#include "infer_protocols.h"

/* The protocol of a first segment, 0: none. HTTP/2 only by its preface: what may be its frames
 * is told apart by a walk over them. */
u32 taken_for(const u8 *data, u32 size)
{
	struct op_t op = {};
	u32 n = size < INFER_BYTES ? size : INFER_BYTES;
	u64 tail = 0;
	u8 protocol = 0, begins;

	memcpy(op.head, data, n);
	if (size >= 8)
		memcpy(&tail, data + size - 8, 8);
	begins = infer(1, op.head, n, 0, size, 0, &protocol);
	if (begins == BEGINS_REQUEST || begins == BEGINS_RESPONSE || begins == BEGINS_INTERIM)
		return protocol;
	if (begins == BEGINS_MAYBE || begins == BEGINS_FRAMES)
		return 0;
	begins = infer_by_words(&op, n, tail, &protocol);
	if (begins == BEGINS_NOTHING)
		begins = infer_new(&op, n, size, tail, &protocol);
	return begins == BEGINS_REQUEST || begins == BEGINS_RESPONSE ? protocol : 0;
}
