/* Moves bytes exactly as its standard input says, one command a line, and answers each with
 * one line: what the kernel returned. The tests' known workload. See tests/kernel/traffic.py. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROOM (8 << 20)
#define PARTS 1024

static char *data, *room;
static struct iovec iov[PARTS];
static struct mmsghdr messages[PARTS];
static FILE *in, *out, *to_child, *from_child;
static pid_t child;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int digit(char c)
{
	return c <= '9' ? c - '0' : c - 'a' + 10;
}

/* "hex", or "@N" for N bytes of filler. */
static size_t parse(const char *text)
{
	size_t n = 0;

	if (text[0] == '@') {
		n = strtoul(text + 1, 0, 10);
		memset(data, 'x', n);
		return n;
	}
	for (; text[0] && text[1]; text += 2)
		data[n++] = digit(text[0]) << 4 | digit(text[1]);
	return n;
}

/* Cuts `at` into iovecs: "3,0,5" or "-" for one of `n` bytes. Returns how many. */
static int cut(const char *sizes, char *at, size_t n)
{
	int parts = 0;

	if (sizes[0] == '-') {
		iov[0] = (struct iovec){at, n};
		return 1;
	}
	while (*sizes && parts < PARTS) {
		char *end;
		size_t len = strtoul(sizes, &end, 10);
		iov[parts++] = (struct iovec){at, len};
		at += len;
		sizes = *end ? end + 1 : end;
	}
	return parts;
}

static void answer(long ret)
{
	fprintf(out, "%ld %d\n", ret, ret < 0 ? errno : 0);
}

static int memory_file(size_t n)
{
	int fd = memfd_create("data", 0);

	if (fd < 0 || write(fd, data, n) != (ssize_t)n || lseek(fd, 0, SEEK_SET))
		die("memfd");
	return fd;
}

static long do_send(const char *call, int fd, const char *text, const char *sizes)
{
	size_t n = parse(text);
	int parts = cut(sizes, data, n);
	struct msghdr message = {.msg_iov = iov, .msg_iovlen = parts};

	if (!strcmp(call, "write"))
		return write(fd, data, n);
	if (!strcmp(call, "send"))
		return send(fd, data, n, MSG_NOSIGNAL);
	if (!strcmp(call, "urgent"))
		return send(fd, data, n, MSG_NOSIGNAL | MSG_OOB);
	if (!strcmp(call, "sendto"))
		return sendto(fd, data, n, MSG_NOSIGNAL, 0, 0);
	if (!strcmp(call, "writev"))
		return writev(fd, iov, parts);
	if (!strcmp(call, "pwritev2")) /* which no probe watches */
		return pwritev2(fd, iov, parts, -1, 0);
	if (!strcmp(call, "sendmsg"))
		return sendmsg(fd, &message, MSG_NOSIGNAL);
	if (!strcmp(call, "sendmmsg")) {
		for (int i = 0; i < parts; i++)
			messages[i].msg_hdr = (struct msghdr){.msg_iov = &iov[i], .msg_iovlen = 1};
		return sendmmsg(fd, messages, parts, MSG_NOSIGNAL);
	}
	if (!strcmp(call, "sendfile") || !strcmp(call, "splice") || !strcmp(call, "unmapped")) {
		int file = memory_file(n);
		long ret;

		if (call[0] == 'u') { /* pages that no one has touched through this mapping */
			char *map = mmap(0, n, PROT_READ, MAP_SHARED, file, 0);
			ret = write(fd, map, n);
			munmap(map, n);
		} else if (!strcmp(call, "sendfile")) {
			ret = sendfile(fd, file, 0, n);
		} else {
			int pipes[2];
			if (pipe(pipes))
				die("pipe");
			ret = splice(file, 0, pipes[1], 0, n, 0);
			ret = splice(pipes[0], 0, fd, 0, ret, 0);
			close(pipes[0]);
			close(pipes[1]);
		}
		close(file);
		return ret;
	}
	die(call);
	return 0;
}

static long do_receive(const char *call, int fd, const char *sizes, int flags)
{
	int parts = cut(sizes, room, 0), pipes[2];
	struct msghdr message = {.msg_iov = iov, .msg_iovlen = parts};
	long ret;

	if (!strcmp(call, "read"))
		return read(fd, room, iov[0].iov_len);
	if (!strcmp(call, "recv"))
		return recv(fd, room, iov[0].iov_len, flags);
	if (!strcmp(call, "recvfrom"))
		return recvfrom(fd, room, iov[0].iov_len, flags, 0, 0);
	if (!strcmp(call, "readv"))
		return readv(fd, iov, parts);
	if (!strcmp(call, "recvmsg"))
		return recvmsg(fd, &message, flags);
	if (!strcmp(call, "recvmmsg")) {
		for (int i = 0; i < parts; i++)
			messages[i].msg_hdr = (struct msghdr){.msg_iov = &iov[i], .msg_iovlen = 1};
		return recvmmsg(fd, messages, parts, flags | MSG_WAITFORONE, 0);
	}
	if (!strcmp(call, "splice")) {
		if (pipe(pipes))
			die("pipe");
		ret = splice(fd, 0, pipes[1], 0, iov[0].iov_len, 0);
		if (ret > 0 && read(pipes[0], room, ret) != ret)
			die("read of the pipe");
		close(pipes[0]);
		close(pipes[1]);
		return ret;
	}
	die(call);
	return 0;
}

/* A connected pair; answers "client server client_port server_port listener". */
static void do_pair(const char *kind)
{
	struct sockaddr_storage a = {}, b = {};
	struct sockaddr_in *v4 = (void *)&a;
	struct sockaddr_in6 *v6 = (void *)&a;
	struct sockaddr_un *un = (void *)&a;
	socklen_t size = sizeof(*v4), other = sizeof(b);
	int listener, client, server, fds[2], one = 1;

	if (!strcmp(kind, "socketpair")) {
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds))
			die("socketpair");
		fprintf(out, "%d %d 0 0 -1\n", fds[0], fds[1]);
		return;
	}
	if (!strcmp(kind, "tcp4")) {
		v4->sin_family = AF_INET;
		v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	} else if (!strcmp(kind, "tcp6") || !strcmp(kind, "mapped")) {
		v6->sin6_family = AF_INET6;
		size = sizeof(*v6);
		if (kind[0] == 't')
			v6->sin6_addr = in6addr_loopback;
	} else {
		un->sun_family = AF_UNIX; /* an abstract name of the kernel's choice */
		size = sizeof(sa_family_t);
	}
	listener = socket(a.ss_family, SOCK_STREAM, 0);
	if (listener < 0 || bind(listener, (void *)&a, size) || listen(listener, 8))
		die("listener");
	size = sizeof(a);
	getsockname(listener, (void *)&a, &size);
	if (!strcmp(kind, "mapped")) {
		in_port_t port = v6->sin6_port;
		memset(&a, 0, sizeof(a));
		v4->sin_family = AF_INET;
		v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		v4->sin_port = port;
		size = sizeof(*v4);
	}
	client = socket(a.ss_family, SOCK_STREAM, 0);
	if (client < 0 || connect(client, (void *)&a, size))
		die("connect");
	server = accept(listener, (void *)&b, &other);
	if (server < 0)
		die("accept");
	if (a.ss_family != AF_UNIX) {
		setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		other = sizeof(b);
		getsockname(client, (void *)&b, &other);
		/* The port is at the same place in both families. */
		fprintf(out, "%d %d %d %d %d\n", client, server,
			ntohs(((struct sockaddr_in *)&b)->sin_port), ntohs(v4->sin_port), listener);
	} else {
		fprintf(out, "%d %d 0 0 %d\n", client, server, listener);
	}
}

static void serve(void);

static void do_fork(void)
{
	int down[2], up[2];

	if (pipe(down) || pipe(up))
		die("pipe");
	child = fork();
	if (child < 0)
		die("fork");
	if (child == 0) {
		close(down[1]); /* else its own input would never end */
		close(up[0]);
		in = fdopen(down[0], "r");
		out = fdopen(up[1], "w");
		serve();
		exit(0);
	}
	to_child = fdopen(down[1], "w");
	from_child = fdopen(up[0], "r");
	fprintf(out, "%d 0\n", child);
}

static void *serve_alone(void *unused)
{
	(void)unused;
	serve();
	exit(0);
}

static void serve(void)
{
	static char line[ROOM * 2 + 4096];

	for (fflush(out); fgets(line, sizeof(line), in); fflush(out)) {
		char *word[8] = {"", "", "", "", "", "", "", ""};
		int words = 0;

		line[strcspn(line, "\n")] = 0;
		if (!strncmp(line, "child ", 6)) {
			fprintf(to_child, "%s\n", line + 6);
			fflush(to_child);
			if (!fgets(line, sizeof(line), from_child))
				die("child");
			fputs(line, out);
			continue;
		}
		for (char *w = strtok(line, " "); w && words < 8; w = strtok(0, " "))
			word[words++] = w;
		const char *what = word[0];
		int fd = atoi(word[1]), other = atoi(word[2]);

		if (!strcmp(what, "pair")) {
			do_pair(word[1]);
		} else if (!strcmp(what, "send")) {
			answer(do_send(word[1], other, word[3], word[4]));
		} else if (!strcmp(what, "receive")) {
			long ret = do_receive(word[1], other, word[3], atoi(word[4]));
			answer(ret);
		} else if (!strcmp(what, "steps")) { /* each byte by a call of its own */
			long ret = 0;
			size_t n = parse(word[2]);
			for (size_t i = 0; i < n; i++)
				ret += write(fd, data + i, 1);
			answer(ret);
		} else if (!strcmp(what, "dup")) {
			answer(dup(fd));
		} else if (!strcmp(what, "dup2")) {
			answer(dup2(fd, other));
		} else if (!strcmp(what, "dup3")) {
			answer(dup3(fd, other, O_CLOEXEC));
		} else if (!strcmp(what, "fcntl")) {
			answer(fcntl(fd, F_DUPFD_CLOEXEC, 100));
		} else if (!strcmp(what, "close")) {
			answer(close(fd));
		} else if (!strcmp(what, "shutdown")) {
			answer(shutdown(fd, other));
		} else if (!strcmp(what, "reset")) {
			struct linger none = {.l_onoff = 1};
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
			answer(close(fd));
		} else if (!strcmp(what, "queued")) { /* bytes that wait to be read */
			int waiting = 0;
			answer(ioctl(fd, FIONREAD, &waiting) ? -1 : waiting);
		} else if (!strcmp(what, "nonblock")) {
			answer(fcntl(fd, F_SETFL, O_NONBLOCK));
		} else if (!strcmp(what, "sndtimeo")) {
			struct timeval wait = {0, other * 1000};
			answer(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)));
		} else if (!strcmp(what, "sndbuf")) {
			answer(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &other, sizeof(other)));
		} else if (!strcmp(what, "cloexec")) {
			answer(fcntl(fd, F_SETFD, FD_CLOEXEC));
		} else if (!strcmp(what, "call")) { /* any one system call, to see its probes fire */
			answer(syscall(fd, (long)other, atol(word[3]), atol(word[4]), atol(word[5]),
				       atol(word[6]), atol(word[7])));
		} else if (!strcmp(what, "fork")) {
			do_fork();
		} else if (!strcmp(what, "wait")) {
			int status;
			fclose(to_child);
			answer(waitpid(child, &status, 0) == child ? status : -1);
		} else if (!strcmp(what, "exec")) { /* this program anew, on the same pipes */
			char from[16], to[16];
			snprintf(from, sizeof(from), "%d", fileno(in));
			snprintf(to, sizeof(to), "%d", fileno(out));
			execl("/proc/self/exe", "traffic", from, to, (char *)0);
			die("exec");
		} else if (!strcmp(what, "leave")) { /* the main thread ends, the process goes on */
			pthread_t thread;
			if (pthread_create(&thread, 0, serve_alone, 0))
				die("pthread_create");
			pthread_detach(thread);
			pthread_exit(0);
		} else {
			die(what);
		}
	}
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	data = malloc(ROOM);
	room = malloc(ROOM);
	memset(data, 0, ROOM); /* so that only "unmapped" meets pages that are not there */
	memset(room, 0, ROOM);
	in = argc > 2 ? fdopen(atoi(argv[1]), "r") : stdin;
	out = argc > 2 ? fdopen(atoi(argv[2]), "w") : stdout;
	fprintf(out, "%d 0\n", getpid());
	serve();
	return 0;
}
