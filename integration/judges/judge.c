/*
 * judge - what libsystemd says of the descriptors that this process was passed:
 *
 *   judge REPORT NEXT ...   writes REPORT-GENERATION-libsystemd, and becomes the next judge
 *   judge --store NAME      gives the manager a file to keep under the name
 *
 * A report is the number of descriptors, and for each a line "FD KIND ADDRESS NAME"; "-"
 * is what the judge cannot tell. judge.py, judge.js and gojudge write the same.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

static const char *kind_of(int fd)
{
	static const struct { int family, type, listening; const char *kind; } kinds[] = {
		{AF_INET, SOCK_STREAM, 1, "tcp"}, {AF_INET6, SOCK_STREAM, 1, "tcp"},
		{AF_INET, SOCK_DGRAM, 0, "udp"}, {AF_INET6, SOCK_DGRAM, 0, "udp"},
		{AF_UNIX, SOCK_STREAM, 1, "unix"}, {AF_UNIX, SOCK_DGRAM, 0, "unixgram"},
		{AF_UNIX, SOCK_SEQPACKET, 1, "unixpacket"}, {AF_VSOCK, SOCK_STREAM, 1, "vsock"},
		{AF_NETLINK, SOCK_RAW, 0, "netlink"}};

	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (sd_is_socket(fd, kinds[i].family, kinds[i].type, kinds[i].listening) > 0)
			return kinds[i].kind;
	if (sd_is_fifo(fd, NULL) > 0)
		return "fifo";
	return sd_is_special(fd, NULL) > 0 ? "special" : "unknown";
}

static void put_address(FILE *out, int fd)
{
	union {
		struct sockaddr any; struct sockaddr_in in; struct sockaddr_in6 in6;
		struct sockaddr_un un; struct sockaddr_vm vm;
	} a = {0};
	socklen_t len = sizeof a - 1;
	char host[64];

	if (getsockname(fd, &a.any, &len))
		a.any.sa_family = AF_UNSPEC; /* no socket */
	switch (a.any.sa_family) {
	case AF_INET:
		fprintf(out, "%s:%d", inet_ntop(AF_INET, &a.in.sin_addr, host, sizeof host), ntohs(a.in.sin_port));
		break;
	case AF_INET6:
		fprintf(out, "[%s]:%d", inet_ntop(AF_INET6, &a.in6.sin6_addr, host, sizeof host), ntohs(a.in6.sin6_port));
		break;
	case AF_UNIX:
		fprintf(out, "%s%s", a.un.sun_path[0] ? "" : "@", a.un.sun_path + !a.un.sun_path[0]);
		break;
	case AF_VSOCK:
		fprintf(out, "%u:%u", a.vm.svm_cid, a.vm.svm_port);
		break;
	default:
		fputc('-', out);
	}
}

static void keep(const char *name)
{
	char *message;
	int fd = memfd_create(name, MFD_CLOEXEC);

	if (fd < 0 || asprintf(&message, "FDSTORE=1\nFDNAME=%s", name) < 0)
		err(1, "memfd_create");
	if (sd_pid_notify_with_fds(0, 0, message, &fd, 1) <= 0)
		errx(1, "FDSTORE=1 was not sent");
}

int main(int argc, char **argv)
{
	const char *generation = getenv("FLIPEXEC_GENERATION");
	char path[4096], **names = NULL;
	FILE *out;
	int n;

	if (argc < 3)
		errx(1, "too few arguments");
	if (!strcmp(argv[1], "--store")) {
		keep(argv[2]);
		return 0;
	}
	n = sd_listen_fds_with_names(0, &names);
	snprintf(path, sizeof path, "%s-%s-libsystemd", argv[1], generation ? generation : "0");
	if (!(out = fopen(path, "we")))
		err(1, "%s", path);
	fprintf(out, "%d\n", n);
	for (int i = 0; i < n; i++) {
		int fd = SD_LISTEN_FDS_START + i;

		fprintf(out, "%d %s ", fd, kind_of(fd));
		put_address(out, fd);
		fprintf(out, " %s\n", names[i]);
		fcntl(fd, F_SETFD, 0); /* libsystemd made it close-on-exec */
	}
	if (fclose(out))
		err(1, "%s", path);
	execv(argv[2], argv + 2);
	err(1, "%s", argv[2]);
}
