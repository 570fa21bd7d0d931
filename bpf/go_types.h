/* Where Go's HTTP/2 and gRPC keep what tells who asked, and how their memory is gone through. */
#ifndef OTEL_EBPF_GO_TYPES_H
#define OTEL_EBPF_GO_TYPES_H

#include "records.h"

enum go_conn_kind {
	GO_CONN_SERVER = 1, /* net/http, HTTP/1 */
	GO_CONN_CLIENT = 2,
	GO_CONN_H2_SERVER = 3, /* net/http's own HTTP/2 */
	GO_CONN_H2_CLIENT = 4,
	GO_CONN_X_SERVER = 5, /* golang.org/x/net/http2 */
	GO_CONN_X_CLIENT = 6,
	GO_CONN_GRPC_SERVER = 7,
	GO_CONN_GRPC_CLIENT = 8
};

/* Offsets in one of the homes of Go's HTTP/2. -1: not there, and the side is off. */
struct go_h2_t {
	s32 base_ctx;   /* serverConn */
	s32 streams;    /* map[uint32]*stream */
	s32 stream_id;  /* stream */
	s32 stream_ctx;
	s32 stream_conn;
	s32 stream_state;
	s32 cc_streams; /* ClientConn: map[uint32]*clientStream */
	s32 cc_next;    /* u32: the next stream's number */
	s32 cs_id;      /* clientStream */
	s32 cs_ctx;
	s32 cs_waits;   /* channel on which the caller waits; -1: not known */
	s32 rw_state;   /* responseWriter.rws */
	s32 rws_stream; /* responseWriterState.stream */
	s32 cs_req;     /* clientStream of before 2021: its request, and cs_ctx is in that; else -1 */
};

/* Offsets in google.golang.org/grpc/internal/transport. Where ServerStream and
 * ClientStream hold a *Stream, ss_base and cs_base tell where; -1: it is in them. */
struct go_grpc_t {
	s32 streams; /* http2Server: map[uint32]*ServerStream */
	s32 ss_conn; /* interface; its data word is the http2Server */
	s32 ss_id;
	s32 ss_base;
	s32 cc_streams; /* http2Client */
	s32 cc_next;
	s32 cs_id;
	s32 cs_ctx;
	s32 cs_base;
	s32 cs_conn; /* ClientStream: its http2Client */
	u64 stream_type; /* of *ServerStream, once it is proved; see go_context_ends.h */
};

/* The code of a loop that reads a connection of many streams, and where its receiver has the
 * connection: an interface. end 0: not known. */
struct go_loop_t {
	u64 start;
	u64 end;
	s32 conn;
	u32 pad;
};

#define GO_LOOPS 8 /* by their connections' kind, of which the lowest three bits tell */

/* Which header blocks a program is to tell: those of connections of which some were not seen, or
 * all of them. */
enum headers_on { HEADERS_OFF = 0, HEADERS_LACKING = 1, HEADERS_ALL = 2 };

/* Where Go's HTTP/2 keeps its connections, for go_headers.h. -1: not known. Of two: net/http's
 * own, golang.org/x/net's. */
struct go_headers_t {
	u64 tcp_type; /* addresses of types: *net.TCPConn, *net.UnixConn, *tls.Conn */
	u64 unix_type;
	u64 tls_type;
	s32 sc_conn[2]; /* serverConn */
	s32 cc_conn[2]; /* ClientConn */
	s32 grpc_server_conn;
	s32 grpc_client_conn;
	s32 loopy_framer; /* loopyWriter */
	s32 framer_writer;
	s32 writer_conn; /* bufWriter */
	u8 on;           /* enum headers_on */
	u8 told;         /* blocks that are read: bits by role */
	u8 grpc_context; /* http2Server.operateHeaders is given a context */
	u8 pad;
};

struct go_key {
	u64 goid;
	u64 tgid;
};

/* What a goroutine serves. */
struct go_handler_t {
	u64 uid;
	u64 again; /* it has served another request before */
};

/* The context that a goroutine has called a database with; see go_handlers.c. `depth`: how far
 * below the end of its stack the call was made, which tells calls within calls apart. */
struct go_work_t {
	u64 itab;
	u64 context;
	u64 depth;
};

/* Who has asked for a stream of a gRPC client. */
struct go_asked_t {
	u64 conn;
	u64 goid;
	u64 parent_goid;
	u64 site;
	u32 id;
	u32 pad;
};

struct go_conn_t {
	u64 receiver;
	u32 kind;  /* enum go_conn_kind */
	u32 bound; /* its socket is known */
};

struct go_context_key {
	u64 context;
	u64 tgid;
};

/* What a chain of contexts may end at: an HTTP/1 connection's context, an HTTP/2
 * connection's, or the transport of a gRPC stream. */
struct go_context_t {
	u64 sk;
	u64 socket_id;
	u64 conn;
	u32 kind; /* enum go_conn_kind */
	u32 last; /* largest number of the streams that go_stream_map was told of */
};

#define GO_SLOTS 8
#define GO_GROUP_ROOM 32 /* words; 17 are used, and an index is cut to 5 bits */

/* A walk over a Go map with u32 keys and pointers for values. */
struct go_map_t {
	u64 groups; /* next group of eight slots */
	u64 left;   /* groups left there */
	u64 next;   /* overflow bucket that comes first; before Go 1.24 */
	u64 dir;    /* next table; before Go 1.24: the buckets that are being emptied */
	u64 dir_left;
	u64 table; /* last table taken */
	u64 size;  /* bytes of a group */
	u64 old;   /* all bits set: a map of before Go 1.24 */
	u64 words[GO_GROUP_ROOM];
};

#define GO_WINDOW 256 /* streams of a client that are looked at at once; a power of two */
#define GO_SEEN (GO_WINDOW / 64)

/* One of them. Its place among them follows from its number. */
struct go_found_t {
	u64 stream;
	u64 tag; /* number of the look that found it, and the stream's */
};

/* And who asked for it. */
struct go_asker_t {
	u64 uid;     /* whose context it has */
	u64 context; /* where the walk from its context begins, then where it has ended, */
	u64 before;  /* and the context above that */
	u64 type;    /* of the first interface, then of a value at the end, */
	u64 value;   /* and that: a stream of gRPC */
	u32 end;     /* enum go_end */
	u32 pad;
};

enum go_end {
	GO_WALKS = 0,        /* it goes on */
	GO_ENDS_ABSENT = 1,  /* nothing is known of the stream */
	GO_ENDS_NOWHERE = 2, /* a context of nobody */
	GO_ENDS_CONTEXT = 3, /* one that a server's connection made */
	GO_ENDS_GRPC = 4     /* one that has a stream of gRPC for a value */
};

/* A walk along a chain of contexts. */
struct go_walk_t {
	u64 itab; /* of the context at hand, and its data word */
	u64 context;
	u64 before; /* the context above it */
	u64 inter;  /* type of context.Context */
	u64 words[6]; /* of the context at hand, if it is a valueCtx */
	u64 conn;     /* whose streams must be looked through: */
	u64 want;     /* for this context, or this stream of gRPC */
	u64 type;     /* its type, to be proved */
	u32 kind;
	u32 depth;
};

/* An itab that was looked at, and the interface that it is of. */
struct go_itab_t {
	u64 itab;
	u64 inter;
	u64 tgid;
};

#define GO_ITABS 16 /* a power of two */
#define GO_FRESH 128 /* a power of two */

/* Scratch of the programs that look at streams. Tracepoint programs only. */
struct go_scan_t {
	struct go_map_t client;
	struct go_map_t server;
	struct go_walk_t walk;
	u32 found;
	u32 look;    /* number of this look at streams; others' findings are nothing to it */
	u32 expected;
	u32 last;    /* streams up to this one are known */
	u32 top;     /* and those above this one come next time */
	u32 places;  /* on the list */
	u32 chunk;   /* places up to this one are taken through all programs first */
	u32 begun;   /* places whose walk may begin, */
	u32 walked;  /* or has ended, */
	u32 ended;   /* of which it is known whose request that was, */
	u32 told;    /* and which user space has been told of */
	u32 run;     /* places at the list's beginning of which nothing is left to be told */
	u32 lacking; /* streams up to this one are given up if they are not there */
	u32 joined;  /* for they began before the connection was known */
	u32 walking; /* s->walk is on its way for list[walked] */
	u32 left;    /* more are new than there are places */
	u32 blind;   /* the table was not looked through to its end */
	s32 stream_base; /* of the client's streams: go_grpc_t's cs_base, or -1, */
	s32 stream_id;   /* and where they have their numbers */
	s32 stream_ctx;  /* and contexts, */
	s32 stream_req;  /* if not in these: go_h2_t's cs_req, or -1, */
	s32 stream_waits; /* and what their callers wait on, or -1 */
	u32 stream_asked; /* go_asked_map may tell of their callers */
	u32 resume;  /* program to go on with after a server's streams */
	u32 fresh_found;
	u32 fresh_done;
	u32 server_last; /* streams up to this one are in go_stream_map */
	u32 server_top;
	u32 more;
	struct go_itab_t itabs[GO_ITABS];
	u64 seen[GO_SEEN];  /* a bit for each of the next ones that is known */
	u64 after[GO_SEEN]; /* and of which nothing is left to be told, behind `run` */
	u64 block[32]; /* what one read brought of an object */
	struct go_found_t list[2 * GO_WINDOW]; /* and room for what is no new stream */
	struct go_asker_t askers[GO_WINDOW];
	u64 fresh[2 * GO_FRESH]; /* new streams of a server, and room for a group */
};

#endif
