/*
 * gap - how long a file is away that somebody puts back
 *
 *   gap PATH N         unlinks PATH N times; says for each after how many nanoseconds
 *                      it was there again
 *   gap PATH N SPARE   the same, and puts it back itself, from the link SPARE: a child
 *                      does nothing else, which is as fast as Linux can be
 *
 * It counts from before unlink(2), and looks all the time.
 */
#define _GNU_SOURCE
#include <err.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* put_back is the child; the pipe tells that it watches. */
static void put_back(const char *path, const char *spare, int watching)
{
	char events[4096];
	int fd = inotify_init1(IN_CLOEXEC);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (fd < 0 || inotify_add_watch(fd, spare, IN_ATTRIB) < 0)
		err(1, "watch %s", spare);
	close(watching);
	while (read(fd, events, sizeof(events)) > 0)
		link(spare, path); /* EEXIST at the event of the link itself */
	err(1, "read events");
}

static void start_child(const char *path, const char *spare)
{
	int ends[2];
	char c;

	if (link(path, spare) < 0)
		err(1, "link %s", spare);
	if (pipe(ends) < 0)
		err(1, "pipe");
	switch (fork()) {
	case -1:
		err(1, "fork");
	case 0:
		close(ends[0]);
		put_back(path, spare, ends[1]);
	}
	close(ends[1]);
	if (read(ends[0], &c, 1) < 0)
		err(1, "read pipe");
}

int main(int argc, char **argv)
{
	struct timespec pause = {.tv_nsec = 20000000}; /* so that who puts it back sleeps again */
	long long start, took;
	int i;

	if (argc < 3)
		errx(2, "usage: gap PATH N [SPARE]");
	if (argc > 3)
		start_child(argv[1], argv[3]);
	for (i = 0; i < atoi(argv[2]); i++) {
		if (i > 0)
			nanosleep(&pause, NULL);
		start = now();
		if (unlink(argv[1]) < 0)
			err(1, "unlink %s", argv[1]);
		do {
			took = now() - start;
			if (took > 5000000000LL)
				errx(1, "%s: away for 5 s", argv[1]);
		} while (access(argv[1], F_OK) < 0);
		printf("%lld\n", now() - start);
	}
	return 0;
}
