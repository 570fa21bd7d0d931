/* Where HTTP/1 ends: the answer 101. What follows is told of as WebSocket's; user space, which
 * has read the head, knows whether it is. */
#ifndef OTEL_EBPF_INFER_WEBSOCKET_H
#define OTEL_EBPF_INFER_WEBSOCKET_H

#define PROTOCOL_WEBSOCKET 22 /* none of DeepFlow's */

/* p: the first bytes of an interim answer: "HTTP/1.1 1xx". */
INLINE bool switches_protocols(const u8 *p)
{
	return p[10] == '0' && p[11] == '1';
}

#endif
