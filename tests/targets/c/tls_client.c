/* tls_client PORT COUNT PREFIX: that many HTTPS requests to loopback on one connection, once a line
 * comes. It is linked with OpenSSL's archives. */
#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	char text[4096];
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(context);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	printf("ready\n");
	fflush(stdout);
	if (!fgets(text, sizeof(text), stdin))
		return 2;
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) || !SSL_set_fd(ssl, fd) ||
	    SSL_connect(ssl) != 1)
		return 1;
	for (int i = 0; i < atoi(argv[2]); i++) {
		int n = snprintf(text, sizeof(text),
				 "GET %s%d HTTP/1.1\r\nHost: localhost\r\n\r\n", argv[3], i);
		if (SSL_write(ssl, text, n) != n)
			return 1;
		/* Head and body may come apart; the body ends with the service's last byte. */
		for (n = 0; n < (int)sizeof(text) - 1;) {
			int got = SSL_read(ssl, text + n, sizeof(text) - 1 - n);
			if (got <= 0)
				return 1;
			text[n += got] = 0;
			char *body = strstr(text, "\r\n\r\n"), *length = strcasestr(text, "content-length:");
			if (body && length && strlen(body + 4) >= strtoul(length + 15, 0, 10))
				break;
		}
	}
	SSL_shutdown(ssl);
	close(fd);
	return 0;
}
