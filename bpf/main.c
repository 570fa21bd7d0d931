/* The whole kernel half; the loader flattens it into one text for BCC. */
#include "syscalls.c"
#include "sockets.c"
#include "process.c"
#include "turns.c"
#include "go.c"
#include "go_handlers.c"
#include "go_identity.c"
#include "tls.c"
