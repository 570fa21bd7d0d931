/* Uprobes on the functions that have read a header block: of net/http's own HTTP/2 and of
 * golang.org/x/net's, which are alike, and of grpc-go. Attached on request, for they fire once or
 * more for each request. */
#include "go_headers.h"

/* A *MetaHeadersFrame that was read. */
INLINE int header_frame(struct pt_regs *regs, struct proc_info_t *pi, u64 id, u64 conn, u64 frame)
{
	u64 words[3] = {}; /* *HeadersFrame, Fields' place and length */
	u8 head[16] = {};
	u32 stream;

	if (READ_USER(words, frame, 0) || READ_USER(head, words[0], 0) ||
	    head[FRAME_TYPE] != HTTP2_HEADERS)
		return 0;
	__builtin_memcpy(&stream, head + FRAME_STREAM, 4);
	return header_fields(regs, pi, id, conn, INGRESS, stream, words[1], words[2]);
}

/* func (sc *serverConn) processHeaders(f *MetaHeadersFrame) */
INLINE int process_headers(struct pt_regs *regs, int home)
{
	u64 id = bpf_get_current_pid_tgid();
	struct proc_info_t *pi = header_process(id);

	if (!pi || pi->headers.sc_conn[home] < 0)
		return 0;
	return header_frame(regs, pi, id, header_argument(regs, pi, 1) + pi->headers.sc_conn[home],
			    header_argument(regs, pi, 2));
}

int go_h2_process_headers(struct pt_regs *regs)
{
	return process_headers(regs, 0);
}

int go_x_process_headers(struct pt_regs *regs)
{
	return process_headers(regs, 1);
}

/* func (rl *clientConnReadLoop) handleResponse(cs *clientStream, f *MetaHeadersFrame), and
 * processTrailers. */
INLINE int handle_response(struct pt_regs *regs, int home)
{
	u64 id = bpf_get_current_pid_tgid(), cc = 0;
	struct proc_info_t *pi = header_process(id);

	if (!pi || pi->headers.cc_conn[home] < 0)
		return 0;
	READ_USER(cc, header_argument(regs, pi, 1), 0);
	return header_frame(regs, pi, id, cc + pi->headers.cc_conn[home],
			    header_argument(regs, pi, 3));
}

int go_h2_handle_response(struct pt_regs *regs)
{
	return handle_response(regs, 0);
}

int go_x_handle_response(struct pt_regs *regs)
{
	return handle_response(regs, 1);
}

/* func (t *http2Server) operateHeaders(ctx, frame *http2.MetaHeadersFrame, ...); before 1.60
 * without ctx, which is two words. */
int go_grpc_server_headers(struct pt_regs *regs)
{
	u64 id = bpf_get_current_pid_tgid();
	struct proc_info_t *pi = header_process(id);

	if (!pi || pi->headers.grpc_server_conn < 0)
		return 0;
	u64 frame = header_argument(regs, pi, 2);
	if (pi->headers.grpc_context)
		frame = header_argument(regs, pi, 4);
	return header_frame(regs, pi, id,
			    header_argument(regs, pi, 1) + pi->headers.grpc_server_conn, frame);
}

/* func (t *http2Client) operateHeaders(frame *http2.MetaHeadersFrame) */
int go_grpc_client_headers(struct pt_regs *regs)
{
	u64 id = bpf_get_current_pid_tgid();
	struct proc_info_t *pi = header_process(id);

	if (!pi || pi->headers.grpc_client_conn < 0)
		return 0;
	return header_frame(regs, pi, id,
			    header_argument(regs, pi, 1) + pi->headers.grpc_client_conn,
			    header_argument(regs, pi, 2));
}
