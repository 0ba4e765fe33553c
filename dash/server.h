/*
 * server - the port that browsers and curl meet: libwebsockets on a libuv loop of the dash's own
 * thread.
 *
 * Knows HTTP, sessions and WebSockets; what a request means is the api's (dash/api.h), what a
 * WebSocket is told is live's (dash/live.h). Everything runs on the dash's thread but what says
 * "any thread". Shell.
 */
#ifndef FLY_DASH_SERVER_H
#define FLY_DASH_SERVER_H

#include "dash/api.h"
#include "dash/http.h"
#include "dash/state.h"

/* Binds and listens; nothing is served before server_run. `config` and `state` outlive it.
 * UNAVAILABLE: the port is taken; INVALID_ARGUMENT: address, certificate, folder. */
enum fly_status server_create(struct server **out, const struct dash_config *config,
                              struct dash_state *state, struct fly_error *error);
uint16_t server_port(const struct server *server);
/* Serves until server_stop; the dash's thread. `api` answers what is not the server's own, and is
 * destroyed by this call before it returns. */
void server_run(struct server *server, struct api *api);
/* Any thread. server_run returns within two seconds. */
void server_stop(struct server *server);
/* After server_run has returned, or when it never ran. */
void server_destroy(struct server *server);
/* Any thread: the state has changed. Cheap when the dash has been told already. */
void server_wake(struct server *server);
/* Any thread. */
struct dash_counters server_counters(struct server *server);

#endif
