//! A Redis Cluster: its nodes answer as one server would, also while slots move and nodes fail.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::env::{
    Answer, KEYS, Program, TestAuthority, TestCluster, TestGateway, TestRedis, wait_until,
};

fn start() -> (TestCluster, TestGateway) {
    let cluster = TestCluster::start(&[]);
    let gateway = TestGateway::at(&cluster.url());
    (cluster, gateway)
}

fn send(gateway: &TestGateway, path: &str, body: &Value) -> Answer {
    gateway.post(path, body.to_string().as_bytes())
}

/// The result of a command that has one.
fn result(gateway: &TestGateway, command: &Value) -> Value {
    let answer = send(gateway, "/", command).json();
    let result = answer.get("result");
    result
        .unwrap_or_else(|| panic!("{command}: {answer}"))
        .clone()
}

/// The error of a command that has one.
fn error(gateway: &TestGateway, command: &Value) -> String {
    let answer = send(gateway, "/", command).json();
    let error = answer.get("error").and_then(Value::as_str);
    error
        .unwrap_or_else(|| panic!("{command}: {answer}"))
        .to_owned()
}

#[test]
fn a_pipeline_is_split_by_node_and_put_together_in_order() {
    let (cluster, gateway) = start();
    let sets: Vec<_> = (0..300)
        .map(|n| json!(["SET", format!("k{n}"), n]))
        .collect();
    let answer = send(&gateway, "/pipeline", &json!(sets));
    assert_eq!(answer.json(), json!(vec![json!({"result": "OK"}); 300]));
    let gets: Vec<_> = (0..300).map(|n| json!(["GET", format!("k{n}")])).collect();
    let expected: Vec<_> = (0..300).map(|n| json!({"result": n.to_string()})).collect();
    assert_eq!(
        send(&gateway, "/pipeline", &json!(gets)).json(),
        json!(expected)
    );
    for at in 0..3 {
        let count: usize = cluster.master(at).cli(&["DBSIZE"]).parse().unwrap();
        assert!(count > 50, "node {at} has {count}");
    }
    // Commands for one key run in order; a bad one has its own answer.
    let mixed = json!([
        ["APPEND", "b", "1"],
        ["APPEND", "c", "1"],
        ["APPEND", "b", "2"],
        ["NOSUCH"],
        ["APPEND", "a", "1"],
        ["LPUSH", "b", "x"],
        ["GET", "b"],
        ["PING"],
        ["GET", "c"],
    ]);
    let answer = send(&gateway, "/pipeline", &mixed).json();
    assert_eq!(answer[6], json!({"result": "12"}));
    assert!(
        answer[3]["error"]
            .as_str()
            .unwrap()
            .starts_with("ERR unknown command")
    );
    assert!(
        answer[5]["error"]
            .as_str()
            .unwrap()
            .starts_with("WRONGTYPE")
    );
    assert_eq!(
        (&answer[7], &answer[8]),
        (&json!({"result": "PONG"}), &json!({"result": "1"}))
    );
}

#[test]
fn what_concerns_all_nodes_is_asked_of_all() {
    let (cluster, gateway) = start();
    let names: Vec<_> = (0..1_000).map(|n| format!("key:{n}")).collect();
    let sets: Vec<_> = names.iter().map(|name| json!(["SET", name, "v"])).collect();
    send(&gateway, "/pipeline", &json!(sets));
    assert_eq!(result(&gateway, &json!(["DBSIZE"])), json!(1_000));
    let mut all: Vec<String> =
        serde_json::from_value(result(&gateway, &json!(["KEYS", "key:*"]))).unwrap();
    all.sort();
    let mut sorted = names;
    sorted.sort();
    assert_eq!(all, sorted);
    // SCAN ends, and gives all of them; so does the listing.
    for listing in [false, true] {
        let (mut found, mut cursor, mut rounds) = (Vec::<String>::new(), "0".to_owned(), 0);
        loop {
            let (next, keys) = if listing {
                let page = gateway
                    .get(&format!("/v1/keys?cursor={cursor}&count=100"))
                    .json();
                (page["cursor"].clone(), page["keys"].clone())
            } else {
                let page = result(&gateway, &json!(["SCAN", cursor, "COUNT", "100"]));
                (page[0].clone(), page[1].clone())
            };
            found.extend(serde_json::from_value::<Vec<String>>(keys).unwrap());
            rounds += 1;
            cursor = match next.as_str() {
                None | Some("0") => break,
                Some(next) => next.to_owned(),
            };
            assert!(rounds < 1_000, "it does not end");
        }
        found.sort();
        found.dedup();
        assert_eq!(found, sorted, "listing: {listing}");
    }
    let sha = result(
        &gateway,
        &json!(["SCRIPT", "LOAD", "return redis.call('GET', KEYS[1])"]),
    );
    for key in KEYS {
        result(&gateway, &json!(["SET", key, key]));
        assert_eq!(
            result(&gateway, &json!(["EVALSHA", sha, "1", key])),
            json!(key)
        );
    }
    assert_eq!(result(&gateway, &json!(["FLUSHALL"])), json!("OK"));
    for at in 0..3 {
        assert_eq!(cluster.master(at).cli(&["DBSIZE"]), "0");
    }
}

#[test]
fn keys_of_several_slots_are_the_servers_own_error() {
    let (_cluster, gateway) = start();
    let [b, c, _] = KEYS;
    let crossed = "CROSSSLOT Keys in request don't hash to the same slot";
    assert_eq!(error(&gateway, &json!(["MSET", b, "1", c, "2"])), crossed);
    assert_eq!(
        result(&gateway, &json!(["MSET", "{t}1", "1", "{t}2", "2"])),
        json!("OK")
    );
    assert_eq!(
        result(&gateway, &json!(["MGET", "{t}1", "{t}2"])),
        json!(["1", "2"])
    );
    // A transaction is for one node, or for none.
    let sound = json!([["SET", "{t}1", "3"], ["INCR", "{t}1"], ["PING"]]);
    let answer = send(&gateway, "/multi-exec", &sound);
    assert_eq!(
        answer.json(),
        json!([{"result": "OK"}, {"result": 4}, {"result": "PONG"}])
    );
    let answer = send(
        &gateway,
        "/multi-exec",
        &json!([["SET", b, "1"], ["SET", c, "1"]]),
    );
    assert!(answer.text().contains(crossed), "{}", answer.text());
    assert_eq!(result(&gateway, &json!(["EXISTS", b])), json!(0));
    assert_eq!(result(&gateway, &json!(["EXISTS", c])), json!(0));
}

#[test]
fn a_slot_that_has_moved_is_followed() {
    let (cluster, gateway) = start();
    let ([b, ..], slot) = (KEYS, cluster.slot(KEYS[0]));
    let (from, to) = (cluster.master(0), cluster.master(1));
    result(&gateway, &json!(["SET", b, "1"]));
    cluster.begin_to_move(slot, from, to);
    // Still there.
    assert_eq!(result(&gateway, &json!(["INCR", b])), json!(2));
    // Not there: another key of the slot is made at the new node.
    let other = format!("{{{b}}}x");
    assert_eq!(result(&gateway, &json!(["INCR", other])), json!(1));
    assert_eq!(to.cli(&["-c", "DBSIZE"]), "1");
    // Half of them are here and half there: nobody can say before the move goes on.
    let both = json!(["MGET", b, other]);
    assert!(error(&gateway, &both).starts_with("TRYAGAIN"));
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| result(&gateway, &both));
        cluster.move_key(b, from, to);
        assert_eq!(asked.join().unwrap(), json!(["2", "1"]));
    });
    // A blocking command and a transaction follow as well.
    let list = format!("{{{b}}}l");
    result(&gateway, &json!(["LPUSH", list, "v"]));
    assert_eq!(
        result(&gateway, &json!(["BLPOP", list, "1"])),
        json!([list, "v"])
    );
    let incr = json!([["INCR", b], ["INCR", b]]);
    let answer = send(&gateway, "/multi-exec", &incr).json();
    assert_eq!(answer, json!([{"result": 3}, {"result": 4}]));
    cluster.end_move(slot, to);
    let pipeline = json!([["INCR", b], ["INCR", b], ["GET", other]]);
    let answer = send(&gateway, "/pipeline", &pipeline).json();
    assert_eq!(
        answer,
        json!([{"result": 5}, {"result": 6}, {"result": "1"}])
    );
    assert_eq!(
        result(&gateway, &json!(["BLPOP", list, "0.01"])),
        Value::Null
    );
    assert_eq!(to.cli(&["GET", b]), "6");
}

#[test]
fn a_new_node_gets_its_slots() {
    let (cluster, gateway) = start();
    let new = cluster.join();
    let ([b, ..], slot) = (KEYS, cluster.slot(KEYS[0]));
    cluster.begin_to_move(slot, cluster.master(0), &new);
    assert_eq!(result(&gateway, &json!(["INCR", b])), json!(1));
    cluster.end_move(slot, &new);
    assert_eq!(result(&gateway, &json!(["INCR", b])), json!(2));
    assert_eq!(new.cli(&["GET", b]), "2");
    wait_until("it counts as a node", || {
        let nodes = gateway.get("/readyz").json()["nodes"]
            .as_array()
            .map(Vec::len);
        nodes == Some(4)
    });
}

#[test]
fn nobody_is_led_out_of_the_cluster() {
    let (_cluster, gateway) = start();
    // It listens, and would hear.
    let stranger = TestRedis::start();
    let slot = 3300;
    for code in ["MOVED", "ASK"] {
        let reply = format!("{code} {slot} {}", stranger.address());
        let script = format!("return redis.error_reply('{reply}')");
        let answer = error(&gateway, &json!(["EVAL", script, "1", KEYS[0]]));
        assert!(answer.starts_with(&reply), "{answer}");
    }
    let seen = stranger.cli(&["INFO", "stats"]);
    let line = |line: &&str| line.starts_with("total_connections_received:");
    let connections = seen.lines().find(line).unwrap();
    // The environment's own look at its port, and redis-cli.
    assert_eq!(connections, "total_connections_received:2");
    assert_eq!(result(&gateway, &json!(["PING"])), json!("PONG"));
}

#[test]
fn messages_reach_listeners_whichever_nodes_they_are_at() {
    let (cluster, gateway) = start();
    let mut stream = gateway.listen("/v1/events?channel=news&pattern=p*");
    for at in 0..3 {
        let message = format!("from {at}");
        cluster.master(at).cli(&["PUBLISH", "news", &message]);
        assert!(stream.event().data.contains(&message));
    }
    gateway.post("/v1/channels/px/messages", b"through the gateway");
    assert!(stream.event().data.contains("through the gateway"));
}

#[test]
fn a_node_that_hangs_delays_only_its_own_clients() {
    let (cluster, _) = start();
    let gateway = TestGateway::at_with(&cluster.url(), |config| {
        config.command_timeout = Duration::from_secs(3);
    });
    for key in KEYS {
        result(&gateway, &json!(["SET", key, "v"]));
    }
    let [b, c, _] = KEYS;
    cluster.master(0).signal("STOP");
    let began = Instant::now();
    std::thread::scope(|scope| {
        let hung: Vec<_> = (0..20)
            .map(|_| scope.spawn(|| gateway.get(&format!("/v1/keys/{b}")).status))
            .collect();
        let mut client = gateway.connect();
        for _ in 0..200 {
            let answer = client.request("GET", &format!("/v1/keys/{c}"), &[], b"");
            assert_eq!(answer.status, 200);
        }
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "{:?}",
            began.elapsed()
        );
        for status in hung {
            assert!([503, 504].contains(&status.join().unwrap()));
        }
    });
    let nodes = gateway.get("/readyz");
    assert_eq!(nodes.status, 200);
    let answering = |node: &Value| node["answers"] == json!(true);
    let nodes = nodes.json()["nodes"].as_array().unwrap().clone();
    assert_eq!(
        nodes.iter().filter(|node| answering(node)).count(),
        2,
        "{nodes:?}"
    );
    cluster.master(0).signal("CONT");
    wait_until("it is back", || {
        gateway.get(&format!("/v1/keys/{b}")).status == 200
    });
}

#[test]
fn a_replica_takes_the_place_of_a_lost_master() {
    let mut cluster = TestCluster::with_replica();
    let gateway = TestGateway::at(&cluster.url());
    let [b, c, _] = KEYS;
    result(&gateway, &json!(["SET", b, "1"]));
    wait_until("the replica has it", || {
        cluster.replica().cli(&["DBSIZE"]) == "1"
    });
    let mut stream = gateway.listen("/v1/events?channel=news");
    cluster.master_mut(0).kill();
    // Sent or not, nobody is kept waiting, and the seed is not needed any more.
    wait_until("the replica serves", || {
        let answer = gateway.get(&format!("/v1/keys/{b}"));
        assert!([200, 502, 503, 504].contains(&answer.status), "{answer:?}");
        answer.status == 200
    });
    assert_eq!(result(&gateway, &json!(["INCR", b])), json!(2));
    assert_eq!(cluster.replica().cli(&["GET", b]), "2");
    assert_eq!(result(&gateway, &json!(["PING"])), json!("PONG"));
    assert_eq!(result(&gateway, &json!(["INCR", c])), json!(1));
    // Whether or not its node was the lost one, the listener hears again.
    let heard = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            wait_until("messages arrive", || {
                gateway.post("/v1/channels/news/messages", b"after the loss");
                heard.load(Ordering::SeqCst)
            });
        });
        stream.wait_for("after the loss");
        heard.store(true, Ordering::SeqCst);
    });
}

#[test]
fn one_that_is_not_there_yet_is_waited_for() {
    let redis = TestRedis::start();
    // A server that is no Cluster tells of none.
    let gateway = TestGateway::at(&format!("redis+cluster://{}", redis.address()));
    assert_eq!(gateway.get("/readyz").status, 503);
    let answer = send(&gateway, "/", &json!(["GET", "a"]));
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(send(&gateway, "/", &json!(["BLPOP", "a", "1"])).status, 503);
}

#[test]
fn tls_is_spoken_with_every_node() {
    let authority = TestAuthority::new();
    let mut args = authority.server_args();
    args.extend(["--tls-cluster", "yes", "--tls-replication", "yes"].map(str::to_owned));
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let cluster = TestCluster::start(&args);
    let url = format!("rediss+cluster://{}", cluster.master(0).address());
    let program = Program::start(&[
        "--upstream",
        &url,
        "--upstream-ca",
        &authority.path("ca.pem"),
    ]);
    let mut client = program.connect();
    for (at, key) in KEYS.into_iter().enumerate() {
        let answer = client.request("PUT", &format!("/v1/keys/{key}"), &[], b"value");
        assert_eq!(answer.status, 204, "{}", program.said());
        assert_eq!(cluster.master(at).cli(&["GET", key]), "value");
    }
}

#[test]
fn a_password_opens_every_node() {
    let cluster = TestCluster::start(&["--requirepass", "s3cret", "--masterauth", "s3cret"]);
    let address = cluster.master(2).address();
    let gateway = TestGateway::at(&format!("redis+cluster://:s3cret@{address}"));
    for key in KEYS {
        assert_eq!(result(&gateway, &json!(["SET", key, "v"])), json!("OK"));
    }
    assert!(!gateway.get("/readyz").text().contains("s3cret"));
}
