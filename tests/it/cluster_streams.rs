//! The entries of Redis streams as events, where the streams are in a Cluster.

use crate::env::entries::{ends, ids};
use crate::env::{EventStream, KEYS, TestCluster, TestGateway, TestRedis, wait_until};

fn start() -> (TestCluster, TestGateway) {
    let cluster = TestCluster::start(&[]);
    let gateway = TestGateway::at(&cluster.url());
    (cluster, gateway)
}

fn add(node: &TestRedis, key: &str, id: &str) {
    assert_eq!(node.cli(&["XADD", key, id, "n", id]), id);
}

#[test]
fn streams_of_all_nodes_are_read() {
    let (cluster, gateway) = start();
    let path = |key: &str| format!("/v1/streams/{key}/events");
    let mut streams = KEYS.map(|key| gateway.listen(&path(key)));
    let [b, c, a] = KEYS;
    let mut all = gateway.listen(&format!("/v1/events?stream={a}&stream={b}&stream={c}"));
    for (at, (key, stream)) in KEYS.iter().zip(&mut streams).enumerate() {
        add(cluster.master(at), key, "1-0");
        add(cluster.master(at), key, "2-0");
        assert_eq!(ids(stream, 2), ["1-0", "2-0"]);
        for id in ["1-0", "2-0"] {
            let data = all.event().data;
            assert!(
                data.contains(id) && data.contains(&format!("\"{key}\"")),
                "{data}"
            );
        }
        let last = [("Last-Event-ID", "1-0")];
        let mut back = EventStream::open(gateway.address, &path(key), &last);
        assert_eq!(ids(&mut back, 1), ["2-0"]);
    }
}

#[test]
fn a_stream_that_moves_is_read_on_where_it_is() {
    let (cluster, gateway) = start();
    let (key, slot) = (KEYS[0], cluster.slot(KEYS[0]));
    let path = format!("/v1/streams/{key}/events");
    let (from, to) = (cluster.master(0), cluster.master(1));
    add(from, key, "1-0");
    let mut stream = gateway.listen(&format!("{path}?from=0"));
    assert_eq!(ids(&mut stream, 1), ["1-0"]);
    cluster.begin_to_move(slot, from, to);
    cluster.move_key(key, from, to);
    cluster.end_move(slot, to);
    add(to, key, "2-0");
    assert_eq!(ids(&mut stream, 1), ["2-0"]);
    let mut back = EventStream::open(gateway.address, &path, &[("Last-Event-ID", "1-0")]);
    assert_eq!(ids(&mut back, 1), ["2-0"]);
}

#[test]
fn a_stream_is_read_on_at_the_replica_that_takes_over() {
    let mut cluster = TestCluster::with_replica();
    let gateway = TestGateway::at(&cluster.url());
    let key = KEYS[0];
    let mut stream = gateway.listen(&format!("/v1/streams/{key}/events"));
    add(cluster.master(0), key, "1-0");
    assert_eq!(ids(&mut stream, 1), ["1-0"]);
    wait_until("the replica has it", || {
        cluster.replica().cli(&["DBSIZE"]) == "1"
    });
    cluster.master_mut(0).kill();
    wait_until("the replica takes over", || {
        cluster.replica().cli(&["XADD", key, "2-0", "n", "2-0"]) == "2-0"
    });
    assert_eq!(ids(&mut stream, 1), ["2-0"]);
}

#[test]
fn a_deleted_key_of_any_node_ends_those_who_listen_until_it_is_gone() {
    let (cluster, gateway) = start();
    let path = |key: &str| format!("/v1/streams/{key}/events?until=gone");
    for (at, key) in KEYS.iter().enumerate() {
        add(cluster.master(at), key, "1-0");
    }
    let mut streams = KEYS.map(|key| gateway.listen(&path(key)));
    for (at, (key, stream)) in KEYS.iter().zip(&mut streams).enumerate() {
        let master = cluster.master(at);
        assert_eq!(master.cli(&["DEL", key]), "1");
        ends(stream);
        let last = [("Last-Event-ID", "1-0")];
        let answer = gateway.connect().request("GET", &path(key), &last, b"");
        assert_eq!(answer.status, 204);
    }
}

#[test]
fn a_stream_that_moves_is_not_gone() {
    let (cluster, gateway) = start();
    let (key, slot) = (KEYS[0], cluster.slot(KEYS[0]));
    let (from, to) = (cluster.master(0), cluster.master(1));
    add(from, key, "1-0");
    let mut stream = gateway.listen(&format!("/v1/streams/{key}/events?until=gone&from=0"));
    assert_eq!(ids(&mut stream, 1), ["1-0"]);
    cluster.begin_to_move(slot, from, to);
    cluster.move_key(key, from, to);
    // The key is not where its slot is; whoever looks there is sent on.
    wait_until("the stream is looked at where it is", || {
        let stats = to.cli(&["INFO", "commandstats"]);
        stats.contains("cmdstat_asking") && stats.contains("cmdstat_xinfo")
    });
    cluster.end_move(slot, to);
    add(to, key, "2-0");
    assert_eq!(ids(&mut stream, 1), ["2-0"]);
    to.cli(&["DEL", key]);
    ends(&mut stream);
}
