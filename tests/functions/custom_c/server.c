/* A web server as a function in C, without a library but the system's: answers each event with it, in capitals. */
#include <ctype.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

static char data[1 << 20];

static void serve(int client) {
    size_t size = 0, length = 0;
    char *body = NULL;
    ssize_t got;
    while ((body == NULL || size < (size_t)(body - data) + length) &&
           (got = read(client, data + size, sizeof data - 1 - size)) > 0) {
        size += (size_t)got;
        data[size] = 0;
        if (body == NULL && (body = strstr(data, "\r\n\r\n")) != NULL) {
            char *header = strcasestr(data, "\r\nContent-Length:");
            body += 4;
            length = header != NULL && header < body ? strtoul(header + 17, NULL, 10) : 0;
        }
    }
    if (body != NULL) {
        char head[128];
        for (size_t i = 0; i < length; i++) body[i] = (char)toupper((unsigned char)body[i]);
        int written = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n", length);
        if (write(client, head, (size_t)written) < 0 || write(client, body, length) < 0) perror("write");
    }
    close(client);
}

int main(void) {
    const char *port = getenv("FC_SERVER_PORT");
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port ? port : "9000"))};
    int on = 1, server = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(server, (struct sockaddr *)&address, sizeof address) || listen(server, 64)) {
        perror("listen");
        return 1;
    }
    for (;;) {
        int client = accept(server, NULL, NULL);
        if (client >= 0) serve(client);
    }
}
