/* Processes whose threads all end at the same moment.
 *
 * threads ROUNDS THREADS: prints its pid, waits for a line, then starts ROUNDS processes,
 * one after the other, each of which starts THREADS threads that end together with its
 * first. Prints the number of the processes that it has waited for. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static atomic_int waiting;

/* Each on a processor of its own, as far as they go; none sleeps, so that none is late. */
static void *end(void *number)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET((long)number % sysconf(_SC_NPROCESSORS_ONLN), &one);
	sched_setaffinity(0, sizeof(one), &one);
	atomic_fetch_sub(&waiting, 1);
	while (atomic_load(&waiting) > 0)
		if ((long)number > 1)
			sched_yield();
	syscall(SYS_exit, 0);
	return NULL;
}

int main(int argc, char **argv)
{
	int rounds = argc > 2 ? atoi(argv[1]) : 0, ended = 0;
	long threads = argc > 2 ? atol(argv[2]) : 0;

	printf("%d\n", (int)getpid());
	fflush(stdout);
	getchar();
	for (int round = 0; round < rounds; round++) {
		pid_t child = fork();

		if (child == 0) {
			pthread_t thread;

			atomic_store(&waiting, (int)threads + 1);
			for (long i = 0; i < threads; i++)
				if (pthread_create(&thread, NULL, end, (void *)(i + 1)))
					_exit(1);
			end((void *)0);
		}
		if (child > 0 && waitpid(child, NULL, 0) == child)
			ended++;
	}
	printf("%d\n", ended);
	return 0;
}
