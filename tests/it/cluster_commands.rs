//! Commands to a Redis Cluster: each goes to the node that has its keys, wherever in it they stand, and runs
//! once.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::env::{KEYS, TestCluster, TestGateway, TestRedis, wait_until};

fn start() -> (TestCluster, TestGateway) {
    let cluster = TestCluster::start(&[]);
    let gateway = TestGateway::at(&cluster.url());
    (cluster, gateway)
}

fn send(gateway: &TestGateway, command: &[&str]) -> Value {
    gateway
        .post("/", json!(command).to_string().as_bytes())
        .json()
}

/// Commands of which the first key is neither always the first argument nor the only one; `K` is the key.
const LINES: &[&str] = &[
    "BITOP AND K {K}2 {K}3",
    "BLMPOP 0.01 1 K LEFT",
    "BLMPOP 0.01 2 K {K}2 LEFT COUNT 2",
    "BZMPOP 0.01 1 K MIN",
    "EVAL return 1 K",
    "EVAL return(1) 1 K other",
    "EVAL return(1) 2 K {K}2 other",
    "EVAL_RO return(1) 1 K",
    "EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 1 K",
    "EVALSHA_RO e0e1f9fabfc9d4800c877a703b823ac0578ff8db 1 K",
    "FCALL f 1 K",
    "FCALL_RO f 1 K",
    "GEORADIUS K 1 1 1 km STORE {K}2",
    "GEOSEARCHSTORE K {K}2 FROMLONLAT 1 1 BYRADIUS 1 km",
    "LMPOP 1 K LEFT",
    "LMPOP 2 K {K}2 RIGHT",
    "MEMORY USAGE K",
    "MEMORY USAGE K SAMPLES 1",
    "OBJECT ENCODING K",
    "OBJECT FREQ K",
    "SINTERCARD 1 K",
    "SINTERCARD 2 K {K}2 LIMIT 1",
    "SORT K BY nosort STORE {K}2",
    "XGROUP CREATE K g $ MKSTREAM",
    "XGROUP CREATECONSUMER K g c",
    "XINFO STREAM K",
    "XREAD COUNT 1 STREAMS K 0",
    "XREAD streams K {K}2 0 0",
    "XREAD BLOCK 10 STREAMS K $",
    "XREADGROUP GROUP g c STREAMS K >",
    "XREADGROUP GROUP streams c COUNT 1 STREAMS K >",
    "XREADGROUP GROUP g streams BLOCK 10 NOACK STREAMS K >",
    "ZDIFF 1 K WITHSCORES",
    "ZDIFFSTORE K 1 {K}2",
    "ZINTER 2 K {K}2",
    "ZINTERCARD 1 K",
    "ZMPOP 1 K MIN",
    "ZUNION 1 K WEIGHTS 2",
    "ZUNIONSTORE K 2 {K}2 {K}3",
];

/// Whether an answer says that the command was for another node.
fn went_astray(answer: &Value) -> bool {
    let error = answer["error"].as_str().unwrap_or_default();
    error.starts_with("MOVED ")
}

#[test]
fn keys_are_found_wherever_they_stand() {
    let (_cluster, gateway) = start();
    for line in LINES {
        // A key of every node, so that none is right by chance.
        for key in KEYS {
            let line = line.replace("{K}", &format!("{{{key}}}"));
            let words: Vec<_> = line
                .split(' ')
                .map(|word| if word == "K" { key } else { word })
                .collect();
            let answer = send(&gateway, &words);
            assert!(!went_astray(&answer), "{words:?}: {answer}");
        }
    }
}

/// Every word is the same, so that it is a key wherever the server has one, and a number of keys as well.
#[test]
fn no_command_of_the_server_goes_to_the_wrong_node() {
    let (cluster, gateway) = start();
    let any = cluster.master(0);
    let word = "1";
    let owned: HashSet<_> = (0..3)
        .filter(|at| !cluster.master(*at).cli(&["GET", word]).starts_with("MOVED"))
        .collect();
    // What has no key goes to the first node.
    assert!(!owned.contains(&0), "{owned:?}");
    let mut lines = Vec::new();
    for (names, arity) in table(any) {
        for more in 0..4 {
            let mut words: Vec<_> = names.split('|').map(str::to_owned).collect();
            words.resize(arity.max(words.len()) + more, word.to_owned());
            lines.push(words);
        }
    }
    let question = |words: &Vec<String>| {
        let start = ["COMMAND", "GETKEYS"].map(str::to_owned);
        start.into_iter().chain(words.clone()).collect::<Vec<_>>()
    };
    let questions: Vec<_> = lines.iter().map(question).collect();
    let body = json!(questions).to_string();
    let keys = gateway.post("/pipeline", body.as_bytes()).json();
    let mut with_keys = 0;
    for (words, keys) in lines.iter().zip(keys.as_array().unwrap()) {
        if keys["result"][0] == word {
            with_keys += 1;
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            let answer = send(&gateway, &words);
            assert!(!went_astray(&answer), "{words:?}: {answer}");
        }
    }
    assert!(with_keys > 300, "only {with_keys}");
}

/// Names with subcommands, and the least number of words, by the server's COMMAND.
fn table(redis: &TestRedis) -> Vec<(String, usize)> {
    let told: Value = serde_json::from_str(&redis.cli(&["--json", "COMMAND"])).unwrap();
    let mut table = Vec::new();
    let mut left: Vec<&Value> = told.as_array().unwrap().iter().collect();
    while let Some(entry) = left.pop() {
        let arity = entry[1].as_i64().unwrap().unsigned_abs();
        let name = entry[0].as_str().unwrap().to_owned();
        table.push((name, arity.try_into().unwrap()));
        left.extend(entry.get(9).and_then(Value::as_array).into_iter().flatten());
    }
    table
}

#[test]
fn a_script_runs_once_whatever_it_replies() {
    let (cluster, gateway) = start();
    let [key, ..] = KEYS;
    let other = cluster.master(1).address();
    let (slot, script) = (
        cluster.slot(key),
        "redis.call('INCR', KEYS[1]) return redis.error_reply(ARGV[1])",
    );
    for reply in [
        "TRYAGAIN the limit is reached".to_owned(),
        "CLUSTERDOWN no".to_owned(),
        format!("MOVED {slot} {other}"),
        format!("ASK {slot} {other}"),
        format!("MOVED {slot} 127.0.0.1:1"),
    ] {
        send(&gateway, &["DEL", key]);
        let answer = send(&gateway, &["EVAL", script, "1", key, &reply]);
        let error = answer["error"].as_str().unwrap();
        assert!(error.starts_with(&reply), "{answer}");
        assert_eq!(cluster.master(0).cli(&["GET", key]), "1", "{reply}");
    }
}

#[test]
fn scripts_follow_slots_that_move() {
    let (cluster, gateway) = start();
    let ([key, ..], slot) = (KEYS, cluster.slot(KEYS[0]));
    let (from, to) = (cluster.master(0), cluster.master(1));
    let script = "return redis.call('INCR', KEYS[1])";
    let eval = |count| {
        let answer = send(&gateway, &["EVAL", script, "1", key]);
        assert_eq!(answer, json!({"result": count}));
    };
    eval(1);
    cluster.begin_to_move(slot, from, to);
    eval(2);
    cluster.move_key(key, from, to);
    eval(3);
    cluster.end_move(slot, to);
    eval(4);
    assert_eq!(to.cli(&["GET", key]), "4");
    // What is wrong with a script is said as ever.
    let answer = send(&gateway, &["EVAL", "return", "x", key]);
    assert_eq!(
        answer["error"],
        "ERR value is not an integer or out of range"
    );
    let answer = send(&gateway, &["EVAL", "no lua", "1", key]);
    assert!(
        answer["error"].as_str().unwrap().contains("compiling"),
        "{answer}"
    );
    let answer = send(&gateway, &["EVALSHA", "0", "1", key]);
    assert!(
        answer["error"].as_str().unwrap().starts_with("NOSCRIPT"),
        "{answer}"
    );
}

#[test]
fn what_one_node_did_is_not_called_undone_because_another_is_lost() {
    let mut cluster = TestCluster::start(&["--cluster-require-full-coverage", "no"]);
    let gateway = TestGateway::at(&cluster.url());
    let [lost, there, _] = KEYS;
    cluster.master_mut(0).kill();
    let pipeline = json!([["INCR", there], ["INCR", lost], ["INCR", there]]).to_string();
    let mut count = 0;
    wait_until("the loss is known", || {
        let answer = gateway.post("/pipeline", pipeline.as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
        let answer = answer.json();
        let (first, second) = (json!({"result": count + 1}), json!({"result": count + 2}));
        assert_eq!((&answer[0], &answer[2]), (&first, &second));
        count += 2;
        let error = answer[1]["error"].as_str().unwrap();
        error == "Redis is unreachable; nothing was done, try again"
    });
    // Where there is nothing but failures, the status says so.
    let pipeline = json!([["INCR", lost], ["INCR", lost]]).to_string();
    let answer = gateway.post("/pipeline", pipeline.as_bytes());
    assert_eq!(answer.status, 503, "{answer:?}");
}

#[test]
fn a_slot_of_nobody_is_the_servers_own_error() {
    let cluster = TestCluster::start(&["--cluster-require-full-coverage", "no"]);
    let gateway = TestGateway::at(&cluster.url());
    let [key, ..] = KEYS;
    let slot = cluster.slot(key).to_string();
    for at in 0..3 {
        assert_eq!(
            cluster.master(at).cli(&["CLUSTER", "DELSLOTS", &slot]),
            "OK"
        );
    }
    let down = json!({"error": "CLUSTERDOWN Hash slot not served"});
    assert_eq!(send(&gateway, &["GET", key]), down);
    // By now the gateway knows as well.
    assert_eq!(send(&gateway, &["EVAL", "return 1", "1", key]), down);
    let transaction = json!([["SET", key, "1"], ["GET", key]]).to_string();
    let answer = gateway.post("/multi-exec", transaction.as_bytes());
    assert_eq!((answer.status, answer.json()), (400, down));
}

/// Two keys of a slot of which one has been moved: a command over both is told to try again.
fn half_move(cluster: &TestCluster, gateway: &TestGateway) -> (&'static str, String) {
    let [key, ..] = KEYS;
    let other = format!("{{{key}}}2");
    for key in [key, &other] {
        send(gateway, &["SET", key, "v"]);
    }
    let (from, to) = (cluster.master(0), cluster.master(1));
    cluster.begin_to_move(cluster.slot(key), from, to);
    cluster.move_key(&other, from, to);
    (key, other)
}

#[test]
fn nobody_waits_for_what_others_have_to_try_again() {
    let (cluster, gateway) = start();
    let (key, other) = half_move(&cluster, &gateway);
    // In turn, so that they reach the gateway together.
    let mut clients: Vec<_> = (0..100)
        .map(|_| (gateway.connect(), gateway.connect()))
        .collect();
    let both = format!(
        "/mget/{key}/{}",
        other.replace('{', "%7B").replace('}', "%7D")
    );
    let began = Instant::now();
    for (waiting, quick) in &mut clients {
        waiting.send_request("GET", &both, &[], b"");
        quick.send_request("GET", &format!("/get/{key}"), &[], b"");
    }
    for (_, quick) in &mut clients {
        assert_eq!(quick.receive().status, 200);
    }
    let quick = began.elapsed();
    for (waiting, _) in &mut clients {
        assert!(waiting.receive().text().contains("TRYAGAIN"));
    }
    assert!(
        quick < began.elapsed() / 2,
        "{quick:?} of {:?}",
        began.elapsed()
    );
}

#[test]
fn what_has_to_be_tried_again_until_time_is_up_has_not_run() {
    let cluster = TestCluster::start(&[]);
    let gateway = TestGateway::at_with(&cluster.url(), |config| {
        // It is up during a pause between two tries.
        config.command_timeout = Duration::from_millis(500);
    });
    let (key, other) = half_move(&cluster, &gateway);
    for _ in 0..3 {
        let told = send(&gateway, &["MSET", key, "new", &other, "new"]);
        let told = told["error"].as_str().unwrap_or_default();
        assert!(told.starts_with("TRYAGAIN"), "{told}");
        // Nor is its node suspected of anything.
        assert_eq!(send(&gateway, &["GET", key])["result"], "v");
    }
}

#[test]
fn nodes_that_send_on_to_each_other_are_given_time_to_agree() {
    let (cluster, gateway) = start();
    let [key, ..] = KEYS;
    let (from, to) = (cluster.master(0), cluster.master(1));
    let slot = cluster.slot(key).to_string();
    // Asked for before, because the gateway does not wait for long.
    let [from_id, to_id] = [from, to].map(|node| node.cli(&["CLUSTER", "MYID"]));
    let set = |node: &TestRedis, what: &str, other: &str| {
        let set = ["CLUSTER", "SETSLOT", &slot, what, other];
        assert_eq!(node.cli(&set), "OK");
    };
    // The other one does not know of it, and sends back.
    set(from, "MIGRATING", &to_id);
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| send(&gateway, &["INCR", key]));
        wait_until("the other one has been asked", || {
            to.cli(&["INFO", "commandstats"]).contains("cmdstat_asking")
        });
        set(to, "IMPORTING", &from_id);
        assert_eq!(asked.join().unwrap(), json!({"result": 1}));
    });
}
