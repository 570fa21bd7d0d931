/* What bytes can be MySQL or MariaDB: the server's greeting, the client's answer to it, or a
 * command that fills its segment. Their programs often read a packet's header, 4 bytes, alone. */
#ifndef OTEL_EBPF_INFER_MYSQL_H
#define OTEL_EBPF_INFER_MYSQL_H

#include "infer_message.h"

#define PROTOCOL_MYSQL 60
#define MYSQL_HEADER 4 /* a length of 3 bytes, the lowest first, and a packet's number */
#define MYSQL_BEFORE_TLS 1024 /* a greeting, and the client's wish for TLS */

enum mysql_command {
	MYSQL_QUIT = 0x01,
	MYSQL_QUERY = 0x03,
	MYSQL_PREPARE = 0x16,
	MYSQL_EXECUTE = 0x17,
	MYSQL_LONG_DATA = 0x18,
	MYSQL_STATEMENT_CLOSE = 0x19,
	MYSQL_LAST = 0x1f,
	MYSQL_BULK = 0xfa
};

INLINE u64 mysql_end(const u8 *p)
{
	return MYSQL_HEADER + ((u32)p[0] | (u32)p[1] << 8 | (u32)p[2] << 16);
}

/* Protocol 10, and a version like "8.0.36" or "10.11.6". */
INLINE bool infer_mysql_greeting(const u8 *p, u32 n, u64 total)
{
	return n >= 8 && p[3] == 0 && p[4] == 10 && is_digit(p[5]) &&
	       (is_digit(p[6]) || p[6] == '.') && (is_digit(p[7]) || p[7] == '.') &&
	       mysql_end(p) == total;
}

/* What a client answers: flags, of which all since 4.1 set two; the longest packet, a character
 * set, and zeros. */
INLINE bool infer_mysql_login(const u8 *p, u32 n)
{
	return n == INFER_BYTES && (p[3] == 1 || p[3] == 2) && mysql_end(p) >= MYSQL_HEADER + 32 &&
	       (p[5] & 0x82) == 0x82 && !p[13] && !p[14] && !p[15];
}

/* 1 or 0, without branches. */
INLINE u32 is_text(u8 c)
{
	return less((u8)(c - ' '), 127 - ' ') | less((u8)(c - '\t'), '\r' + 1 - '\t');
}

/* A query, or a prepared statement's execution. */
INLINE bool infer_mysql_command(const u8 *p, u32 n)
{
	if (p[3] || n < 9)
		return false;
	if (p[4] == MYSQL_QUERY || p[4] == MYSQL_PREPARE) {
		/* Of MySQL since 8.0.23 numbers of attributes may come before the text. */
		u32 none = same(p[4], MYSQL_QUERY) & same(p[5], 0) & same(p[6], 1);
		u32 text = none | (is_text(p[5]) & is_text(p[6]));
		for (u32 i = 7; i < INFER_BYTES; i++)
			text &= (less(i, n) ^ 1) | is_text(p[i]);
		return text;
	}
	return p[4] == MYSQL_EXECUTE && n >= 14 && p[9] <= 9 && p[10] == 1 && !p[11] && !p[12] &&
	       !p[13];
}

INLINE u8 infer_mysql(const u8 *p, u32 n, u64 total, u8 towards, bool start)
{
	u64 end = mysql_end(p);
	u8 command = p[4];

	if (towards == TOWARDS_CLIENT)
		return start && n ? BEGINS_RESPONSE : BEGINS_NOTHING;
	if (n < MYSQL_HEADER || end == MYSQL_HEADER)
		return BEGINS_NOTHING;
	if (total == MYSQL_HEADER)
		return towards || p[3] <= 2 ? BEGINS_MAYBE : BEGINS_NOTHING;
	if (n == MYSQL_HEADER)
		return BEGINS_NOTHING;
	if (start && infer_mysql_login(p, n) && end == total && end > MYSQL_HEADER + 32)
		return BEGINS_REQUEST;
	if (!towards) {
		if (infer_mysql_greeting(p, n, total))
			return BEGINS_RESPONSE;
		return end == total && infer_mysql_command(p, n) ? BEGINS_REQUEST : BEGINS_NOTHING;
	}
	/* An answer within the login, a file's content. */
	if (p[3] || (command > MYSQL_LAST && command != MYSQL_BULK))
		return BEGINS_NOTHING;
	/* What is never answered is no call. */
	if (end == total && (command == MYSQL_QUIT || command == MYSQL_LONG_DATA ||
			     command == MYSQL_STATEMENT_CLOSE))
		return BEGINS_NOTHING;
	return start || end == total ? BEGINS_REQUEST : BEGINS_NOTHING;
}

/* Passwords, and the content of files: all towards the server that is neither a command nor the
 * client's first answer. A header alone says nothing yet. */
INLINE bool mysql_secret(const u8 *p, u32 n)
{
	return n > MYSQL_HEADER && p[3] && !infer_mysql_login(p, n);
}

#endif
