/*
 * builtin - the services that every server can offer of itself: health, reflection, metrics.
 *
 * proto/fly/v1/{health,reflection,metrics}.proto. Each rpc_builtin_* gives a service for
 * rpc_server_config.services.
 */
#ifndef FLY_RPC_BUILTIN_H
#define FLY_RPC_BUILTIN_H

#include <stddef.h>

#include "proto/base/status.h"
#include "proto/rpc/method.h"

/* Who is serving: Health.Check and Health.Watch answer from it (grpc.health.v1: an unknown service
 * is NOT_FOUND to Check, SERVICE_UNKNOWN to Watch). Any thread. */
struct rpc_health_board;

/* Values are those of HealthCheckResponse.ServingStatus. */
enum rpc_serving { RPC_SERVING_UNKNOWN, RPC_SERVING, RPC_NOT_SERVING, RPC_SERVICE_UNKNOWN };

enum { RPC_HEALTH_SERVICES_MAX = 64, RPC_HEALTH_WATCHES_MAX = 1024, RPC_HEALTH_NAME_SIZE = 128 };

/* The empty name, the server as a whole, is SERVING from the start. */
enum fly_status rpc_health_board_create(struct rpc_health_board **out, struct fly_error *error);
/* After its server was destroyed. NULL is fine. */
void rpc_health_board_destroy(struct rpc_health_board *board);
/* Tells every watch of that service; SERVICE_UNKNOWN forgets it. RESOURCE_EXHAUSTED:
 * RPC_HEALTH_SERVICES_MAX. INVALID_ARGUMENT: the name takes RPC_HEALTH_NAME_SIZE bytes or more.
 * Never from a callback of a call. */
enum fly_status rpc_health_board_set(struct rpc_health_board *board, const char *service,
                                     enum rpc_serving status);
/* All services, the empty name too: NOT_SERVING for good, whatever is set later. At the start of a
 * drain. */
void rpc_health_board_shutdown(struct rpc_health_board *board);
/* fly.v1.Health. Echo is served as well. */
struct rpc_service rpc_builtin_health(struct rpc_health_board *board);

/* fly.v1.Reflection over `services` (borrowed; itself is added to what it lists). Of a service
 * only name and descriptor are looked at. INTERNAL: a descriptor does not parse. */
struct rpc_reflection;
enum fly_status rpc_reflection_create(struct rpc_reflection **out,
                                      const struct rpc_service *services, size_t count,
                                      struct fly_error *error);
void rpc_reflection_destroy(struct rpc_reflection *reflection);
struct rpc_service rpc_builtin_reflection(struct rpc_reflection *reflection);

/* fly.v1.Metrics: the text of the server that is asked. */
struct rpc_service rpc_builtin_metrics(void);

#endif
