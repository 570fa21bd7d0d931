/* Thread pools, event loops, tasks: what is followed of them while they run. */
#ifndef OTEL_EBPF_RUNTIME_TYPES_H
#define OTEL_EBPF_RUNTIME_TYPES_H

#include "verifier.h"

/* A process whose threads are followed. Waits between these addresses say nothing: there is
 * a lock that all of its threads take in turns (CPython's). */
struct pool_info_t {
	u64 ignore_from;
	u64 ignore_to;
};

/* What a thread of such a process does; see pools.h. */
struct pool_thread_t {
	u64 segment; /* number of its work up to the next response that it writes */
	u64 in;      /* segment of the thread that has woken it, for its next request; 0: none */
	u64 token;   /* request whose response it has read last, or that has reached it */
	u64 read;    /* when that was read */
	u64 waits;   /* address that it waits on, 0: none */
	u64 since;   /* when it began to */
	u8 serves;   /* it has read a request or written a response: its segments mean one */
	u8 hops;     /* threads that the token has come through, 0: this one read the response */
	u8 loop;     /* it waits for many connections at once: its segments mean nothing */
	u8 pad[5];
	u64 told;    /* its latest request of which the job's owner was told */
};

/* A worker of a pool of CPython's: the frame in which it runs its jobs. */
struct py_worker_t {
	u64 frame; /* 0: none has been found */
	u64 tries; /* looks that found none */
};

/* Who waits and holds a future. */
struct py_owner_t {
	u64 id;      /* thread */
	u64 since;   /* of its wait */
	u64 segment; /* it serves; 0: it works for a future itself: */
	u64 future;
	u64 mixed;   /* another thread holds it too */
};

/* A look through the frames of a thread. */
struct py_walk_t {
	u64 frame;  /* to be looked at next */
	u64 slots;
	u64 items;
	u64 found;
	u64 future;
	u32 slots_left;
	u32 items_left;
	u32 stride;
	u32 frames_left;
	u32 cell; /* the item is what a variable that is shared holds */
	u32 round; /* programs that have been at it, while another is to follow */
	u64 job; /* in the frame at hand */
	struct py_owner_t owner;
};

struct pool_place_t {
	u64 address;
	u64 tgid;
};

/* The latest wake at an address. */
struct pool_wake_t {
	u64 in;
	u64 token;
	u64 read;
	u64 ts;
	u32 tid;   /* who woke */
	u8 taken;  /* somebody has been woken by it */
	u8 mixed;  /* another thread woke here before that, for something else */
	u8 hops;   /* as of pool_thread_t */
	u8 pad;
};

struct python_copy_key {
	u64 context;
	u64 tgid;
};

/* What a context was copied from, and when. */
struct python_copy_t {
	u64 of;
	u64 ts;
};

/* The number of a segment from a server of which several requests may wait, with the time at which it
 * was read: which of them were answered with it is known in user space, which has the protocol's
 * parser. */
#define TURN_SEGMENT (1ULL << 62)

/* Memory shows what runs on a thread. */
enum identities {
	IDENTITY_PYTHON = 1, /* a task's context */
	IDENTITY_JAVA = 2,   /* a virtual thread */
	IDENTITY_TOKIO = 3,  /* a task */
};

/* A frame of Node's AsyncLocalStorage, and its first word, by which it is known. */
struct node_frame_t {
	u64 address; /* with V8's tag, 0: there is no such frame any more */
	u64 shape;
};

#define NODE_FRAMES 1024
#define NODE_FRAME_NUMBER (1ULL << 62)

/* The frames that a thread of Node was seen in, followed wherever they are moved to. */
struct node_heap_t {
	u64 seen; /* how many; the latest NODE_FRAMES of them are kept */
	u64 at;   /* the next one to be followed */
	struct node_frame_t frames[NODE_FRAMES];
};

struct node_place_t {
	u64 address;
	u64 id; /* the thread, as bpf_get_current_pid_tgid() has it */
};

/* A thread's turn, see turns.h. */
struct turn_t {
	u64 since; /* when its last wait was over */
	u64 last;  /* what it did last in this turn: number of a message, 0: not known */
	u64 due;   /* when a timer will be due, 0: none */
	u64 outside; /* Node's async context where nothing runs */
	u64 first; /* the first of what it did, in a batched loop's turn */
	u64 slot;  /* address of the word that tells where libuv's loop is at, 0: not known */
	u64 polls; /* what is there while it calls back what is ready */
	u16 others; /* what it has read beside that; the cause is one of several then */
	u8 zero;   /* the last look was no wait */
	u8 batched;
	u8 proxy;
	u8 pad[3];
};

/* A connection that no request was written on yet. */
struct turn_opened_t {
	u64 socket_id;
	u64 last; /* as of turn_t, when the thread asked for the connection */
	u64 due;  /* a timer may have asked */
};

enum turns {
	TURNS_PROGRAM = 1,
	TURNS_PROXY = 2,   /* runs no code of its users' */
	TURNS_BATCHED = 3, /* reads all that is ready before it works on it (HAProxy) */
};

#endif
