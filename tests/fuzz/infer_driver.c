/* Gives the kernel half's inference bytes of all kinds, in memory of just their size. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
typedef u8 (*infer_t)(const u8 *, u32, u64, u64, u8, bool);
#include "table.h" /* all[], the functions */
static u64 state;
static u64 chance(void)
{
	state ^= state << 13; state ^= state >> 7; state ^= state << 17;
	return state;
}
int main(int argc, char **argv)
{
	/* SECONDS, a file of first bytes, 16 each, and where chance begins. */
	static u8 seeds[4096][16];
	u64 kept = 0, calls = 0, found = 0;
	time_t ends = time(0) + atoi(argv[1]);
	FILE *file = fopen(argv[2], "rb");
	state = strtoull(argv[3], 0, 10) | 1;
	while (file && kept < 4096 && fread(seeds[kept], 16, 1, file) == 1)
		kept++;
	while (time(0) < ends) {
		for (int i = 0; i < 100000; i++, calls++) {
			u8 *head = malloc(16);
			u32 n = chance() % 17;
			u64 word[2] = {chance(), chance()}, tail = chance();
			u64 total = chance() % 4 ? n + chance() % 64 : chance() >> chance() % 60;
			memcpy(head, word, 16);
			if (kept && chance() % 4) {
				memcpy(head, seeds[chance() % kept], 16);
				for (u32 changes = chance() % 4; changes; changes--)
					head[chance() % 16] = chance();
			}
			memset(head + n, 0, 16 - n);
			infer_t infer = all[chance() % (sizeof(all) / sizeof(*all))];
			u8 what = infer(head, n, total < n ? n : total, tail, chance() % 3, chance() & 1);
			if (what > BEGINS_FRAMES) {
				fprintf(stderr, "what begins is %u\n", what);
				return 1;
			}
			found += what != 0;
			free(head);
		}
	}
	printf("%llu calls, %llu of them found something\n", (unsigned long long)calls,
	       (unsigned long long)found);
	return 0;
}
