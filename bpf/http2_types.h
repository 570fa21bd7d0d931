/* HTTP/2: what is kept of a connection, and of a segment while it is gone through. */
#ifndef OTEL_EBPF_HTTP2_TYPES_H
#define OTEL_EBPF_HTTP2_TYPES_H

#include "verifier.h"

/* The number of an HTTP/2 stream's request, among those of HTTP/1 requests (bit 63 clear):
 * 8 bits of the CPU that numbered the socket, 24 of its count, 31 of the stream. */
INLINE u64 stream_uid(u64 socket_id, u32 stream)
{
	return 1ULL << 63 | (socket_id >> 48 & 0xff) << 55 | (socket_id & 0xffffff) << 31 |
	       (stream & 0x7fffffff);
}

/* One direction of an HTTP/2 connection: where its frames are. */
struct http2_half_t {
	u32 left;    /* bytes of the current frame's payload that are still to come */
	u32 serial;  /* records made so far */
	u8 sync;     /* the next byte's place among the frames is known */
	u8 got;      /* bytes of the next frame's header, in `head` */
	u8 keep;     /* the current frame's payload goes into records */
	u8 ends;     /* the current frame is the last of its stream */
	u8 untold;   /* HTTP2_LOST, HTTP2_BEGINS: for the next record to tell */
	u8 strays;   /* segments without a frame */
	u8 steady;   /* segments, up to 255, that began where the one before had ended */
	u8 whole;    /* all of its header blocks so far have been recorded */
	u32 next;    /* where the next segment begins, as tcp_seq */
	u8 head[16];
};

/* What is kept of an HTTP/2 connection beside its socket_state_t. */
struct http2_conn_t {
	u64 socket_id;
	u64 refused; /* bursts that had been lost when it began */
	struct http2_half_t halves[2]; /* by direction */
};

/* A segment of HTTP/2 while it is gone through. */
struct http2_walk_t {
	u64 at;   /* where the next byte is */
	u64 room; /* bytes in its buffer from there on */
	u64 rest; /* bytes of the segment still to go through */
	u64 step; /* bytes of them that a step takes */
	u32 next; /* buffer after this one */
	u32 out;  /* payload bytes for the record */
	u16 mid;  /* of them, how many belong to a frame that an earlier record began */
	u16 frames;
	u16 round;
	u8 inside; /* of such a frame */
	u8 tell;   /* there is a record even without payload */
	u8 lost;
	u8 stop;
	u8 full;
	u8 trial; /* the protocol is a guess */
	u8 block; /* a header block comes next: 1, or 2 behind a priority */
	u8 preface; /* bytes of the client's preface still to pass */
	u8 opened; /* the preface was seen in this round */
	u8 told; /* HTTP2_TOLD, or 0 */
	u8 cut;    /* no program was left for the rest */
	u8 unread; /* what is lost could not be read */
	u8 pad[2];
	u8 head[32];
	struct http2_conn_t fresh;
};

/* Where a read ended: of a process, on a descriptor. */
struct http2_seq_key {
	u32 tgid;
	s32 fd;
	u32 end;
	u32 pad;
};

#endif
