/* Calls functions as Go calls those that have a header block in hand, with memory that lies.
 *
 * headers: prints the address of the type that its connection has, waits for a line, makes its
 * calls in order, prints "done" and waits for another line. */
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* hpack.HeaderField */
struct field {
	const char *name;
	uint64_t name_len;
	const char *value;
	uint64_t value_len;
	uint64_t sensitive;
};

static uint64_t type; /* stands for the descriptor of *net.TCPConn */
static uint64_t other_type;
static uint64_t itab[2] = {0, (uint64_t)&type};
static uint64_t other_itab[2] = {0, (uint64_t)&other_type};
static struct {
	char pad[16];
	int fd;
} net_fd;
static void *tcp_conn = &net_fd;

struct iface {
	uint64_t *itab;
	void *data;
};

static struct iface conn = {itab, &tcp_conn};
static struct iface wrapped = {other_itab, &conn};
static struct iface circle = {other_itab, &circle};

__attribute__((noinline, used)) void write_header(void) { __asm__ volatile("nop"); }
__attribute__((noinline, used)) void client_field(void) { __asm__ volatile("nop"); }
__attribute__((noinline, used)) void client_write(void) { __asm__ volatile("nop"); }

#define CALL(f, ax, bx, cx, di, si)                                                         \
	__asm__ volatile("call " #f                                                         \
			 :                                                                  \
			 : "a"((uint64_t)(ax)), "b"((uint64_t)(bx)), "c"((uint64_t)(cx)),   \
			   "D"((uint64_t)(di)), "S"((uint64_t)(si))                         \
			 : "memory")

/* loopyWriter -> framer -> bufWriter, each of which begins with the next. */
static void write_fields(uint32_t stream, struct iface *of, const struct field *fields, uint64_t n)
{
	void *framer = of, *loopy = &framer;

	CALL(write_header, &loopy, stream, 0, fields, n);
}

static void put(struct iface *cc, const char *name, const char *value)
{
	CALL(client_field, cc, name, strlen(name), value, strlen(value));
}

static int connected(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t size = sizeof(at);
	int listener = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0);

	if (bind(listener, (void *)&at, sizeof(at)) || listen(listener, 1) ||
	    getsockname(listener, (void *)&at, &size) || connect(fd, (void *)&at, size))
		return -1;
	return fd;
}

int main(void)
{
	static char wide[5000];
	char *unmapped = mmap(NULL, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), line[8];
	struct field good[] = {{":status", 7, "200", 3, 0}, {"empty", 5, "", 0, 0}};
	struct field lies[] = {good[0], {"name", 1ULL << 63, "value", 5, 0}};
	struct field long_value[] = {good[0], {"name", 4, "value", 1ULL << 40, 0}};
	struct field fault[] = {good[0], {unmapped, 16, "value", 5, 0}};
	struct field null[] = {good[0], {NULL, 4, NULL, 5, 0}};
	struct field big[] = {good[0], {"wide", 4, wide, sizeof(wide), 0}, good[1]};
	static struct field many[400];

	net_fd.fd = connected();
	memset(wide, 'w', sizeof(wide));
	for (int i = 0; i < 400; i++)
		many[i] = (struct field){"n", 1, "v", 1, 0};
	printf("%llu\n", (unsigned long long)&type);
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		return 1;
	write_fields(1, &conn, good, 2);
	write_fields(3, &conn, lies, 2);
	write_fields(5, &conn, long_value, 2);
	write_fields(7, &conn, fault, 2);
	write_fields(9, &conn, null, 2);
	write_fields(11, &conn, big, 3);
	write_fields(13, &conn, many, 400);
	write_fields(15, &wrapped, good, 2);
	/* Of these nothing can be told. */
	write_fields(17, &circle, good, 2);
	write_fields(19, (struct iface *)unmapped, good, 2);
	write_fields(21, &conn, good, 1ULL << 60);
	write_fields(0, &conn, good, 2);
	write_fields(23, &conn, (struct field *)unmapped, 2);
	/* Field by field, one of them told twice. */
	put(&conn, ":path", "/a");
	put(&conn, "x", "1");
	put(&conn, "x", "1");
	CALL(client_write, &conn, 25, 1, 0, 0);
	CALL(client_write, &conn, 27, 1, 0, 0);
	for (int i = 0; i < 3; i++)
		CALL(client_field, &conn, "wide", 4, wide + i, 2000);
	CALL(client_write, &conn, 29, 1, 0, 0);
	printf("done\n");
	fflush(stdout);
	return fgets(line, sizeof(line), stdin) == NULL;
}
