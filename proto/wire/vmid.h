/*
 * vmid - a VM's id: slice tag and creation number, mixed so that ids differ in their first digits.
 *
 * 60 bits: mix36(number) << 24 | tag; shown as 12 digits of Crockford base32. mix36 is a bijection,
 * so status and destroy find the slice and the number without a catalog (DESIGN 10). Pure.
 */
#ifndef FLY_WIRE_VMID_H
#define FLY_WIRE_VMID_H

#include <stdbool.h>
#include <stdint.h>

enum { VMID_DIGITS = 12, VMID_TEXT_SIZE = 13 };

#define VMID_NUMBER_MAX ((UINT64_C(1) << 36) - 1)

/* tag: 1..2^24-1; number: 1..VMID_NUMBER_MAX. */
uint64_t vmid_make(uint32_t tag, uint64_t number);
uint32_t vmid_tag(uint64_t id);
uint64_t vmid_number(uint64_t id);
void vmid_format(uint64_t id, char out[static VMID_TEXT_SIZE]);
/* All 12 digits; false on anything else. */
bool vmid_parse(const char *text, uint64_t *out);
/* "brave-heron-4821": what a VM is called that was given no name. */
void vmid_name(uint64_t id, char out[static 64]);
/* As version 1 of a slice's log names it: by the number alone, so that the first VM of every slice
 * is called the same. */
void vmid_name_1(uint64_t id, char out[static 64]);

#endif
