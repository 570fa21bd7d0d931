/* The programs that others go on with, by __progs_jmp_tp_map. */
#include "datagrams.h"
#include "go_asked.h"
#include "go_older.h"
#include "go_tell.h"

int prog_data(void *ctx)
{
	return run_data(ctx);
}

int prog_tail(void *ctx)
{
	return run_tail(ctx);
}

int prog_go_stack(void *ctx)
{
	return run_go_stack(ctx);
}

int prog_go_lineage(void *ctx)
{
	return run_go_lineage(ctx);
}

int prog_go(void *ctx)
{
	return run_go(ctx);
}

int prog_go_streams(void *ctx)
{
	return run_go_streams(ctx);
}

int prog_go_asked(void *ctx)
{
	return run_go_asked(ctx);
}

int prog_go_ends(void *ctx)
{
	return run_go_ends(ctx);
}

int prog_go_server(void *ctx)
{
	return run_go_server(ctx);
}

int prog_go_tell(void *ctx)
{
	return run_go_tell(ctx);
}

int prog_go_proof(void *ctx)
{
	return run_go_proof(ctx);
}

int prog_go_older(void *ctx)
{
	return run_go_older(ctx);
}

int prog_python(void *ctx)
{
	return run_python(ctx);
}

int prog_turn(void *ctx)
{
	return run_turn(ctx);
}

int prog_pool(void *ctx)
{
	return run_pool(ctx);
}

int prog_py_work(void *ctx)
{
	return run_py_work(ctx);
}

int prog_py_wait(void *ctx)
{
	return run_py_wait(ctx);
}

int prog_messages(void *ctx)
{
	return run_messages(ctx);
}

int prog_message_first(void *ctx)
{
	return run_message_first(ctx);
}

int prog_message(void *ctx)
{
	return run_message(ctx);
}

int prog_slice(void *ctx)
{
	return run_slice(ctx);
}

int prog_datagram(void *ctx)
{
	return run_datagram(ctx);
}

int prog_datagram_who(void *ctx)
{
	return run_datagram_who(ctx);
}

int prog_output(void *ctx)
{
	return run_output(ctx);
}

int prog_tls(void *ctx)
{
	return run_tls(ctx);
}

int prog_http2(void *ctx)
{
	return run_http2(ctx);
}
