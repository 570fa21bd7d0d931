/* Header blocks of Go's HTTP/2 while uprobes go through them. */
#ifndef OTEL_EBPF_HEADER_TYPES_H
#define OTEL_EBPF_HEADER_TYPES_H

#include "go_types.h"

/* Of a header block's record: bytes of payload so far. */
struct header_out_t {
	u32 out;
	u32 cut; /* there was more */
};

#define HEADER_WORDS 64 /* a power of two, with room for a group of a map[string][]string */

/* A header block while it is gone through. */
struct header_walk_t {
	struct header_out_t to;
	u64 at; /* of the next hpack.HeaderField */
	u64 left;
	u64 keys; /* a string for each name that is meant, the others are left out */
	u64 keys_left;
	u64 name; /* of a map's field, whose values come next */
	u64 name_len;
	u64 values;
	u64 values_left;
	u64 slots; /* left of the group in `words` */
	u64 status;
	u64 extra[6]; /* date, content-type, content-length: places and lengths */
	u64 rounds;
	struct go_map_t map;
	u64 words[HEADER_WORDS];
};

/* The block that a client's goroutine is putting together, field by field. */
struct header_block_t {
	struct header_out_t to;
	u64 name; /* of the last field, by which one that is told twice is known */
	u64 value;
	u64 value_len;
	char data[2 * CAPTURE_MAX];
};

#endif
