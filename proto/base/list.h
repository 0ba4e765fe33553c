/*
 * list - intrusive doubly linked list; a node is in one list or in none. Pure, header only.
 */
#ifndef FLY_BASE_LIST_H
#define FLY_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct fly_list {
    struct fly_list *next;
    struct fly_list *prev;
};

static inline void fly_list_init(struct fly_list *head)
{
    head->next = head;
    head->prev = head;
}

static inline bool fly_list_empty(const struct fly_list *head)
{
    return head->next == head;
}

static inline void fly_list_append(struct fly_list *head, struct fly_list *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

static inline void fly_list_prepend(struct fly_list *head, struct fly_list *node)
{
    fly_list_append(head->next, node); /* before the first is after the head */
}

/* Afterwards the node stands alone, so dropping it twice does no harm. */
static inline void fly_list_drop(struct fly_list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    fly_list_init(node);
}

#endif
