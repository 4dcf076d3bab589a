/*
 * Makes connections on loopback: churn PORT COUNT [ask|plain] [RATE], as fast
 * as it can or so many a second.
 *
 * One process connects and closes, another accepts, reads to the end and
 * closes, so that every connection passes through all ten ordinary changes of
 * state. 4,000 connections share a source address, since the ports of one
 * address soon run out in TIME_WAIT. Prints elapsed, user and system seconds
 * of both processes together. With ask, each connection carries a question
 * and an answer. Work that the kernel does for them in softirqs is
 * in their system time as far as it ran in their context.
 */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

enum { PER_SOURCE = 4000, AHEAD = 512, BACKLOG = 4096, SIZE = 100 };

static void check(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(1);
	}
}

static struct sockaddr_in address(unsigned int number, int port)
{
	struct sockaddr_in in = { .sin_family = AF_INET };

	in.sin_port = htons(port);
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK + number);
	return in;
}

static int listen_on(int port)
{
	struct sockaddr_in in = address(0, port);
	int yes = 1, fd = socket(AF_INET, SOCK_STREAM, 0);

	check(fd, "socket");
	check(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)), "setsockopt");
	check(bind(fd, (struct sockaddr *)&in, sizeof(in)), "bind");
	check(listen(fd, BACKLOG), "listen");
	return fd;
}

static void serve(int listener, int count, int ask, atomic_int *accepted)
{
	char byte, text[SIZE];

	for (int i = 0; i < count; i++) {
		int fd = accept(listener, NULL, NULL);

		check(fd, "accept");
		atomic_fetch_add(accepted, 1);
		if (ask) {
			check(read(fd, text, SIZE), "read");
			check(write(fd, text, SIZE), "write");
		}
		check(read(fd, &byte, 1), "read");
		close(fd);
	}
}

static void open_and_close(int port, int number, int ask)
{
	char text[SIZE] = "";
	struct sockaddr_in from = address(1 + number / PER_SOURCE, 0);
	struct sockaddr_in to = address(0, port);
	int yes = 1, fd = socket(AF_INET, SOCK_STREAM, 0);

	check(fd, "socket");
	check(setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof(yes)), "setsockopt");
	check(bind(fd, (struct sockaddr *)&from, sizeof(from)), "bind");
	check(connect(fd, (struct sockaddr *)&to, sizeof(to)), "connect");
	if (ask) {
		check(write(fd, text, SIZE), "write");
		check(read(fd, text, SIZE), "read");
	}
	close(fd);
}

/* Until the i-th connection is due. */
static void wait_for_turn(struct timespec begin, int i, int rate)
{
	long long due;

	if (!rate)
		return;
	due = begin.tv_sec * 1000000000LL + begin.tv_nsec + i * 1000000000LL / rate;
	begin.tv_sec = due / 1000000000LL;
	begin.tv_nsec = due % 1000000000LL;
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &begin, NULL))
		;
}

static double seconds(struct timeval one, struct timeval other)
{
	return one.tv_sec + other.tv_sec + (one.tv_usec + other.tv_usec) / 1e6;
}

static void report(struct timespec begin)
{
	struct timespec end;
	struct rusage own, child;

	clock_gettime(CLOCK_MONOTONIC, &end);
	getrusage(RUSAGE_SELF, &own);
	getrusage(RUSAGE_CHILDREN, &child);
	printf("%.6f %.6f %.6f\n", end.tv_sec - begin.tv_sec + (end.tv_nsec - begin.tv_nsec) / 1e9,
	       seconds(own.ru_utime, child.ru_utime), seconds(own.ru_stime, child.ru_stime));
}

int main(int argc, char **argv)
{
	int port = argc >= 3 ? atoi(argv[1]) : 0, count = argc >= 3 ? atoi(argv[2]) : 0;
	int ask = argc > 3 && !strcmp(argv[3], "ask"), rate = argc > 4 ? atoi(argv[4]) : 0;
	atomic_int *accepted = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct timespec begin;
	int listener, status;
	pid_t server;

	if (!port || !count || accepted == MAP_FAILED) {
		fprintf(stderr, "usage: churn PORT COUNT [ask|plain] [RATE]\n");
		return 2;
	}
	listener = listen_on(port);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	server = fork();
	check(server, "fork");
	if (!server) {
		serve(listener, count, ask, accepted);
		_exit(0);
	}
	/* a full backlog would drop ACKs, and the rest be waiting for timers */
	for (int i = 0; i < count; i++) {
		while (i - atomic_load(accepted) > AHEAD)
			sched_yield();
		wait_for_turn(begin, i, rate);
		open_and_close(port, i, ask);
	}
	check(waitpid(server, &status, 0), "waitpid");
	report(begin);
	return status != 0;
}
