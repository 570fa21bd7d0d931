/* Records of HTTP/2.
 *
 * A record of this kind has begins = BEGINS_FRAMES and, one after another, for each frame
 * that is kept: where it begins in the stream (as tcp_seq, big-endian), its 9-byte header and
 * what the segment holds of its payload; DATA that ends a stream is there without payload.
 * Payload of a frame that began in an earlier record comes first. ref_ts tells how many
 * bytes that is, which record of its direction this is, and what is wrong with it. */
#ifndef OTEL_EBPF_HTTP2_RECORD_H
#define OTEL_EBPF_HTTP2_RECORD_H

#include "infer.h"
#include "maps.h"

#define HTTP2_ENTRY (4 + HTTP2_HEADER)
#define HTTP2_ROOM (CAPTURE_MAX - 64) /* payload of one record */

/* In the third 16 bits of ref_ts. */
#define HTTP2_LOST 1   /* frames may have passed before this record that were not seen */
#define HTTP2_BEGINS 2 /* the client's preface is in it, or in a segment before it */
#define HTTP2_TOLD 4   /* header blocks that end in it are told by the program itself, too */
#define HTTP2_TOLD_LACKING (HTTP2_TOLD | 8) /* because they could not all be decoded */

/* The segment has been gone through, or as much of it as one record takes. Whether there is a
 * record. */
INLINE bool http2_record(struct op_t *op, struct http2_walk_t *w, struct socket_state_t *st,
			 struct http2_half_t *half, char *to)
{
	struct __socket_data *r = &op->rec;
	u32 out = w->out & 0x1fff;

	if (!out && !w->tell) {
		half->untold |= w->lost;
		w->lost = 0;
		return false;
	}
	r->role = st->role;
	r->data_len = out;
	r->segments = 1;
	r->ref_ts = (u64)half->serial << 32 | (u64)(half->untold | w->told) << 16 | w->mid;
	r->size = (sizeof(*r) + out + 7) & ~7;
	*(struct __socket_data *)to = *r; /* by words, unlike bytes' memcpy */
	half->serial += 1;
	half->untold = w->lost; /* behind these frames */
	w->lost = 0;
	w->out = 0;
	w->mid = 0;
	w->tell = 0;
	w->inside = half->left != 0;
	return true;
}

#endif
