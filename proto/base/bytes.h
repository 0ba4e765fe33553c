/*
 * bytes - bounded little-endian cursors over memory that somebody else owns.
 *
 * A writer or reader that ran past its end turns `failed` and stays so: callers encode or decode a
 * whole record and look once. A failed reader gives zeros. Pure, no allocation.
 */
#ifndef FLY_BASE_BYTES_H
#define FLY_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A borrowed run of bytes. */
struct fly_bytes {
    const uint8_t *data;
    size_t size;
};

struct fly_writer {
    uint8_t *data;
    size_t size; /* written */
    size_t max;
    bool failed;
};

struct fly_reader {
    const uint8_t *data;
    size_t size;
    size_t offset;
    bool failed;
};

struct fly_writer fly_writer_over(void *data, size_t max);
void fly_put_u8(struct fly_writer *w, uint8_t value);
void fly_put_u16(struct fly_writer *w, uint16_t value);
void fly_put_u32(struct fly_writer *w, uint32_t value);
void fly_put_u64(struct fly_writer *w, uint64_t value);
void fly_put_bytes(struct fly_writer *w, const void *data, size_t size);
/* One length byte, then the characters: for names of at most 255 bytes (FLY_CHECKed). */
void fly_put_string8(struct fly_writer *w, const char *text);

struct fly_reader fly_reader_over(const void *data, size_t size);
uint8_t fly_get_u8(struct fly_reader *r);
uint16_t fly_get_u16(struct fly_reader *r);
uint32_t fly_get_u32(struct fly_reader *r);
uint64_t fly_get_u64(struct fly_reader *r);
/* Borrows `size` bytes of the reader's memory; NULL when they are not there. */
const uint8_t *fly_get_bytes(struct fly_reader *r, size_t size);
void fly_get_copy(struct fly_reader *r, void *out, size_t size);
/* Reads what fly_put_string8 wrote into out[max], NUL-terminated; fails when it does not fit or
 * holds a NUL. */
void fly_get_string8(struct fly_reader *r, char *out, size_t max);
size_t fly_reader_left(const struct fly_reader *r);
/* Nothing failed and nothing is left over. */
bool fly_reader_done(const struct fly_reader *r);

uint32_t fly_load_u32(const uint8_t *p);
uint64_t fly_load_u64(const uint8_t *p);
void fly_store_u32(uint8_t *p, uint32_t value);
void fly_store_u64(uint8_t *p, uint64_t value);

/* Copies a C string into out[max], cut to fit, always terminated. Returns false when it was cut. */
bool fly_copy_string(char *out, size_t max, const char *text);

#endif
