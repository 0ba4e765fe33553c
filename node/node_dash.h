/*
 * node_dash - the dashboard of a node with the role dash: made from the node's settings, and told
 * what the node knows.
 *
 * It is a client of the cluster (decision 8): all it gets from here is the regions, the machines as
 * the catalog is told of them, the members, and where edges are; and whom a token speaks for, by
 * its own gate. Without a dashboard every call does nothing. Shell; the loop's thread.
 */
#ifndef FLY_NODE_NODE_DASH_H
#define FLY_NODE_NODE_DASH_H

#include "node/slice/owner.h"
#include "node/streams.h"
#include "proto/base/status.h"

struct node;

/* Listens, when the node has the role and --http is not off. UNAVAILABLE: the port that --http
 * names is taken (one that nobody named is gone without, with a warning); FAILED_PRECONDITION,
 * INVALID_ARGUMENT: certificate, folder, token file. */
enum fly_status node_dash_open(struct node *n, struct fly_error *error);
/* Says good-bye to browsers; waits for its threads, at most 2 s. */
void node_dash_close(struct node *n);
/* For streams_config. */
struct streams_observer node_dash_observer(struct node *n);
/* The directory was filled anew. */
void node_dash_members(struct node *n, struct owner_now now);
void node_dash_turn(struct node *n, struct owner_now now);
int64_t node_dash_deadline(const struct node *n);
/* Its url for people; "": there is none. */
const char *node_dash_url(const struct node *n);
/* What gossip tells of it: 0 when others could not reach it. */
uint16_t node_dash_told_port(const struct node *n);
bool node_dash_https(const struct node *n);

#endif
