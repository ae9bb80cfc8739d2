//! What the tests stand on: a gateway in this process or in one of its own, a client that shows what came
//! over the wire, and waiting for a condition.

mod audience;
mod balancer;
mod chromium;
mod cluster;
pub(crate) mod entries;
mod examples;
mod files;
mod http;
mod nginx;
mod program;
mod redis;
mod relay;
mod sentinel;
mod sse;

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use redis_http_gateway::config::Config;
use redis_http_gateway::gateway::Gateway;

pub(crate) use audience::Audience;
pub(crate) use balancer::Balancer;
pub(crate) use chromium::Chromium;
pub(crate) use cluster::{KEYS, TestCluster};
pub(crate) use examples::example;
pub(crate) use files::{TestAuthority, TestFolder};
pub(crate) use http::{Answer, Client};
pub(crate) use nginx::TestNginx;
pub(crate) use program::Program;
pub(crate) use redis::{SHARED_CONNECTIONS, TestRedis};
pub(crate) use relay::{Delays, Relay};
pub(crate) use sentinel::{Locks, TestGroup};
pub(crate) use sse::{Event, EventStream};

/// By when anything that is waited for has to have happened. Far more than it takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A gateway in this process, on a free port, with an embedded engine of its own; shut down when dropped.
pub(crate) struct TestGateway {
    gateway: Option<Gateway>,
    pub(crate) address: SocketAddr,
}

impl TestGateway {
    /// With the default settings.
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    /// With some settings changed.
    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        // Tests that hold many connections run beside others in the same process.
        rlimit::increase_nofile_limit(u64::MAX).unwrap();
        let mut config = Config {
            shutdown_timeout: Duration::from_secs(1),
            // What is left upstream shall be seen soon.
            linger: Duration::from_millis(50),
            ..Config::default()
        };
        change(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let gateway = Gateway::start(config, listener).unwrap();
        Self {
            address: gateway.address(),
            gateway: Some(gateway),
        }
    }

    /// In front of a Redis as a user who has these rights, in the words of `ACL SETUSER`.
    pub(crate) fn as_user(redis: &TestRedis, rights: &[&str]) -> Self {
        redis.cli(&[&["ACL", "SETUSER", "gateway", "on", ">secret"], rights].concat());
        Self::at(&format!("redis://gateway:secret@{}", redis.address()))
    }

    /// In front of a Redis server.
    pub(crate) fn over(redis: &TestRedis) -> Self {
        Self::at(&redis.url())
    }

    /// The same, with some settings changed.
    pub(crate) fn over_with(redis: &TestRedis, change: impl FnOnce(&mut Config)) -> Self {
        Self::at_with(&redis.url(), change)
    }

    /// In front of what a URL says.
    pub(crate) fn at(url: &str) -> Self {
        Self::at_with(url, |_| {})
    }

    /// The same, with some settings changed.
    pub(crate) fn at_with(url: &str, change: impl FnOnce(&mut Config)) -> Self {
        Self::with(|config| {
            config.upstream = url.parse().unwrap();
            change(config);
        })
    }

    /// In front of what a URL says, with a small client cache.
    pub(crate) fn with_cache(url: &str) -> Self {
        Self::at_with(url, |config| config.client_cache = Some(1 << 20))
    }

    /// How many requests the client cache has answered.
    pub(crate) fn cache_hits(&self) -> u64 {
        self.gateway().upstream().cache_stats().unwrap().hits
    }

    /// Asks for a key until the answer comes from the client cache.
    pub(crate) fn warm_cache(&self, key: &str) {
        let mut client = self.connect();
        let path = format!("/v1/keys/{key}");
        wait_until("the cache answers", || {
            let before = self.cache_hits();
            client.request("GET", &path, &[], b"");
            self.cache_hits() > before
        });
    }

    /// How many event streams have been given up because their clients read too slowly.
    pub(crate) fn evicted(&self) -> u64 {
        self.gateway().streams().evicted.load(Ordering::Relaxed)
    }

    /// The gateway itself.
    pub(crate) fn gateway(&self) -> &Gateway {
        self.gateway.as_ref().unwrap()
    }

    /// A new connection to it.
    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// One request on a connection of its own.
    pub(crate) fn request(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        self.connect().request(method, path, &[], body)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.request("GET", path, b"")
    }

    pub(crate) fn put(&self, path: &str, body: &[u8]) -> Answer {
        self.request("PUT", path, body)
    }

    pub(crate) fn post(&self, path: &str, body: &[u8]) -> Answer {
        self.request("POST", path, body)
    }

    /// An event stream, opened.
    pub(crate) fn listen(&self, path: &str) -> EventStream {
        EventStream::open(self.address, path, &[])
    }

    /// Shuts it down and waits until it is.
    pub(crate) fn shutdown(mut self) {
        self.gateway.take().unwrap().shutdown();
    }
}

impl Drop for TestGateway {
    fn drop(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            gateway.shutdown();
        }
    }
}

/// Waits until a condition holds; fails, saying what was waited for, if it does not in time.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        // Between two looks at something that cannot be waited for otherwise.
        std::thread::sleep(Duration::from_millis(5));
    }
}
