/*
 * check - a slice's log through the journal's own reader and through apply(). Changes nothing.
 */
#ifndef FLY_NODE_CHECK_H
#define FLY_NODE_CHECK_H

#include <stdbool.h>

#include "node/slice/journal.h"
#include "node/slice/state.h"

/* Walks the log in `dir` and fills what was found, as far as it got. FLY_OK: it is sound. Errors as
 * journal_check. */
enum fly_status check_log(const char *dir, struct journal_report *report, struct slice_totals *sum,
                          struct fly_error *error);
/* Whether an entry of DIR/slices is named as a slice is. */
bool check_slice_name(const char *name);

#endif
