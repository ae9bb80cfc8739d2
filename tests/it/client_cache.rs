//! `--client-cache`: what is answered without Redis, and that it is never what it should not be.

use std::time::Duration;

use crate::env::{Client, Delays, Program, Relay, TestGateway, TestGroup, TestRedis, wait_until};

/// How many GETs the server has run.
fn gets(redis: &TestRedis) -> u64 {
    let stats = redis.cli(&["INFO", "commandstats"]);
    let line = stats
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_get:calls="));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

#[test]
fn hits_do_not_reach_the_server() {
    let redis = TestRedis::start();
    let gateway = TestGateway::with_cache(&redis.url());
    redis.cli(&["SET", "k", "value"]);
    gateway.warm_cache("k");
    let before = gets(&redis);
    let mut client = gateway.connect();
    for _ in 0..100 {
        let answer = client.request("GET", "/v1/keys/k", &[], b"");
        assert_eq!((answer.status, answer.text()), (200, "value"));
        let tag = answer.header("etag").unwrap().to_owned();
        let answer = client.request("GET", "/v1/keys/k", &[("If-None-Match", &tag)], b"");
        assert_eq!(answer.status, 304);
        let answer = client.request("HEAD", "/v1/keys/k", &[], b"");
        assert_eq!(answer.header("content-length"), Some("5"));
        for answer in [
            client.request("GET", "/get/k", &[], b""),
            client.request("POST", "/", &[], br#"["gEt","k"]"#),
        ] {
            assert_eq!(answer.json()["result"], "value");
        }
    }
    assert_eq!(gets(&redis), before);
    assert!(gateway.cache_hits() >= 500);
    // Other commands are none of its business.
    for answer in [
        client.request("POST", "/pipeline", &[], br#"[["GET","k"],["GET","k"]]"#),
        client.request("POST", "/multi-exec", &[], br#"[["GET","k"]]"#),
    ] {
        assert_eq!(answer.json()[0]["result"], "value");
    }
    assert_eq!(gets(&redis), before + 3);
    let answer = client.request("POST", "/", &[], br#"["GET","k","k"]"#);
    assert_eq!(answer.status, 400);
}

#[test]
fn without_it_nothing_is_kept_or_tracked() {
    let redis = TestRedis::start();
    let gateway = TestGateway::over(&redis);
    redis.cli(&["SET", "k", "value"]);
    for _ in 0..10 {
        assert_eq!(gateway.get("/v1/keys/k").text(), "value");
    }
    assert_eq!(gets(&redis), 10);
    assert_eq!(gateway.gateway().upstream().cache_stats(), None);
    assert!(
        redis
            .cli(&["INFO", "clients"])
            .contains("tracking_clients:0")
    );
}

#[test]
fn a_conditional_write_leaves_other_keys_in_it() {
    let redis = TestRedis::start();
    let gateway = TestGateway::with_cache(&redis.url());
    redis.cli(&["MSET", "other", "o", "k", "value", "gone", "g"]);
    redis.cli(&["HSET", "hash", "field", "f"]);
    for key in ["other", "k", "gone"] {
        gateway.warm_cache(key);
    }
    let mut client = gateway.connect();
    let tag = |client: &mut Client, path: &str| {
        let answer = client.request("GET", path, &[], b"");
        answer.header("etag").unwrap().to_owned()
    };
    let of_k = tag(&mut client, "/v1/keys/k");
    let of_gone = tag(&mut client, "/v1/keys/gone");
    for (method, path, tag, body) in [
        ("PUT", "/v1/keys/k", &*of_k, "new"),
        ("DELETE", "/v1/keys/gone", &of_gone, ""),
    ] {
        let answer = client.request(method, path, &[("If-Match", tag)], body.as_bytes());
        assert_eq!(answer.status, 204, "{method} {path}");
    }
    assert_eq!(
        client.request("DELETE", "/v1/hashes/hash", &[], b"").status,
        204
    );
    assert_eq!(client.request("GET", "/v1/keys/k", &[], b"").text(), "new");
    assert_eq!(client.request("GET", "/v1/keys/gone", &[], b"").status, 404);
    let hits = gateway.cache_hits();
    let other = client.request("GET", "/v1/keys/other", &[], b"");
    assert_eq!((other.text(), gateway.cache_hits()), ("o", hits + 1));
    let answer = client.request("POST", "/", &[], br#"["EVAL","return 1",0]"#);
    assert_eq!(answer.status, 200);
    let hits = gateway.cache_hits();
    client.request("GET", "/v1/keys/other", &[], b"");
    assert_eq!(gateway.cache_hits(), hits);
}

#[test]
fn a_change_by_others_is_seen() {
    let redis = TestRedis::start();
    let gateway = TestGateway::with_cache(&redis.url());
    let mut client = gateway.connect();
    let mut read = || client.request("GET", "/v1/keys/k", &[], b"");
    type Change = (&'static [&'static str], Option<&'static str>);
    let changes: &[Change] = &[
        (&["SET", "k", "a"], Some("a")),
        (&["APPEND", "k", "b"], Some("firstb")),
        (&["DEL", "k"], None),
        (&["RENAME", "other", "k"], Some("other")),
        (
            &["EVAL", "return redis.call('SET','k','e')", "0"],
            Some("e"),
        ),
        (&["FLUSHALL"], None),
        (&["FLUSHDB"], None),
        (&["PEXPIRE", "k", "1"], None),
        (&["COPY", "other", "k", "REPLACE"], Some("other")),
    ];
    for (change, then) in changes {
        redis.cli(&["MSET", "k", "first", "other", "other"]);
        gateway.warm_cache("k");
        wait_until("the first value is there", || read().body == b"first");
        redis.cli(change);
        wait_until("the change is seen", || {
            let answer = read();
            let value = (answer.status == 200).then(|| answer.text().to_owned());
            assert!(
                value.as_deref() == *then || value.as_deref() == Some("first"),
                "{value:?}"
            );
            value.as_deref() == *then
        });
    }
    // That a key is not there is known as well, and ends as well.
    redis.cli(&["DEL", "k"]);
    gateway.warm_cache("k");
    assert_eq!(read().status, 404);
    redis.cli(&["SET", "k", "b"]);
    wait_until("the key is there", || read().body == b"b");
    // What is no string is not kept, and not in the way.
    redis.cli(&["DEL", "k"]);
    redis.cli(&["LPUSH", "k", "a"]);
    wait_until("it is a list", || read().status == 409);
    redis.cli(&["SET", "k", "c"]);
    wait_until("it is a string", || read().body == b"c");
}

#[test]
fn a_value_is_not_kept_beyond_its_expiry() {
    let redis = TestRedis::with(&["--enable-debug-command", "yes"]);
    // The server removes nothing by itself, and so tells of nothing.
    assert_eq!(redis.cli(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]), "OK");
    let gateway = TestGateway::with_cache(&redis.url());
    let mut client = gateway.connect();
    let mut life = 150;
    // On a slow day it may expire before it is asked for again.
    wait_until("one was given away before it expired", || {
        life *= 2;
        let before = gateway.cache_hits();
        let life = life.to_string();
        redis.cli(&["SET", &life, "value", "PX", &life]);
        let path = format!("/v1/keys/{life}");
        wait_until("it expires", || {
            client.request("GET", &path, &[], b"").status == 404
        });
        gateway.cache_hits() > before
    });
}

#[test]
fn who_has_emptied_the_database_reads_nothing() {
    let redis = TestRedis::start();
    let relay = Relay::to(
        redis.address(),
        Delays {
            commands: Duration::ZERO,
            tracking: Duration::from_millis(20),
        },
    );
    let gateway = TestGateway::with_cache(&relay.url());
    for command in ["FLUSHALL", "FLUSHDB", "SWAPDB/0/1"] {
        gateway.put("/v1/keys/k", b"1");
        gateway.warm_cache("k");
        assert_eq!(gateway.get("/v1/keys/k").text(), "1");
        assert_eq!(gateway.post(&format!("/{command}"), b"").status, 200);
        for _ in 0..10 {
            assert_eq!(gateway.get("/v1/keys/k").status, 404, "{command}");
        }
    }
}

#[test]
fn nothing_stale_survives_a_broken_connection() {
    let redis = TestRedis::start();
    let gateway = TestGateway::with_cache(&redis.url());
    let trackers = || {
        let list = redis.cli(&["CLIENT", "LIST"]);
        let tracks = |line: &&str| line.contains(" flags=t ");
        let ids = list.lines().filter(tracks).map(|line| {
            line.split_once("id=")
                .unwrap()
                .1
                .split(' ')
                .next()
                .unwrap()
                .to_owned()
        });
        ids.collect::<Vec<_>>()
    };
    for round in 0..5 {
        let (old, new) = (format!("old {round}"), format!("new {round}"));
        redis.cli(&["SET", "k", &old]);
        wait_until("the value is seen", || {
            gateway.get("/v1/keys/k").text() == old
        });
        gateway.warm_cache("k");
        let [tracker] = &trackers()[..] else {
            panic!("there is one tracking connection");
        };
        // As one, so that the server cannot tell of the write over the next connection.
        let kill = format!("CLIENT KILL ID {tracker}");
        redis.transaction(&[&kill, &format!("SET k \"{new}\"")]);
        wait_until("the write is seen", || {
            gateway.get("/v1/keys/k").text() == new
        });
        wait_until("the server tracks again", || {
            trackers().first().is_some_and(|now| now != tracker)
        });
        gateway.warm_cache("k");
        assert_eq!(gateway.get("/v1/keys/k").text(), new);
    }
}

#[test]
fn a_server_that_comes_back_empty_has_nothing() {
    let mut redis = TestRedis::start();
    let gateway = TestGateway::with_cache(&redis.url());
    gateway.put("/v1/keys/k", b"1");
    gateway.warm_cache("k");
    redis.kill();
    wait_until("the gateway has seen it", || {
        gateway.get("/v1/keys/k").status == 503
    });
    redis.restart();
    wait_until("it is there again, empty", || {
        let answer = gateway.get("/v1/keys/k");
        assert_ne!(answer.status, 200);
        answer.status == 404
    });
    gateway.put("/v1/keys/k", b"2");
    gateway.warm_cache("k");
    assert_eq!(gateway.get("/v1/keys/k").text(), "2");
}

#[test]
fn a_server_that_does_not_answer_is_not_stood_in_for() {
    let redis = TestRedis::start();
    let gateway = TestGateway::over_with(&redis, |config| {
        config.client_cache = Some(1 << 20);
        config.command_timeout = Duration::from_millis(200);
    });
    gateway.put("/v1/keys/k", b"1");
    gateway.warm_cache("k");
    redis.signal("STOP");
    // What it has to tell cannot come: within a second the cache stops to answer.
    wait_until("nothing is given away any more", || {
        matches!(gateway.get("/v1/keys/k").status, 502..=504)
    });
    let before = gateway.cache_hits();
    assert_ne!(gateway.get("/v1/keys/k").status, 200);
    assert_eq!(gateway.cache_hits(), before);
    redis.signal("CONT");
    wait_until("it answers again", || {
        gateway.get("/v1/keys/k").status == 200
    });
    gateway.warm_cache("k");
}

#[test]
fn the_bound_of_memory_holds() {
    let redis = TestRedis::start();
    let gateway = TestGateway::with_cache(&redis.url());
    let value = vec![b'x'; 10_000];
    let mut client = gateway.connect();
    for n in 0..300 {
        let path = format!("/v1/keys/{n}");
        client.request("PUT", &path, &[], &value);
        for _ in 0..4 {
            assert_eq!(client.request("GET", &path, &[], b"").body, value);
        }
        let stats = gateway.gateway().upstream().cache_stats().unwrap();
        assert!(stats.bytes <= 1 << 20, "{stats:?}");
    }
    let values = || gateway.gateway().upstream().cache_stats().unwrap().values;
    wait_until("it is as full as it may be", || {
        for n in 0..100 {
            client.request("GET", &format!("/v1/keys/{n}"), &[], b"");
        }
        values() > 90
    });
}

#[test]
fn a_failover_drops_everything() {
    let group = TestGroup::start(1, None);
    let gateway = TestGateway::with_cache(&format!("redis+sentinel://{}/main", group.sentinels()));
    gateway.put("/v1/keys/k", b"before");
    gateway.warm_cache("k");
    group.fail_over();
    let master = group.master();
    wait_until("the new master takes writes", || {
        master.cli(&["SET", "k", "after"]) == "OK"
    });
    wait_until("the gateway follows", || {
        gateway.get("/v1/keys/k").text() == "after"
    });
    gateway.warm_cache("k");
    assert_eq!(gateway.get("/v1/keys/k").text(), "after");
    gateway.put("/v1/keys/k", b"later");
    assert_eq!(gateway.get("/v1/keys/k").text(), "later");
}

#[test]
fn what_another_server_tells_is_not_listened_to() {
    let (redis, other) = (TestRedis::start(), TestRedis::start());
    let relay = Relay::parted(redis.address(), other.address(), Delays::default());
    let program = Program::start(&["--upstream", &relay.url(), "--client-cache", "1MiB"]);
    redis.cli(&["SET", "k", "1"]);
    other.cli(&["SET", "k", "another"]);
    let mut client = program.connect();
    wait_until("it is noticed", || {
        assert_eq!(
            client.request("GET", "/get/k", &[], b"").json()["result"],
            "1"
        );
        program.said().contains("commands go to another server")
    });
    let mut read = || client.request("GET", "/readyz", &[], b"").json()["client_cache"].clone();
    assert_eq!(read()["values"], 0);
    assert_eq!(read()["hits"], 0);
    assert!(read()["misses"].as_u64().unwrap() > 0);
}

#[test]
fn a_user_with_few_rights_is_enough() {
    let redis = TestRedis::start();
    let rights = "on >word ~* +get +set +pttl +ping +command +info +client|tracking";
    let rights: Vec<_> = rights.split(' ').collect();
    redis.cli(&[&["ACL", "SETUSER", "app"], &rights[..]].concat());
    let gateway = TestGateway::with_cache(&format!("redis://app:word@{}", redis.address()));
    gateway.put("/v1/keys/k", b"1");
    gateway.warm_cache("k");
    assert_eq!(gateway.get("/v1/keys/k").text(), "1");
}

#[test]
fn it_is_for_one_server() {
    let said = Program::usage_error(&["--client-cache", "64MiB"]);
    assert!(
        said.contains("--client-cache is for one Redis server"),
        "{said}"
    );
}
