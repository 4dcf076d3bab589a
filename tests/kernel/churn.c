/*
 * Makes connections on loopback as fast as one thread a worker can, a known
 * number of them: churn WORKERS CONNECTIONS [PORT]. Each worker is client and
 * server in turn, so that nothing waits and no queue overflows; sources are
 * spread over 127.0.0.x, so that ports do not run out. Workers listen on PORT
 * and those that follow, or on any. Of every four connections one is closed by
 * the client first, one by the server, one is aborted by the client, and one
 * is aborted by the server when it knows that the client has closed. Prints
 * the seconds it took.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SOURCES 64

static void must(int good, const char *what)
{
	if (good)
		return;
	perror(what);
	exit(1);
}

static int make_socket(struct sockaddr_in *address)
{
	int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);

	must(fd >= 0, "socket");
	must(!setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one,
			 sizeof(one)), "setsockopt");
	must(!bind(fd, (struct sockaddr *)address, sizeof(*address)), "bind");
	return fd;
}

static void abort_connection(int fd)
{
	struct linger now = { .l_onoff = 1, .l_linger = 0 };

	must(!setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), "linger");
	close(fd);
}

static void expect_end(int fd)
{
	char byte;

	must(read(fd, &byte, 1) == 0, "read");
}

static void end(int way, int client, int server)
{
	switch (way) {
	case 0:
		close(client);
		expect_end(server);
		close(server);
		break;
	case 1:
		close(server);
		expect_end(client);
		close(client);
		break;
	case 2:
		abort_connection(client);
		close(server);
		break;
	default:
		close(client);
		expect_end(server);
		abort_connection(server);
	}
}

static void work(int connections, int port)
{
	struct sockaddr_in service = { .sin_family = AF_INET,
				       .sin_port = htons(port),
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in source = { .sin_family = AF_INET };
	socklen_t length = sizeof(service);
	int listener = make_socket(&service);

	must(!listen(listener, 16), "listen");
	must(!getsockname(listener, (struct sockaddr *)&service, &length),
	     "getsockname");
	for (int i = 0; i < connections; i++) {
		int client, server;

		source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + i % SOURCES);
		client = make_socket(&source);
		must(!connect(client, (struct sockaddr *)&service, length),
		     "connect");
		server = accept(listener, NULL, NULL);
		must(server >= 0, "accept");
		end(i % 4, client, server);
	}
	exit(0);
}

int main(int argc, char **argv)
{
	int workers = argc >= 3 ? atoi(argv[1]) : 0, status = 0;
	int connections = argc >= 3 ? atoi(argv[2]) : 0;
	int port = argc == 4 ? atoi(argv[3]) : 0;
	struct timespec start, stop;

	must(workers > 0, "usage: churn WORKERS CONNECTIONS [PORT]");
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (int i = 0; i < workers; i++)
		if (!fork())
			work(connections / workers, port ? port + i : 0);
	while (wait(&status) > 0)
		must(status == 0, "a worker");
	clock_gettime(CLOCK_MONOTONIC, &stop);
	printf("%.3f\n", stop.tv_sec - start.tv_sec +
			 (stop.tv_nsec - start.tv_nsec) / 1e9);
	return 0;
}
