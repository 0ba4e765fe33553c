/*
 * replay - runs a fuzz target over files and folders, without libFuzzer: what ctest does with the
 * committed corpus in every build. Options (-runs=0) are ignored.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    struct stat info;
    uint8_t *data = NULL;
    int replayed = 0;

    if (file != NULL && fstat(fileno(file), &info) == 0) {
        /* exactly the size of the input, so that a read past the end is seen */
        data = malloc(info.st_size > 0 ? (size_t)info.st_size : 1);
        if (data != NULL && fread(data, 1, (size_t)info.st_size, file) == (size_t)info.st_size) {
            (void)LLVMFuzzerTestOneInput(data, (size_t)info.st_size);
            replayed = 1;
        }
    }
    free(data);
    if (file != NULL) {
        (void)fclose(file);
    }
    return replayed;
}

int main(int argc, char **argv)
{
    int replayed = 0;

    for (int i = 1; i < argc; i++) {
        DIR *dir = argv[i][0] == '-' ? NULL : opendir(argv[i]);
        if (dir == NULL) {
            replayed += argv[i][0] == '-' ? 0 : replay_file(argv[i]);
            continue;
        }
        for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
            char path[4096];
            if (entry->d_name[0] != '.') {
                (void)snprintf(path, sizeof path, "%s/%s", argv[i], entry->d_name);
                replayed += replay_file(path);
            }
        }
        (void)closedir(dir);
    }
    (void)printf("%d inputs replayed\n", replayed);
    return replayed > 0 ? 0 : 1;
}
