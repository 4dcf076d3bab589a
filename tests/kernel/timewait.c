/*
 * Leaves a known number of sockets in TIME_WAIT on loopback: timewait PORT
 * COUNT. One process is client and server in turn, and the client closes
 * first. Destinations are spread over 127.0.0.1 to 127.0.0.SPREAD, so that
 * ports do not run out.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define SPREAD 50

static void must(int good, const char *what)
{
	if (good)
		return;
	perror(what);
	exit(1);
}

static void leave_one(int listener, struct sockaddr_in *to)
{
	int client = socket(AF_INET, SOCK_STREAM, 0), server;
	char byte;

	must(client >= 0, "socket");
	must(!connect(client, (struct sockaddr *)to, sizeof(*to)), "connect");
	server = accept(listener, NULL, NULL);
	must(server >= 0, "accept");
	close(client);
	must(read(server, &byte, 1) == 0, "read");
	close(server);
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	int count = argc == 3 ? atoi(argv[2]) : 0;
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	must(count > 0, "usage: timewait PORT COUNT");
	to.sin_port = htons(atoi(argv[1]));
	must(!bind(listener, (struct sockaddr *)&to, sizeof(to)), "bind");
	must(!listen(listener, 16), "listen");
	for (int i = 0; i < count; i++) {
		to.sin_addr.s_addr = htonl(INADDR_LOOPBACK + i % SPREAD);
		leave_one(listener, &to);
	}
	return 0;
}
