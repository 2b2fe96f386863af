/*
 * clock - a server that says on standard output what happens to it and when, in
 * nanoseconds of CLOCK_MONOTONIC, with its generation:
 *
 *   clock                    "main G T"; "ready G T" and READY=1; at SIGTERM "stop G T"
 *   clock PROGRAM ARGV0 ...  "exec G T", and becomes the program
 *
 * Static, so that nothing but execve(2) comes before main.
 */
#define _GNU_SOURCE
#include <err.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void say(const char *what, long long when)
{
	const char *generation = getenv("FLIPEXEC_GENERATION");

	dprintf(1, "%s %s %lld\n", what, generation ? generation : "0", when);
}

/* ready sends READY=1 if there is somebody to tell. */
static void ready(void)
{
	static const char message[] = "READY=1";
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	const char *path = getenv("NOTIFY_SOCKET");
	int fd;

	if (!path)
		return;
	if (strlen(path) >= sizeof(addr.sun_path))
		errx(1, "NOTIFY_SOCKET: too long");
	strcpy(addr.sun_path, path);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		err(1, "socket");
	say("ready", now()); /* before, because it counts from the send on */
	if (sendto(fd, message, sizeof(message) - 1, 0, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		err(1, "send");
	close(fd);
}

int main(int argc, char **argv)
{
	long long start = now();
	sigset_t term;
	int sig;

	if (argc > 2) {
		say("exec", now());
		execv(argv[1], argv + 2);
		err(1, "exec %s", argv[1]);
	}
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, NULL);
	say("main", start);
	ready();
	if (!getenv("NOTIFY_SOCKET"))
		return 0;
	sigwait(&term, &sig);
	say("stop", now());
	return 0;
}
