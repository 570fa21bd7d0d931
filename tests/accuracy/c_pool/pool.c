/* A C service of the accuracy harness: one thread accepts and reads requests, a pool of threads
 * answers them, and makes the calls below in the way the plan names: itself ("sequential"), or by
 * a second pool, one after the other ("submitted") or all at once ("executor").
 *
 * The plan is JSON as Python writes it; what is needed of it is found by its text. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST_CALLS 8

struct latch {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int left;
	int failed;
};

struct job {
	struct job *next;
	int socket;        /* of a request to answer */
	char name[64];     /* what it asks for, or whose call it is */
	char child[64];    /* a call to make */
	struct latch *done;
};

struct pool {
	pthread_mutex_t lock;
	pthread_cond_t filled;
	struct job *first, **last;
};

static char *plan = "";
static struct sockaddr_in leaf;
static struct pool servers = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, &servers.first};
static struct pool callers = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, &callers.first};

static void put(struct pool *pool, struct job *job)
{
	job->next = 0;
	pthread_mutex_lock(&pool->lock);
	*pool->last = job;
	pool->last = &job->next;
	pthread_cond_signal(&pool->filled);
	pthread_mutex_unlock(&pool->lock);
}

static struct job *take(struct pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	while (!pool->first)
		pthread_cond_wait(&pool->filled, &pool->lock);
	struct job *job = pool->first;
	pool->first = job->next;
	if (!pool->first)
		pool->last = &pool->first;
	pthread_mutex_unlock(&pool->lock);
	return job;
}

/* Bytes of a message whose length its header tells; the body's place, or 0. */
static char *receive(int socket, char *buffer, size_t room)
{
	size_t got = 0, wanted = 0;
	char *body = 0;

	for (;;) {
		ssize_t n = recv(socket, buffer + got, room - got - 1, 0);
		if (n <= 0)
			return 0;
		got += n;
		buffer[got] = 0;
		if (!body && (body = strstr(buffer, "\r\n\r\n"))) {
			char *length = strcasestr(buffer, "content-length:");
			body += 4;
			wanted = length && length < body ? strtoul(length + 15, 0, 10) : 0;
		}
		if (body && got >= (size_t)(body - buffer) + wanted)
			return body;
		if (got + 1 >= room)
			return 0;
	}
}

static int call(const char *child, const char *parent)
{
	static __thread int connection = -1;
	char buffer[4096];

	if (connection < 0) {
		int one = 1;
		connection = socket(AF_INET, SOCK_STREAM, 0);
		if (connect(connection, (struct sockaddr *)&leaf, sizeof(leaf)))
			return -1;
		setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	}
	int n = snprintf(buffer, sizeof(buffer),
			 "GET /call/%s HTTP/1.1\r\nHost: leaf\r\nX-Truth-Id: %s\r\n"
			 "X-Truth-Parent: %s\r\n\r\n", child, child, parent);
	if (send(connection, buffer, n, MSG_NOSIGNAL) != n ||
	    !receive(connection, buffer, sizeof(buffer)) || strncmp(buffer + 9, "200", 3)) {
		close(connection);
		connection = -1;
		return -1;
	}
	return 0;
}

static int submit(const char *parent, char children[][64], int count)
{
	struct latch done = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, count, 0};

	for (int i = 0; i < count; i++) {
		struct job *job = calloc(1, sizeof(*job));
		strcpy(job->name, parent);
		strcpy(job->child, children[i]);
		job->done = &done;
		put(&callers, job);
	}
	pthread_mutex_lock(&done.lock);
	while (done.left)
		pthread_cond_wait(&done.changed, &done.lock);
	pthread_mutex_unlock(&done.lock);
	return done.failed;
}

static int perform(const char *name)
{
	char key[80], children[MOST_CALLS][64];
	int count = 0, failed = 0;

	snprintf(key, sizeof(key), "\"%s\": {", name);
	char *node = strstr(plan, key);
	char *mode = node ? strstr(node, "\"mode\": \"") : 0;
	char *at = node ? strstr(node, "\"calls\": [") : 0;
	if (!mode || !at)
		return -1;
	for (at += 10; *at != ']' && count < MOST_CALLS; at++)
		if (*at == '"') {
			char *end = strchr(at + 1, '"');
			snprintf(children[count++], 64, "%.*s", (int)(end - at - 1), at + 1);
			at = end;
		}
	if (!strncmp(mode + 9, "executor", 8))
		return submit(name, children, count);
	for (int i = 0; i < count && !failed; i++)
		failed = strncmp(mode + 9, "submitted", 9) ? call(children[i], name)
							   : submit(name, children + i, 1);
	return failed;
}

static void *serve(void *unused)
{
	(void)unused;
	for (;;) {
		struct job *job = take(&servers);
		char answer[256];
		int failed = perform(job->name);
		int n = snprintf(answer, sizeof(answer),
				 "HTTP/1.1 %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
				 failed ? "500 Failed" : "200 OK", strlen(job->name), job->name);
		send(job->socket, answer, n, MSG_NOSIGNAL);
		close(job->socket);
		free(job);
	}
	return 0;
}

static void *make_calls(void *unused)
{
	(void)unused;
	for (;;) {
		struct job *job = take(&callers);
		int failed = call(job->child, job->name);
		pthread_mutex_lock(&job->done->lock);
		job->done->failed |= failed;
		if (--job->done->left == 0)
			pthread_cond_signal(&job->done->changed);
		pthread_mutex_unlock(&job->done->lock);
		free(job);
	}
	return 0;
}

static void load(char *body)
{
	char host[64], *at = strstr(plan = strdup(body), "\"go-leaf\": \"");

	if (at && sscanf(at + 12, "%63[^:]", host) == 1) {
		leaf.sin_family = AF_INET;
		leaf.sin_port = htons(atoi(at + 12 + strlen(host) + 1));
		inet_pton(AF_INET, host, &leaf.sin_addr);
	}
}

int main(void)
{
	static char buffer[32 << 20];
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);
	int listening = socket(AF_INET, SOCK_STREAM, 0);
	pthread_t thread;

	bind(listening, (struct sockaddr *)&address, sizeof(address));
	listen(listening, 1024);
	getsockname(listening, (struct sockaddr *)&address, &size);
	for (int i = 0; i < 16; i++)
		pthread_create(&thread, 0, serve, 0);
	for (int i = 0; i < 8; i++)
		pthread_create(&thread, 0, make_calls, 0);
	printf("listening 127.0.0.1:%d\n", ntohs(address.sin_port));
	fflush(stdout);
	for (;;) {
		int socket = accept(listening, 0, 0);
		char *body = socket < 0 ? 0 : receive(socket, buffer, sizeof(buffer));
		char *name = body ? strstr(buffer, " /call/") : 0;
		if (name && name < strchr(buffer, '\r')) {
			struct job *job = calloc(1, sizeof(*job));
			job->socket = socket;
			sscanf(name + 7, "%63[^ ]", job->name);
			put(&servers, job);
			continue;
		}
		if (body) {
			const char *said = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\n0 0";
			if (strstr(buffer, " /load"))
				load(body);
			send(socket, said, strlen(said), MSG_NOSIGNAL);
		}
		close(socket);
	}
}
