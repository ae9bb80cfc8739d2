//! A server that becomes a replica while the gateway is connected to it.

use crate::env::{Delays, Relay, TestGateway, TestGroup, TestRedis, wait_until};

#[test]
fn a_master_that_became_a_replica_is_left() {
    let group = TestGroup::start(1, None);
    let gateway = TestGateway::at(&format!("redis+sentinel://{}/main", group.sentinels()));
    assert_eq!(gateway.put("/v1/keys/a", b"value").status, 204);
    let [master, other] = group.servers();
    // Behind the Sentinel's back, so that no connection is closed, and it names this server still.
    let port = other.address().port().to_string();
    master.cli(&["REPLICAOF", "127.0.0.1", &port]);
    wait_until("it is left because of a READONLY", || {
        gateway.put("/v1/keys/a", b"value").status == 503
    });
    master.cli(&["REPLICAOF", "NO", "ONE"]);
    wait_until("it is a master again", || {
        gateway.put("/v1/keys/a", b"value").status == 204
    });
}

/// A connection of each kind that is shared: for what is common, for scripts, and for what is large.
fn write_over_each(gateway: &TestGateway) -> [u16; 3] {
    let script = br#"["EVAL","return redis.call('SET','b','value')","0"]"#;
    let large = vec![b'x'; 300_000];
    [
        gateway.put("/v1/keys/a", b"value").status,
        gateway.post("/", script).status,
        gateway.put("/v1/keys/c", &large).status,
    ]
}

#[test]
fn a_master_behind_a_name_that_moves_is_found() {
    let [old, new] = [TestRedis::start(), TestRedis::start()];
    let name = Relay::to(old.address(), Delays::default());
    let gateway = TestGateway::at(&name.url());
    let mut stream = gateway.listen("/v1/channels/c/events");
    assert_eq!(write_over_each(&gateway), [204, 200, 204]);
    // No connection breaks, and for a while the name leads to the old one still. It hears nothing of the new one.
    old.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    let [common, script, large] = write_over_each(&gateway);
    assert_eq!((common, large), (503, 503));
    assert_ne!(script, 200);
    assert_eq!(gateway.get("/v1/keys/a").status, 200);
    name.lead_new(new.address());
    wait_until("one is made anew because of a READONLY", || {
        gateway.put("/v1/keys/a", b"value").status == 204
    });
    wait_until("and with it the others", || {
        write_over_each(&gateway) == [204, 200, 204]
    });
    assert_eq!(new.cli(&["GET", "b"]), "value");
    assert_eq!(stream.event().name, "gap");
    assert_eq!(new.cli(&["PUBLISH", "c", "after"]), "1");
    assert_eq!(stream.event().data, "after");
    wait_until("the old ones have ended", || old.clients() == 0);
}

#[test]
fn a_replica_by_intention_is_kept() {
    let [master, replica] = [TestRedis::start(), TestRedis::start()];
    let port = master.address().port().to_string();
    replica.cli(&["REPLICAOF", "127.0.0.1", &port]);
    wait_until("it has its master's data", || {
        replica.cli(&["ROLE"]).contains("connected")
    });
    let gateway = TestGateway::at(&replica.url());
    assert_eq!(gateway.get("/v1/keys/a").status, 404);
    let shared = || {
        let list = replica.cli(&["CLIENT", "LIST"]);
        let others = list.lines().filter(|line| !line.contains("cmd=client"));
        others
            .map(|line| line.split(' ').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let before = shared();
    replica.cli(&["CONFIG", "RESETSTAT"]);
    let answer = gateway.put("/v1/keys/a", b"value");
    assert!(answer.text().contains("READONLY"), "{answer:?}");
    assert_eq!(master.cli(&["SET", "a", "value"]), "OK");
    wait_until("it is read", || gateway.get("/v1/keys/a").status == 200);
    wait_until("it was looked at over another connection", || {
        replica
            .cli(&["INFO", "commandstats"])
            .contains("cmdstat_role:calls=2,")
    });
    wait_until("that has ended, and the others are the same", || {
        shared() == before
    });
}
