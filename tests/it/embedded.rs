//! The Redis behind the gateway goes away and comes back: the embedded engine dies, and a server is not there
//! when the gateway starts.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use redis_http_gateway::BlockingClient;
use serde_json::json;

use crate::env::{PATIENCE, TestGateway, wait_until};

/// Panics mini-redis with its lock held: the expiry overflows. The gateway itself never lets this through.
const DEADLY: &[u8] =
    b"*5\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n$2\r\nEX\r\n$19\r\n9223372036854775807\r\n";

fn embedded_address(gateway: &TestGateway) -> SocketAddr {
    gateway.gateway().upstream().embedded_address().unwrap()
}

/// Kills the embedded engine, behind the gateway's back.
fn kill(address: SocketAddr) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(DEADLY).unwrap();
    // The connection's task has died when it ends.
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"");
}

/// Asks until Redis answers again; until then every answer must say what is the matter.
fn wait_for_recovery(gateway: &TestGateway) {
    wait_until("commands work again", || {
        let answer = gateway.get("/v1/keys/a");
        match answer.status {
            404 => return true,
            502 => answer.assert_problem(502, "may or may not have run"),
            503 => {
                answer.assert_problem(503, "try again");
                assert_eq!(answer.header("retry-after"), Some("1"));
            }
            504 => answer.assert_problem(504, "may or may not have run"),
            _ => panic!("{answer:?}"),
        }
        false
    });
}

#[test]
fn a_dead_engine_is_replaced() {
    let gateway = TestGateway::start();
    assert_eq!(gateway.put("/v1/keys/a", b"value").status, 204);
    for _ in 0..3 {
        let address = embedded_address(&gateway);
        kill(address);
        wait_for_recovery(&gateway);
        assert_ne!(embedded_address(&gateway), address);
        // Its data are gone, and it takes new ones.
        assert_eq!(gateway.put("/v1/keys/b", b"new").status, 204);
        assert_eq!(gateway.get("/v1/keys/b").body, b"new");
        assert_eq!(gateway.get("/readyz").status, 200);
    }
}

#[test]
fn subscribers_of_a_dead_engine_are_told_of_one_gap() {
    let gateway = TestGateway::start();
    let mut streams = [
        gateway.listen("/v1/channels/a/events?format=json"),
        gateway.listen("/v1/events?channel=b&channel=a"),
    ];
    let publish = |n: i32| gateway.post("/v1/channels/a/messages", n.to_string().as_bytes());
    publish(0);
    for stream in &mut streams {
        assert_eq!(stream.event().name, "message");
    }
    for round in 1..3 {
        kill(embedded_address(&gateway));
        wait_for_recovery(&gateway);
        for (stream, channels) in streams.iter_mut().zip([json!(["a"]), json!(["a", "b"])]) {
            let gap = stream.event();
            assert_eq!(gap.name, "gap", "{gap:?}");
            let gap: serde_json::Value = serde_json::from_str(&gap.data).unwrap();
            assert_eq!(gap["channels"], channels);
        }
        // After the gap nothing is missing, and there is no second one.
        for n in [round * 10, round * 10 + 1] {
            assert_eq!(publish(n).json(), json!({"receivers": 1}));
            for stream in &mut streams {
                let event = stream.event();
                assert_eq!(event.name, "message", "{event:?}");
                assert!(event.data.contains(&format!("\"{n}\"")), "{event:?}");
            }
        }
    }
}

/// A gateway whose Redis is at an address where nothing listens yet, and that address.
fn gateway_alone() -> (TestGateway, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let url = format!("redis://{address}");
    let gateway = TestGateway::at(&url);
    (gateway, address)
}

#[test]
fn without_redis_commands_are_503_and_the_gateway_is_well() {
    let (gateway, address) = gateway_alone();
    let health = gateway.get("/healthz");
    assert_eq!(
        (health.status, health.text()),
        (200, "{\"status\":\"ok\"}\n")
    );
    for answer in [
        gateway.get("/v1/keys/a"),
        gateway.put("/v1/keys/a?ex=1", b"value"),
        gateway.request("DELETE", "/v1/keys/a", b""),
        gateway.post("/v1/channels/a/messages", b"message"),
        gateway.get("/readyz"),
    ] {
        answer.assert_problem(503, "Redis");
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert!(
            !answer.text().contains(&address.port().to_string()),
            "{answer:?}"
        );
    }
}

#[test]
fn a_stream_opens_without_redis_and_tells_of_a_gap_when_it_comes() {
    let (gateway, address) = gateway_alone();
    let asked = Instant::now();
    let mut stream = gateway.listen("/v1/channels/a/events");
    // It has given the upstream its second.
    assert!(asked.elapsed() >= Duration::from_millis(900));
    stream.wait_for(": connected\n");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind(address));
    let forever = std::future::pending::<()>();
    runtime.spawn(mini_redis::server::run(listener.unwrap(), forever));
    let gap = stream.event();
    assert_eq!(gap.name, "gap", "{gap:?}");
    assert!(gap.data.contains("interrupted"), "{gap:?}");
    let mut redis = BlockingClient::connect(address).unwrap();
    assert_eq!(redis.publish("a", "message".into()).unwrap(), 1);
    assert_eq!(stream.event().data, "message");
}
