/*
 * inventory_parts - what the files of inventory share: growing arrays and a set of texts.
 *
 * Part of inventory; nobody else includes it. Heap, no IO.
 */
#ifndef FLY_NODE_INVENTORY_PARTS_H
#define FLY_NODE_INVENTORY_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Room for one more of `item_size` bytes in *items (grown by doubling); false when memory is out.
 */
bool inventory_reserve(void **items, size_t *room, size_t count, size_t item_size);

/* Open addressing over FNV-1a; texts are copied. Start with `= {0}`. */
struct inventory_set {
    struct inventory_set_slot *slots;
    size_t slot_count; /* a power of two, or 0 */
    size_t used;
};

enum inventory_set_answer { INVENTORY_SET_NEW, INVENTORY_SET_THERE, INVENTORY_SET_NO_MEMORY };

/* Puts text with a number; when it is there already, *number becomes the one put first. */
enum inventory_set_answer inventory_set_put(struct inventory_set *set, const char *text,
                                            uint32_t *number);
void inventory_set_fini(struct inventory_set *set);

/* FNV-1a, 32 bits: for tables and short names, no defence against a chosen input. */
uint32_t inventory_hash(const char *text);

#endif
