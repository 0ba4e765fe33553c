/*
 * tls - what a side of a tls+tcp:// connection shows and whom it believes. Both configs take it.
 *
 * TLS 1.2 or 1.3: it keeps strangers from reading and changing bytes. Who a node is, HELLO proves;
 * a user client has no certificate at all.
 */
#ifndef FLY_RPC_TLS_H
#define FLY_RPC_TLS_H

#include <stdbool.h>

/* PEM texts in memory, parsed before the function that takes them returns. NULL: none. */
struct rpc_tls {
    const char *ca_pem;
    const char *cert_pem; /* servers need one, with its key */
    const char *key_pem;  /* EC P-256 is the quickest that all know */
    /* Clients, when they verify: a DNS name of the server's certificate. Never an address:
     * those are not looked at. */
    const char *server_name;
    /* The other side's certificate must be signed by a CA of ca_pem. false: not looked at. */
    bool verify_peer;
};

#endif
