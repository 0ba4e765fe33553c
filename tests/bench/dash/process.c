#include "tests/bench/dash/process.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct process_usage process_usage(pid_t pid)
{
    struct process_usage u = {.cpu_s = 0};
    char path[64];
    char line[1024];
    unsigned long user = 0;
    unsigned long kernel = 0;

    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    if (file != NULL && fgets(line, sizeof line, file) != NULL && strrchr(line, ')') != NULL) {
        (void)sscanf(strrchr(line, ')'), ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
                     &user, &kernel);
        u.cpu_s = (double)(user + kernel) / (double)sysconf(_SC_CLK_TCK);
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        (void)sscanf(line, "VmRSS: %ld", &u.rss_kib);
        (void)sscanf(line, "VmHWM: %ld", &u.peak_kib);
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return u;
}
