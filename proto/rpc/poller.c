#include "proto/rpc/poller.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "proto/base/check.h"

enum { EVENTS_MAX = 64 };

struct poller {
    pthread_t thread;
    int epoll;
    int stop; /* an eventfd: the thread ends */
    uint8_t *buffer;
};

static struct {
    pthread_mutex_t lock;
    struct poller items[POLLER_THREADS_MAX];
    unsigned count; /* 0: not running */
    unsigned next;
} pollers = {.lock = PTHREAD_MUTEX_INITIALIZER};

static _Thread_local uint8_t *buffer;

uint8_t *poller_buffer(void)
{
    return buffer;
}

static void *run_thread(void *user)
{
    struct poller *poller = user;
    struct epoll_event events[EVENTS_MAX];

    buffer = poller->buffer;
    for (;;) {
        int count = epoll_wait(poller->epoll, events, EVENTS_MAX, -1);
        FLY_CHECK(count >= 0 || errno == EINTR);
        for (int i = 0; i < count; i++) {
            struct poller_entry *entry = events[i].data.ptr;
            if (entry == NULL) {
                return NULL;
            }
            entry->ready(entry, events[i].events);
        }
    }
}

static void poller_fini(struct poller *poller)
{
    if (poller->epoll >= 0) {
        (void)close(poller->epoll);
    }
    if (poller->stop >= 0) {
        (void)close(poller->stop);
    }
    free(poller->buffer);
}

static bool poller_init(struct poller *poller)
{
    struct epoll_event stop = {.events = EPOLLIN};

    poller->epoll = epoll_create1(EPOLL_CLOEXEC);
    poller->stop = eventfd(0, EFD_CLOEXEC);
    poller->buffer = malloc(POLLER_BUFFER_SIZE);
    if (poller->epoll < 0 || poller->stop < 0 || poller->buffer == NULL ||
        epoll_ctl(poller->epoll, EPOLL_CTL_ADD, poller->stop, &stop) != 0 ||
        pthread_create(&poller->thread, NULL, run_thread, poller) != 0) {
        poller_fini(poller);
        return false;
    }
    (void)pthread_setname_np(poller->thread, "rpc:poll");
    return true;
}

/* With the lock. As many as processors that we may run on; fewer are fine. */
static void start(void)
{
    cpu_set_t set;
    int wanted = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;

    wanted = wanted < POLLER_THREADS_MAX ? wanted : POLLER_THREADS_MAX;
    while (pollers.count < (unsigned)wanted && poller_init(&pollers.items[pollers.count])) {
        pollers.count++;
    }
}

/* The epoll that the next entry goes to, or -1. */
static int choose(void)
{
    (void)pthread_mutex_lock(&pollers.lock);
    if (pollers.count == 0) {
        start();
    }
    int epoll = pollers.count == 0 ? -1 : pollers.items[pollers.next++ % pollers.count].epoll;
    (void)pthread_mutex_unlock(&pollers.lock);
    return epoll;
}

bool poller_add(struct poller_entry *entry, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = entry};

    entry->fd = fd;
    entry->epoll = choose();
    return entry->epoll >= 0 && epoll_ctl(entry->epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

void poller_change(struct poller_entry *entry, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = entry};

    FLY_CHECK(epoll_ctl(entry->epoll, EPOLL_CTL_MOD, entry->fd, &event) == 0);
}

void poller_remove(struct poller_entry *entry)
{
    struct epoll_event event = {0};

    FLY_CHECK(epoll_ctl(entry->epoll, EPOLL_CTL_DEL, entry->fd, &event) == 0);
}

void poller_stop(void)
{
    (void)pthread_mutex_lock(&pollers.lock);
    while (pollers.count > 0) {
        struct poller *poller = &pollers.items[--pollers.count];
        FLY_CHECK(eventfd_write(poller->stop, 1) == 0);
        (void)pthread_join(poller->thread, NULL);
        poller_fini(poller);
    }
    (void)pthread_mutex_unlock(&pollers.lock);
}
