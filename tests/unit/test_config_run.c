/* config_run: what `flynode run` takes, what follows from it, and what it says to mistakes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "node/config.h"
#include "proto/wire/credential.h"

/* No file of this machine and no variable of this shell. */
static void load(struct node_config *c)
{
    struct fly_error error;

    assert_int_equal(setenv("XDG_CONFIG_HOME", "/nonexistent", 1), 0);
    assert_int_equal(config_load_run(c, &error), FLY_OK);
}

/* "key=value key=value", without blanks in values; "@" stands for a blank. */
static enum fly_status set_all(struct node_config *c, const char *text, struct fly_error *error)
{
    char all[1024];
    char *key = all;

    (void)snprintf(all, sizeof all, "%s", text);
    while (*key != '\0') {
        char *end = key + strcspn(key, " ");
        char *value = strchr(key, '=');
        char *next = *end == ' ' ? end + 1 : end;
        assert_non_null(value);
        *end = '\0';
        *value++ = '\0';
        for (char *p = value; *p != '\0'; p++) {
            *p = *p == '@' ? ' ' : *p;
        }
        enum fly_status status = config_set(c, key, value, error);
        if (status != FLY_OK) {
            return status;
        }
        key = next;
    }
    return FLY_OK;
}

static void test_defaults(void **state)
{
    struct node_config c;
    struct config_run r;
    struct fly_error error;

    (void)state;
    load(&c);
    assert_int_equal(config_check_run(&c, &r, &error), FLY_OK);
    assert_string_equal(r.rpc.host, "127.0.0.1");
    assert_int_equal(r.rpc.port, 7401);
    assert_int_equal(r.gossip.port, 7400);
    assert_int_equal(r.pub.port, 7402);
    assert_string_equal(r.advertise, "127.0.0.1");
    assert_true(r.loopback);
    assert_true(r.beacon);
    assert_false(r.host);
    assert_false(r.reserve_told);
    assert_int_equal(r.roles, 0);
    assert_int_equal(r.share, 1);
    assert_int_equal(r.shares, 1);
    assert_int_equal(r.region_count, 0);
    assert_int_equal(r.join_count, 0);
    assert_int_equal(r.flush_interval_ms, 50);
    assert_string_equal(c.machines, "");
}

static void test_addresses(void **state)
{
    static const struct {
        const char *what;
        const char *set;
        const char *rpc;
        const char *gossip;
        const char *pub;
        const char *advertise;
        bool loopback;
    } rows[] = {
        {"a port moves all three", "rpc=127.0.0.1:7411", "127.0.0.1:7411", "127.0.0.1:7410",
         "127.0.0.1:7412", "127.0.0.1", true},
        {"an address moves all three", "rpc=10.0.0.5", "10.0.0.5:7401", "10.0.0.5:7400",
         "10.0.0.5:7402", "10.0.0.5", false},
        {"a url", "rpc=tcp://10.0.0.5:9", "10.0.0.5:9", "10.0.0.5:8", "10.0.0.5:10", "10.0.0.5",
         false},
        {"a url of the cluster's form", "rpc=tls+tcp://10.0.0.5", "10.0.0.5:7401", "10.0.0.5:7400",
         "10.0.0.5:7402", "10.0.0.5", false},
        {"advertise alone", "advertise=10.0.0.5", "10.0.0.5:7401", "10.0.0.5:7400", "10.0.0.5:7402",
         "10.0.0.5", false},
        {"everywhere, advertised", "rpc=0.0.0.0 advertise=10.0.0.5", "0.0.0.0:7401", "0.0.0.0:7400",
         "0.0.0.0:7402", "10.0.0.5", false},
        {"IPv6 without a port", "rpc=fd00:0::5", "[fd00::5]:7401", "[fd00::5]:7400",
         "[fd00::5]:7402", "fd00::5", false},
        {"IPv6 in brackets", "rpc=[::1]", "[::1]:7401", "[::1]:7400", "[::1]:7402", "::1", true},
        {"IPv6 with a port", "rpc=[::1]:20", "[::1]:20", "[::1]:19", "[::1]:21", "::1", true},
        {"IPv4 in IPv6", "rpc=::ffff:127.1.2.3", "127.1.2.3:7401", "127.1.2.3:7400",
         "127.1.2.3:7402", "127.1.2.3", true},
        {"any free port", "rpc=127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0",
         "127.0.0.1", true},
        {"each told", "rpc=10.0.0.5:1 gossip=10.0.0.5:2 pub=tcp://10.0.0.5:3", "10.0.0.5:1",
         "10.0.0.5:2", "10.0.0.5:3", "10.0.0.5", false},
        {"a gossip address takes the default port", "gossip=127.0.0.1", "127.0.0.1:7401",
         "127.0.0.1:7400", "127.0.0.1:7402", "127.0.0.1", true},
        {"all addresses of IPv6 for IPv4", "rpc=[::] advertise=10.0.0.5", "[::]:7401", "[::]:7400",
         "[::]:7402", "10.0.0.5", false},
    };
    struct node_config c;
    struct config_run r;
    struct fly_error error;
    char text[CONFIG_ADDRESS_TEXT_SIZE];

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        load(&c);
        assert_int_equal(set_all(&c, rows[i].set, &error), FLY_OK);
        if (config_check_run(&c, &r, &error) != FLY_OK) {
            fail_msg("%s: %s", rows[i].what, error.text);
        }
        const struct {
            const struct config_address *has;
            const char *wanted;
        } three[] = {{&r.rpc, rows[i].rpc}, {&r.gossip, rows[i].gossip}, {&r.pub, rows[i].pub}};
        for (size_t k = 0; k < 3; k++) {
            config_address_format(three[k].has->host, three[k].has->port, text);
            if (strcmp(text, three[k].wanted) != 0) {
                fail_msg("%s: %s, not %s", rows[i].what, text, three[k].wanted);
            }
        }
        assert_string_equal(r.advertise, rows[i].advertise);
        if (r.loopback != rows[i].loopback) {
            fail_msg("%s: loopback", rows[i].what);
        }
    }
}

/* Where a dashboard listens, and how. */
static void test_http(void **state)
{
    static const struct {
        const char *what;
        const char *set;
        const char *address; /* NULL: off */
        bool https;
        bool told;
    } rows[] = {
        {"beside rpc", "", "127.0.0.1:7403", false, false},
        {"a port of rpc moves it", "rpc=127.0.0.1:7411", "127.0.0.1:7413", false, false},
        {"any free port", "rpc=127.0.0.1:0", "127.0.0.1:0", false, false},
        {"no port beside it", "rpc=127.0.0.1:65534", "127.0.0.1:7403", false, false},
        {"off loopback only https", "rpc=10.0.0.5", "10.0.0.5:7403", true, false},
        {"everywhere", "rpc=0.0.0.0 advertise=10.0.0.5", "0.0.0.0:7403", true, false},
        {"off", "http=off", NULL, false, false},
        {"off for who is no dash", "roles=peer http=off", NULL, false, false},
        {"elsewhere", "rpc=10.0.0.5 http=127.0.0.1:80", "127.0.0.1:80", false, true},
        {"the default port", "rpc=10.0.0.5:9 http=[::1]", "[::1]:7403", false, true},
        {"https on loopback", "http=https://127.0.0.1:443", "127.0.0.1:443", true, true},
        {"a certificate of its own", "http=127.0.0.1 http-cert=/c http-key=/k", "127.0.0.1:7403",
         true, true},
        {"insecure", "http=http://10.0.0.5 http-insecure=on", "10.0.0.5:7403", false, true},
        {"insecure by the default address", "rpc=10.0.0.5 http-insecure=on", "10.0.0.5:7403", false,
         false},
        {"insecure is no reason against https", "http=https://10.0.0.5 http-insecure=on",
         "10.0.0.5:7403", true, true},
    };
    struct node_config c;
    struct config_run r;
    struct fly_error error;
    char text[CONFIG_ADDRESS_TEXT_SIZE];

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        load(&c);
        assert_int_equal(set_all(&c, rows[i].set, &error), FLY_OK);
        if (config_check_run(&c, &r, &error) != FLY_OK) {
            fail_msg("%s: %s", rows[i].what, error.text);
        }
        config_address_format(r.http.address.host, r.http.address.port, text);
        if (r.http.on != (rows[i].address != NULL) ||
            (r.http.on && (strcmp(text, rows[i].address) != 0 || r.http.https != rows[i].https ||
                           r.http.told != rows[i].told))) {
            fail_msg("%s: %s https %d told %d", rows[i].what, text, r.http.https, r.http.told);
        }
    }
    load(&c);
    assert_int_equal(set_all(&c,
                             "autospawn=sin,@nrt autospawn-token-file=/t vms-max=12 "
                             "launches-per-minute=7",
                             &error),
                     FLY_OK);
    assert_int_equal(config_check_run(&c, &r, &error), FLY_OK);
    assert_string_equal(r.http.autospawn, "SIN,NRT");
    assert_int_equal(r.http.vms_max, 12);
    assert_int_equal(r.http.launches_per_minute, 7);
}

static void test_values(void **state)
{
    struct node_config c;
    struct config_run r;
    struct fly_error error;

    (void)state;
    load(&c);
    assert_int_equal(
        set_all(&c,
                "roles=edge,peer name=n-1 region=sin machines=/m.csv share=3/3 regions=sin,@Nrt "
                "host=on host-reserve=2/1.5GB flush-interval=5ms beacon=off "
                "join=10.0.0.1,[fd00::5]:9 join=10.0.0.2:8",
                &error),
        FLY_OK);
    if (config_check_run(&c, &r, &error) != FLY_OK) {
        fail_msg("%s", error.text);
    }
    assert_int_equal(r.roles, NODE_ROLE_PEER | NODE_ROLE_EDGE);
    assert_string_equal(r.name, "n-1");
    assert_string_equal(r.region, "SIN");
    assert_int_equal(r.share, 3);
    assert_int_equal(r.shares, 3);
    assert_int_equal(r.region_count, 2);
    assert_string_equal(r.regions[0], "SIN");
    assert_string_equal(r.regions[1], "NRT");
    assert_true(r.host);
    assert_true(r.reserve_told);
    assert_int_equal(r.reserve_cores, 2);
    assert_int_equal(r.reserve_memory_bytes, 1500000000);
    assert_int_equal(r.flush_interval_ms, 5);
    assert_false(r.beacon);
    assert_int_equal(r.join_count, 3);
    assert_string_equal(r.joins[0].host, "10.0.0.1");
    assert_int_equal(r.joins[0].port, 7400);
    assert_string_equal(r.joins[1].host, "fd00::5");
    assert_int_equal(r.joins[1].port, 9);
    assert_int_equal(r.joins[2].port, 8);
    assert_int_equal(set_all(&c, "host-reserve=0/0", &error), FLY_OK);
    assert_int_equal(config_check_run(&c, &r, &error), FLY_OK);
    assert_int_equal(r.reserve_memory_bytes, 0);
}

static void test_refused(void **state)
{
    static const struct {
        const char *set;
        const char *says;
    } rows[] = {
        {"roles=king", "roles 'king' is not a list of peer, edge, dash, admit"},
        {"roles=edge machines=/m", "machines needs the role peer"},
        {"roles=edge host=on", "host needs the role peer"},
        {"name=Bob", "name 'Bob'"},
        {"region=S", "region 'S'"},
        {"region=S-N", "region 'S-N'"},
        {"rpc=localhost", "rpc 'localhost' is not ADDR"},
        {"rpc=10.0.0.5:65536", "rpc '10.0.0.5:65536'"},
        {"rpc=10.0.0.5:", "rpc '10.0.0.5:'"},
        {"rpc=10.0.0.5:-1", "rpc '10.0.0.5:-1'"},
        {"rpc=[10.0.0.5]:1", "rpc '[10.0.0.5]:1'"},
        {"rpc=[::1", "rpc '[::1'"},
        {"rpc=[::1]7", "rpc '[::1]7'"},
        {"rpc=224.0.0.1", "rpc '224.0.0.1'"},
        {"rpc=fe80::1", "rpc 'fe80::1'"},
        {"rpc=ipc:///x", "rpc 'ipc:///x'"},
        {"gossip=nowhere", "gossip 'nowhere'"},
        {"pub=127.0.0.1:7401", "rpc and pub have the same port 7401"},
        {"rpc=127.0.0.1:65535", "tell --pub too"},
        {"rpc=127.0.0.1:1", "tell --gossip too"},
        {"rpc=0.0.0.0", "rpc 0.0.0.0:7401 is every address of this host: tell others one of them "
                        "with --advertise ADDR"},
        {"rpc=[::]:5", "rpc [::]:5 is every address"},
        {"advertise=0.0.0.0", "advertise '0.0.0.0' is not a numeric address"},
        {"advertise=host.example", "advertise 'host.example'"},
        {"advertise=10.0.0.5:7401", "without a port"},
        {"rpc=127.0.0.1 advertise=10.0.0.5",
         "rpc 127.0.0.1:7401 is on loopback: others that are told 10.0.0.5 cannot reach it"},
        {"rpc=10.0.0.5 gossip=127.0.0.1", "gossip 127.0.0.1:7400 is not on rpc's address 10.0.0.5"},
        {"rpc=0.0.0.0 advertise=fd00::5", "both must be of one kind"},
        {"join=peer-1", "join 'peer-1'"},
        {"join=10.0.0.1,,10.0.0.2", "join "},
        {"join=10.0.0.1:0", "join '10.0.0.1:0'"},
        {"share=1/3", "share needs --machines FILE"},
        {"regions=SIN", "regions needs --machines FILE"},
        {"machines=/m share=0/3", "share '0/3' is not K/N with 1 <= K <= N <= 1024, such as 1/3"},
        {"machines=/m share=4/3", "share '4/3'"},
        {"machines=/m share=1/1025", "share '1/1025'"},
        {"machines=/m share=1", "share '1'"},
        {"machines=/m share=1/3/5", "share '1/3/5'"},
        {"machines=/m share=@1/3", "share ' 1/3'"},
        {"machines=/m regions=SIN,sin", "regions names SIN twice"},
        {"machines=/m regions=SIN,", "regions 'SIN,'"},
        {"host-reserve=1/1GB", "host-reserve needs --host"},
        {"host=on host-reserve=1", "host-reserve '1'"},
        {"host=on host-reserve=1/x", "host-reserve '1/x'"},
        {"host=on host-reserve=-1/1GB", "host-reserve '-1/1GB'"},
        {"flush-interval=0ms", "flush-interval '0ms' is not from 1ms to 10s"},
        {"flush-interval=11s", "flush-interval '11s'"},
        {"flush-interval=50", "flush-interval '50'"},
        {"http=localhost", "http 'localhost' is not off, ADDR or ADDR:PORT"},
        {"http=tcp://127.0.0.1:7403", "http 'tcp://127.0.0.1:7403'"},
        {"http=http://http://127.0.0.1", "http 'http://http://127.0.0.1'"},
        {"http=127.0.0.1:70000", "http '127.0.0.1:70000'"},
        {"http=127.0.0.1:7401", "http and rpc have the same port 7401"},
        {"http=127.0.0.1:7402", "http and pub have the same port 7402"},
        {"http=http://10.0.0.5:80", "http 10.0.0.5:80 is not on loopback: tokens would travel"},
        {"http=http://0.0.0.0", "http 0.0.0.0:7403 is not on loopback"},
        {"roles=peer http=127.0.0.1", "http needs the role dash, and the roles of this node are"},
        {"http-cert=/c", "http-cert is of no use without http-key"},
        {"http-key=/k", "http-key is of no use without http-cert"},
        {"http=http://127.0.0.1 http-cert=/c http-key=/k", "http-cert is told: leave one out"},
        {"launches-per-minute=0", "launches-per-minute '0' is not a number from 1 to 100000"},
        {"launches-per-minute=ten", "launches-per-minute 'ten'"},
        {"vms-max=-1", "vms-max '-1' is not a number from 0"},
        {"vms-max=", "vms-max ''"},
        {"autospawn=SIN", "autospawn needs --autospawn-token-file"},
        {"autospawn-token-file=/t", "autospawn-token-file is of no use without autospawn"},
        {"autospawn=SIN,,NRT autospawn-token-file=/t", "autospawn 'SIN,,NRT'"},
        {"log-level=loud", "log-level 'loud'"},
        {"state=", "state is empty"},
    };
    struct node_config c;
    struct config_run r;
    struct fly_error error;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        load(&c);
        assert_int_equal(set_all(&c, rows[i].set, &error), FLY_OK);
        if (config_check_run(&c, &r, &error) != FLY_INVALID_ARGUMENT) {
            fail_msg("%s is taken", rows[i].set);
        }
        if (strstr(error.text, rows[i].says) == NULL) {
            fail_msg("%s: '%s' does not say '%s'", rows[i].set, error.text, rows[i].says);
        }
    }
    load(&c);
    assert_int_equal(set_all(&c, "machines=/m", &error), FLY_OK);
    assert_int_equal(config_check_roles(&c, NODE_ROLE_EDGE, &error), FLY_INVALID_ARGUMENT);
    assert_int_equal(config_check_roles(&c, NODE_ROLE_ALL, &error), FLY_OK);
    assert_int_equal(config_set(&c, "host", "maybe", &error), FLY_INVALID_ARGUMENT);
    assert_string_equal(error.text, "host 'maybe' is not on or off");
}

static void test_sources(void **state)
{
    char dir[256];
    char path[512];
    struct node_config c;
    struct config_run r;
    struct fly_error error;

    (void)state;
    (void)snprintf(dir, sizeof dir, "%s/test-config-run-XXXXXX", FLY_BINARY);
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/flylight", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    (void)snprintf(path, sizeof path, "%s/flylight/flynode.json", dir);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(
        fputs("{\"join\": \"10.0.0.1, 10.0.0.2\", \"host\": true, \"beacon\": false}", file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(setenv("XDG_CONFIG_HOME", dir, 1), 0);
    assert_int_equal(config_load_run(&c, &error), FLY_OK);
    assert_int_equal(config_check_run(&c, &r, &error), FLY_OK);
    assert_int_equal(r.join_count, 2);
    assert_true(r.host);
    assert_false(r.beacon);

    assert_int_equal(setenv("FLYNODE_JOIN", "10.0.0.3", 1), 0);
    assert_int_equal(config_load_run(&c, &error), FLY_OK);
    assert_int_equal(config_check_run(&c, &r, &error), FLY_OK);
    assert_int_equal(r.join_count, 1);
    assert_string_equal(r.joins[0].host, "10.0.0.3");

    assert_int_equal(config_set(&c, "join", "10.0.0.4", &error), FLY_OK);
    assert_int_equal(config_set(&c, "join", "10.0.0.5", &error), FLY_OK);
    assert_int_equal(config_check_run(&c, &r, &error), FLY_OK);
    assert_int_equal(r.join_count, 2);
    assert_string_equal(r.joins[0].host, "10.0.0.4");
    assert_int_equal(unsetenv("FLYNODE_JOIN"), 0);

    assert_int_equal(setenv("FLYNODE_HOST", "perhaps", 1), 0);
    assert_int_equal(config_load_run(&c, &error), FLY_INVALID_ARGUMENT);
    assert_string_equal(error.text, "FLYNODE_HOST: host 'perhaps' is not on or off");
    assert_int_equal(unsetenv("FLYNODE_HOST"), 0);

    for (int i = 0; i <= CONFIG_JOIN_MAX; i++) {
        assert_int_equal(config_set(&c, "join", "10.0.0.4", &error), FLY_OK);
    }
    assert_int_equal(config_check_run(&c, &r, &error), FLY_INVALID_ARGUMENT);
    assert_string_equal(error.text, "join has more than 32 addresses");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults), cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_values),   cmocka_unit_test(test_refused),
        cmocka_unit_test(test_sources),  cmocka_unit_test(test_http),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
