//! Who is compared, and how each is started and spoken to.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::common::nginx::NCHAN;
use crate::common::process::Process;
use crate::common::{gateway, nginx};

/// Somebody who delivers messages to subscribers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contender {
    /// The gateway, with messages published in Redis, as by any program that uses Redis.
    Gateway,
    /// The gateway, with messages published by HTTP, which is the only way to publish with nchan.
    GatewayByHttp,
    /// nginx with nchan, which has its messages stored in and announced by Redis.
    NchanOverRedis,
    /// nginx with nchan by itself.
    NchanAlone,
}

/// A contender that serves.
pub(crate) struct Serving {
    pub(crate) process: Process,
    pub(crate) listen_path: &'static str,
    pub(crate) way: Way,
}

/// A way to publish.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Way {
    /// A POST to this path.
    Http(SocketAddr, &'static str),
    /// A PUBLISH in Redis.
    Redis(SocketAddr),
}

impl Contender {
    pub(crate) const ALL: [Self; 4] = [
        Self::Gateway,
        Self::GatewayByHttp,
        Self::NchanOverRedis,
        Self::NchanAlone,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::GatewayByHttp => "gateway, by HTTP",
            Self::NchanOverRedis => "nchan over Redis",
            Self::NchanAlone => "nchan without Redis",
        }
    }

    /// Starts it, and waits until it serves.
    pub(crate) fn start(self, redis: &Process) -> Serving {
        match self {
            Self::Gateway => {
                let mut serving = start_gateway(redis);
                serving.way = Way::Redis(redis.address);
                serving
            }
            Self::GatewayByHttp => start_gateway(redis),
            Self::NchanOverRedis => {
                let url = format!("redis://{}", redis.address);
                let server = format!("upstream redis {{ nchan_redis_server {url}; }}");
                start_nginx(&server, "nchan_redis_pass redis;")
            }
            Self::NchanAlone => start_nginx("", ""),
        }
    }
}

fn start_gateway(redis: &Process) -> Serving {
    let process = gateway::start(redis.address, &[]);
    Serving {
        way: Way::Http(process.address, "/v1/channels/a/messages"),
        listen_path: "/v1/channels/a/events",
        process,
    }
}

/// Starts nginx with one worker, which is what nchan delivers most cheaply with, and as many messages kept as
/// the gateway keeps.
fn start_nginx(server: &str, location: &str) -> Serving {
    let configuration = format!(
        "load_module {NCHAN};
daemon off;
pid nginx.pid;
error_log stderr crit;
worker_processes 1;
worker_rlimit_nofile 20000;
events {{ worker_connections 19000; }}
http {{
    access_log off;
    keepalive_requests 1000000;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    nchan_message_buffer_length 1000;
    nchan_message_timeout 5m;
    {server}
    server {{
        listen {{listen}} backlog=4096;
        location = /listen {{
            nchan_subscriber eventsource;
            nchan_subscriber_first_message newest;
            nchan_channel_id a;
            {location}
        }}
        location = /publish {{
            nchan_publisher;
            nchan_channel_id a;
            {location}
        }}
    }}
}}
"
    );
    let process = nginx::start("nchan", &configuration);
    // Until it has reached Redis, a subscriber would wait in vain, and what is published is refused.
    let deadline = Instant::now() + Duration::from_secs(10);
    while !takes_messages(process.address) {
        assert!(Instant::now() < deadline, "nginx does not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    Serving {
        way: Way::Http(process.address, "/publish"),
        listen_path: "/listen",
        process,
    }
}

fn takes_messages(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else {
        return false;
    };
    let request = "POST /publish HTTP/1.0\r\nContent-Length: 5\r\n\r\nfirst";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    read.is_ok() && answer.starts_with("HTTP/1.1 2")
}
