/*
 * poller - a few threads that wait for sockets, and read them themselves.
 *
 * The thread that finds a socket ready runs its entry's `ready`, and whatever handlers that leads
 * to: no hand-over to another thread. Level-triggered. An entry belongs to one thread for life, so
 * nothing of it runs twice at a time. The threads start with the first entry and end with
 * poller_stop, which the timer calls when its last holder goes.
 */
#ifndef FLY_RPC_POLLER_H
#define FLY_RPC_POLLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

enum { POLLER_BUFFER_SIZE = 64 * 1024, POLLER_THREADS_MAX = 4 };

struct poller_entry {
    void (*ready)(struct poller_entry *entry, uint32_t events);
    int fd;
    int epoll; /* of its thread, by poller_add */
};

/* `events` of epoll; EPOLLHUP and EPOLLERR always count. False: out of descriptors, memory or
 * threads. Any thread; `ready` may run before this returns. */
bool poller_add(struct poller_entry *entry, int fd, uint32_t events);
/* Any thread, while it is added. */
void poller_change(struct poller_entry *entry, uint32_t events);
/* Only in its `ready`, which does not run again: the entry may be freed and the fd closed. */
void poller_remove(struct poller_entry *entry);

/* POLLER_BUFFER_SIZE bytes of this poller thread, free between two `ready`. */
uint8_t *poller_buffer(void);

/* Joins the threads. No entry is left, and none is added meanwhile. */
void poller_stop(void);

#endif
