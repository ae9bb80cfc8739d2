//! `/v1/keys` over the embedded engine, looked at from the other side too.

use redis_http_gateway::BlockingClient;

use crate::env::TestGateway;

#[test]
fn a_value_comes_back_byte_for_byte() {
    let gateway = TestGateway::start();
    let large: Vec<u8> = (0..5 * 1024 * 1024_u32).map(|n| (n % 251) as u8).collect();
    let values: [&[u8]; 6] = [b"", b"a", b"\x00", b"\xFF", b"a\r\nb\r\n", &large];
    for value in values {
        assert_eq!(gateway.put("/v1/keys/value", value).status, 204);
        let answer = gateway.get("/v1/keys/value");
        assert_eq!(answer.status, 200);
        assert!(answer.body == value, "{} bytes went in", value.len());
    }
}

#[test]
fn both_sides_see_the_same_data() {
    let gateway = TestGateway::start();
    let redis = gateway.gateway().upstream().embedded_address().unwrap();
    let mut redis = BlockingClient::connect(redis).unwrap();
    gateway.put("/v1/keys/from%20http", b"\x00\xFF");
    assert_eq!(redis.get("from http").unwrap().unwrap(), &b"\x00\xFF"[..]);
    redis.set("from redis", "value".into()).unwrap();
    assert_eq!(gateway.get("/v1/keys/from%20redis").body, b"value");
}
