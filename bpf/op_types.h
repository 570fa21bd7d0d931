/* One operation on its way through the programs. */
#ifndef OTEL_EBPF_OP_TYPES_H
#define OTEL_EBPF_OP_TYPES_H

#include "go_unit_types.h"

/* One operation on its way through the programs of __progs_jmp_tp_map. */
struct op_t {
	struct __socket_data rec;
	u64 sk;
	u64 buf;
	u64 count;
	u64 unit;
	u64 g; /* address of the running goroutine */
	u64 parent_goid;
	u64 at; /* place in the burst */
	u64 tail; /* last bytes so far */
	u64 iovs;  /* of slices: where the segment's buffers are listed, or 0 */
	u64 place; /* and how much of the segment the records so far have told of */
	u64 room;  /* and how much more may be captured */
	u64 total; /* bytes of the run so far, while its protocol is not known */
	u64 left; /* of a loop over the segment's buffers: what is still to be done */
	u32 done; /* and what is done */
	u32 iovcnt;
	u32 iovn;
	u32 mmsg;  /* messages that one call moved */
	u32 limit; /* payload bytes that follow each other; 0: all */
	u32 capture; /* payload bytes to take */
	u32 seq;     /* tcp_seq of a send */
	u8 at_entry; /* a send on its way in: its exit will confirm it */
	u8 go;
	u8 copied; /* the payload is in the burst already */
	u8 state;  /* of the TCP connection */
	u8 births; /* who is born during this request is of interest */
	u8 go_looked; /* the goroutine's stack was searched */
	u8 streams; /* the connection's streams have been looked at */
	u8 looked;  /* a server's streams have been, for this response */
	u8 again;   /* they are, from the first one on */
	u8 rounds;  /* programs spent on a table of streams */
	u8 server_rounds;
	u8 jumps; /* programs spent on streams */
	u8 hit;   /* the stream looked for is there */
	u8 plain; /* bytes as the program means them, not TLS's */
	u8 works; /* databases are called with contexts */
	u8 python; /* its context is of interest */
	u8 turns;  /* its loop's turn is */
	u8 pools;  /* who woke its thread is */
	u8 slices; /* records that are still to be made of the segment (slices.h, datagrams.h) */
	u8 secret; /* bytes of it that may be taken at most, for a password follows; 0: all */
	u32 most;  /* and of a message's run otherwise */
	u8 after;  /* streams are looked at behind the frames, with as many programs as these leave */
	u8 job_looked; /* it is known whether the thread is at a job of a pool */
	u8 kept;       /* its bytes are in the kernel's memory: ssl_kept_t */
	u8 seen;       /* bytes of its head that are there, while its protocol is looked for */
	u8 judged;     /* what one protocol's function says of them: enum begins */
	u8 after_pad[3];
	u64 job_task; /* asyncio's task that waits for that */
	u64 job_context;
	struct go_kin_t kin;
	u8 head[48]; /* first bytes of the run, zeros behind them; not cleared with the rest */
};

#define OP_CLEARED __builtin_offsetof(struct op_t, head)

/* A call that moved datagrams, beside op_t (datagrams.h). */
struct datagram_t {
	u64 name;     /* the peer's address, in the program's memory; 0: the connected peer */
	u64 messages; /* next of an array of mmsghdr, 0: there is no array */
	u64 room;     /* bytes of a plain buffer */
	u32 left;     /* datagrams to go through */
	u32 rounds;   /* and those that were */
	u32 failed;   /* errno of a send */
	u32 pad;
};

/* A query that waits for its answer. */
struct dns_query_t {
	u64 socket_id;
	u64 peer[2];
	u16 port;
	u16 id;
	u8 direction;
	u8 pad[3];
};

#endif
