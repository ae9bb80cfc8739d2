//! Who is compared, and how each is started and spoken to.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::process::Process;
use crate::redis::Redis;

/// Where Debian's package puts nchan.
const NCHAN: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";

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
    pub(crate) address: SocketAddr,
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

/// What is not on this machine, each with its Debian package.
pub(crate) fn lacking() -> Vec<(&'static str, &'static str)> {
    let runs = |name: &str| {
        let mut command = Command::new(name);
        command
            .arg("-v")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok()
    };
    let there = [
        (runs("redis-server"), "redis-server", "redis-server"),
        (runs("nginx"), "nginx", "nginx"),
        (Path::new(NCHAN).exists(), "nchan", "libnginx-mod-nchan"),
    ];
    let lacking = there.into_iter().filter(|(there, ..)| !there);
    lacking.map(|(_, what, package)| (what, package)).collect()
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
    pub(crate) fn start(self, redis: &Redis) -> Serving {
        match self {
            Self::Gateway => {
                let mut serving = start_gateway(redis);
                serving.way = Way::Redis(redis.address());
                serving
            }
            Self::GatewayByHttp => start_gateway(redis),
            Self::NchanOverRedis => {
                let url = format!("redis://{}", redis.address());
                let server = format!("upstream redis {{ nchan_redis_server {url}; }}");
                start_nginx(&server, "nchan_redis_pass redis;")
            }
            Self::NchanAlone => start_nginx("", ""),
        }
    }
}

fn start_gateway(redis: &Redis) -> Serving {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redis-http-gateway"));
    let upstream = format!("redis://{}", redis.address());
    command
        .args([
            "--listen",
            "127.0.0.1:0",
            "--upstream",
            &upstream,
            "--log",
            "warn",
        ])
        .stdout(Stdio::piped());
    let mut process = Process::spawn(&mut command);
    let mut line = String::new();
    let stdout = process.stdout();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    let address = line.trim_end().strip_prefix("listening on http://");
    let address = address.unwrap().parse().unwrap();
    Serving {
        process,
        address,
        listen_path: "/v1/channels/a/events",
        way: Way::Http(address, "/v1/channels/a/messages"),
    }
}

/// Starts nginx with one worker, which is what nchan delivers most cheaply with, and as many messages kept as
/// the gateway keeps.
fn start_nginx(server: &str, location: &str) -> Serving {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let folder = folder();
    let place = folder.display();
    let configuration = format!(
        "load_module {NCHAN};
daemon off;
pid {place}/pid;
error_log stderr crit;
worker_processes 1;
worker_rlimit_nofile 20000;
events {{ worker_connections 19000; }}
http {{
    access_log off;
    keepalive_requests 1000000;
    client_body_temp_path {place}/body;
    proxy_temp_path {place}/proxy;
    fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi;
    scgi_temp_path {place}/scgi;
    nchan_message_buffer_length 1000;
    nchan_message_timeout 5m;
    {server}
    server {{
        listen {address} backlog=4096;
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
    let file = folder.join("nginx.conf");
    fs::write(&file, configuration).unwrap();
    let process = Process::spawn(Command::new("nginx").arg("-c").arg(&file));
    // Until it has reached Redis, a subscriber would wait in vain, and what is published is refused.
    let deadline = Instant::now() + Duration::from_secs(10);
    while !takes_messages(address) {
        assert!(Instant::now() < deadline, "nginx does not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    Serving {
        process,
        address,
        listen_path: "/listen",
        way: Way::Http(address, "/publish"),
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

/// A folder for nginx, the same in every run.
fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fanout-nginx");
    fs::create_dir_all(&folder).unwrap();
    folder
}
