/* Many short connections, then many short processes: churn CONNECTIONS PROCESSES. Waits for a
 * line before it begins, prints how many exchanges were whole, waits for another to end. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static const char request[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
static const char response[] = "HTTP/1.1 204 No Content\r\n\r\n";
static struct sockaddr_in address = {.sin_family = AF_INET};
static int listener;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* One connection with one exchange. The ends are left open where `leave` says so. */
static void once(long number, int leave)
{
	char room[256];
	int client = socket(AF_INET, SOCK_STREAM, 0), server;

	/* Several addresses: the ports of one are used up by what was closed just now. */
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + number % 16);
	if (client < 0 || connect(client, (void *)&address, sizeof(address)))
		die("connect");
	server = accept(listener, 0, 0);
	if (server < 0)
		die("accept");
	if (write(client, request, sizeof(request) - 1) < 0 ||
	    read(server, room, sizeof(room)) != sizeof(request) - 1 ||
	    write(server, response, sizeof(response) - 1) < 0 ||
	    read(client, room, sizeof(room)) != sizeof(response) - 1)
		die("exchange");
	if (leave)
		return;
	close(number & 1 ? client : server);
	close(number & 1 ? server : client);
}

int main(int argc, char **argv)
{
	long connections = argc > 1 ? atol(argv[1]) : 0, processes = argc > 2 ? atol(argv[2]) : 0;
	socklen_t size = sizeof(address);
	char line[16];

	listener = socket(AF_INET, SOCK_STREAM, 0);
	if (listener < 0 || bind(listener, (void *)&address, sizeof(address)) ||
	    listen(listener, 64) || getsockname(listener, (void *)&address, &size))
		die("listener");
	printf("%d\n", getpid());
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		return 1;
	for (long i = 0; i < connections; i++)
		once(i, 0);
	for (long i = 0; i < processes; i++) {
		pid_t child = fork();
		int status;

		if (child == 0) {
			once(i, 1);
			_exit(0);
		}
		if (child < 0 || waitpid(child, &status, 0) != child || status)
			die("child");
	}
	printf("%ld\n", connections + processes);
	fflush(stdout);
	return fgets(line, sizeof(line), stdin) ? 0 : 1;
}
