/* journal on a bad disk: full, failing, killed. The same program is the driver that runs under
 * strace's fault injection: `test_journal_disk drive DIR COUNT WAVE`. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "journal_room.h"

#include <inttypes.h>

static struct room room;

/* Appends entries until `count` are applied, waves of `wave`, reopening after each failure. */
static int drive(const char *dir, uint64_t count, uint64_t wave)
{
    unsigned opens = 0, refused = 0;
    room_init(&room, FLY_BINARY, "drive");
    room_wipe(room.dir);
    snprintf(room.dir, sizeof room.dir, "%s", dir);
    while (opens < 50) {
        opens++;
        room.fails = 0;
        enum fly_status status = room_open(&room);
        if (status != FLY_OK) {
            printf("open %s: %s\n", fly_status_name(status), room.error.text);
            room_drain(&room);
            usleep(20000);
            continue;
        }
        room_lead_wait(&room);
        printf("lead term=%" PRIu64 " count=%" PRIu64 "\n", room.led_term, room.toy.count);
        while (room.fails == 0 && room.toy.count < count) {
            uint64_t from = room.toy.count;
            for (uint64_t i = 1; i <= wave && from + i <= count; i++) {
                refused += room_append(&room, from + i) != FLY_OK;
            }
            room_run_until(&room, from + wave < count ? from + wave : count);
        }
        if (room.fails > 0) {
            printf("failed %s: %s\n", fly_status_name(room.failure.status), room.failure.text);
        }
        printf("applied %" PRIu64 "\n", room.toy.count);
        fflush(stdout);
        room_close(&room);
        if (room.fails == 0) {
            printf("done opens=%u refused=%u hash=%016" PRIx64 "\n", opens, refused,
                   room.toy.hash);
            return uv_loop_close(&room.loop);
        }
    }
    return 1;
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "drive") == 0) {
        return drive(argv[2], strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10));
    }
    return 0;
}
