//go:build ignore
// (The line above is for the go command, which would else take this file for cgo.)

// world writes what a server can see of its own start to $WORLD_REPORT-GENERATION,
// one "key=value" a line, says READY=1 and waits for a signal. main.go and world.py
// write the same keys. C has no runtime that changes anything before main, so that
// this report is the whole truth.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

extern char **environ;
static FILE *out;

static void escape(const char *s)
{
	for (; *s; s++) {
		unsigned char c = *s;
		fprintf(out, c < ' ' || c > '~' || c == '\\' ? "\\x%02x" : "%c", c);
	}
}

static void put(const char *prefix, const char *key, const char *value)
{
	fputs(prefix, out);
	escape(key);
	fputc('=', out);
	escape(value);
	fputc('\n', out);
}

static void put_number(const char *prefix, const char *key, long value)
{
	char text[32];

	snprintf(text, sizeof text, "%ld", value);
	put(prefix, key, text);
}

// slurp returns a file's text without its last newline, "absent" if there is none.
static char *slurp(const char *path)
{
	static char buf[65536];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = 0, got;

	if (fd < 0)
		return strcpy(buf, "absent");
	while ((got = read(fd, buf + n, sizeof buf - 1 - n)) > 0)
		n += got;
	close(fd);
	if (n > 0 && buf[n - 1] == '\n')
		n--;
	buf[n] = 0;
	return buf;
}

static void put_status(void)
{
	static const char *const keys[] = {
		"Umask", "PPid", "TracerPid", "Uid", "Gid", "Groups", "SigBlk", "SigIgn", "SigCgt",
		"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters",
		"Speculation_Store_Bypass", "THP_enabled", "Cpus_allowed_list", "Mems_allowed_list", NULL};

	for (char *line = strtok(slurp("/proc/self/status"), "\n"); line; line = strtok(NULL, "\n")) {
		char *value = strchr(line, ':');

		*value++ = 0;
		for (int i = 0; keys[i]; i++)
			if (!strcmp(line, keys[i]))
				put("status.", line, value + strspn(value, "\t "));
	}
}

static void put_stat(void)
{
	static const struct { int field; const char *key; } keys[] = { // proc_pid_stat(5)
		{4, "parent"}, {5, "group"}, {6, "session"}, {7, "terminal"}, {19, "nice"}, {40, "rt_priority"}, {41, "policy"}};
	int field = 3;

	for (char *s = strtok(strrchr(slurp("/proc/self/stat"), ')') + 1, " "); s; s = strtok(NULL, " "), field++)
		for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
			if (keys[i].field == field)
				put("", keys[i].key, s);
}

static void put_limits(void)
{
	strtok(slurp("/proc/self/limits"), "\n"); // the heading
	for (char *line = strtok(NULL, "\n"); line; line = strtok(NULL, "\n")) {
		char name[26], soft[32], hard[32], text[80];

		snprintf(name, sizeof name, "%.25s", line);
		for (char *end = strchr(name, 0); end > name && end[-1] == ' ';)
			*--end = 0;
		if (sscanf(line + 26, "%31s %31s", soft, hard) != 2)
			errx(1, "limits: %s", line);
		snprintf(text, sizeof text, "%s:%s", soft, hard);
		put("limit.", name, text);
	}
}

static void local_address(int fd, char *text, size_t size)
{
	union { struct sockaddr any; struct sockaddr_in in; struct sockaddr_in6 in6; struct sockaddr_un un; } a = {0};
	socklen_t len = sizeof a - 1;
	char host[64];

	if (getsockname(fd, &a.any, &len))
		err(1, "getsockname %d", fd);
	*text = 0;
	if (a.any.sa_family == AF_INET)
		snprintf(text, size, "%s:%d", inet_ntop(AF_INET, &a.in.sin_addr, host, sizeof host), ntohs(a.in.sin_port));
	else if (a.any.sa_family == AF_INET6)
		snprintf(text, size, "[%s]:%d", inet_ntop(AF_INET6, &a.in6.sin6_addr, host, sizeof host), ntohs(a.in6.sin6_port));
	else if (len > offsetof(struct sockaddr_un, sun_path))
		snprintf(text, size, "%s%s", a.un.sun_path[0] ? "" : "@", a.un.sun_path + !a.un.sun_path[0]);
}

static void put_descriptor(int fd, char *link)
{
	char key[16], text[8192], local[256];
	int type, listening, n;
	socklen_t len = sizeof(int);

	if (!strncmp(link, "socket:", 7) || !strncmp(link, "pipe:", 5))
		*strchr(link, ':') = 0; // what follows is the inode number
	n = snprintf(text, sizeof text, "%s flags=%o cloexec=%d", link, fcntl(fd, F_GETFL), fcntl(fd, F_GETFD) & FD_CLOEXEC);
	if (!getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len)) {
		len = sizeof(int);
		getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len);
		local_address(fd, local, sizeof local);
		snprintf(text + n, sizeof text - n, " type=%d listening=%d local=%s", type, listening, local);
	}
	snprintf(key, sizeof key, "%d", fd);
	put("fd.", key, text);
}

static void put_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *e;
	char link[4096];

	if (!dir)
		err(1, "/proc/self/fd");
	while ((e = readdir(dir))) {
		ssize_t n = readlinkat(dirfd(dir), e->d_name, link, sizeof link - 1);

		if (n < 0 || atoi(e->d_name) == dirfd(dir))
			continue; // "." and "..", or our own
		link[n] = 0;
		put_descriptor(atoi(e->d_name), link);
	}
	closedir(dir);
}

static void put_link(const char *prefix, const char *name, const char *path)
{
	char link[4096];
	ssize_t n = readlink(path, link, sizeof link - 1);

	link[n < 0 ? 0 : n] = 0;
	put(prefix, name, link);
}

static void put_process(void)
{
	static const char *const files[] = {"cgroup", "comm", "coredump_filter", "loginuid", "oom_score_adj", "personality", NULL};
	static const char *const spaces[] = {"cgroup", "ipc", "mnt", "net", "pid", "user", "uts", NULL};
	char path[64], keyring[256] = "";
	char *nice;

	for (int i = 0; files[i]; i++) {
		snprintf(path, sizeof path, "/proc/self/%s", files[i]);
		put("", files[i], slurp(path));
	}
	for (int i = 0; spaces[i]; i++) {
		snprintf(path, sizeof path, "/proc/self/ns/%s", spaces[i]);
		put_link("namespace.", spaces[i], path);
	}
	put_link("", "cwd", "/proc/self/cwd");
	put_link("", "exe", "/proc/self/exe");
	nice = strstr(slurp("/proc/self/autogroup"), "nice");
	put("", "autogroup", nice ? nice : "absent");
	put_number("", "pid", getpid());
	put_number("", "parent_death_signal", (prctl(PR_GET_PDEATHSIG, path), *(int *)path));
	put_number("", "dumpable", prctl(PR_GET_DUMPABLE));
	put_number("", "securebits", prctl(PR_GET_SECUREBITS));
	put_number("", "timer_slack", prctl(PR_GET_TIMERSLACK));
	put_number("", "io_priority", syscall(SYS_ioprio_get, 1, 0));
	syscall(SYS_keyctl, 6, -3, keyring, sizeof keyring - 1); // KEYCTL_DESCRIBE, KEY_SPEC_SESSION_KEYRING
	put("", "session_keyring", keyring);
}

// put_journal says whether JOURNAL_STREAM names standard error, systemd.exec(5).
static void put_journal(void)
{
	struct stat st;
	char id[64];
	const char *stream = getenv("JOURNAL_STREAM");

	fstat(2, &st);
	snprintf(id, sizeof id, "%lu:%lu", (unsigned long)st.st_dev, (unsigned long)st.st_ino);
	put("", "stderr_is_journal", stream && !strcmp(stream, id) ? "yes" : "no");
}

static void say_ready(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	const char *path = getenv("NOTIFY_SOCKET");
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (!path || strlen(path) >= sizeof a.sun_path)
		errx(1, "NOTIFY_SOCKET: absent or too long");
	strcpy(a.sun_path, path);
	if (sendto(fd, "READY=1", 7, 0, (struct sockaddr *)&a, sizeof a) != 7)
		err(1, "%s", path);
	close(fd);
}

int main(int argc, char **argv)
{
	char *text, number[16], path[4096];
	const char *generation = getenv("FLIPEXEC_GENERATION");
	size_t size;

	if (!(out = open_memstream(&text, &size)))
		err(1, "open_memstream");
	put_status();
	put_descriptors();
	put_stat();
	put_limits();
	put_process();
	put_journal();
	for (int i = 0; i < argc; i++) {
		snprintf(number, sizeof number, "%d", i);
		put("arg.", number, argv[i]);
	}
	for (char **e = environ; *e; e++) {
		fputs("env.", out);
		escape(*e);
		fputc('\n', out);
	}
	fclose(out);
	snprintf(path, sizeof path, "%s-%s", getenv("WORLD_REPORT"), generation ? generation : "0");
	if (!(out = fopen(path, "we")) || fwrite(text, 1, size, out) != size || fclose(out))
		err(1, "%s", path);
	say_ready();
	pause();
}
