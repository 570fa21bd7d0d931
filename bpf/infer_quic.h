/* QUIC: who speaks it is told of, for nothing of it can be read. */
#ifndef OTEL_EBPF_INFER_QUIC_H
#define OTEL_EBPF_INFER_QUIC_H

#include "infer_message.h"

#define QUIC_1 1
#define QUIC_2 0x6b3343cf
#define QUIC_ID_MOST 20

/* A datagram whose first n bytes are at p begins with a packet of a handshake (RFC 9000, 17.2):
 * each side of a connection begins with some. 39 bits of them are fixed. */
INLINE bool infer_quic(const u8 *p, u32 n)
{
	u32 version = number_at(p + 1);

	return n > 6 && (p[0] & 0xc0) == 0xc0 && (version == QUIC_1 || version == QUIC_2) &&
	       p[5] <= QUIC_ID_MOST;
}

#endif
