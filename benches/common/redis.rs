//! A Redis server that keeps nothing on disk.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use super::process::{Process, free_address};

/// Starts one.
pub(crate) fn start() -> Process {
    let address = free_address();
    let port = address.port().to_string();
    let own = ["--port", &port, "--bind", "127.0.0.1"];
    let mut command = Command::new("redis-server");
    command.args(own).args(["--save", "", "--appendonly", "no"]);
    Process::start(&mut command, address)
}

/// Sets keys to values, in pipelines.
pub(crate) fn fill(server: SocketAddr, pairs: impl Iterator<Item = (String, Vec<u8>)>) {
    let stream = TcpStream::connect(server).unwrap();
    let mut replies = BufReader::new(&stream);
    let pairs: Vec<_> = pairs.collect();
    for some in pairs.chunks(1000) {
        let mut pipeline = Vec::new();
        for (key, value) in some {
            let head = format!(
                "*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n",
                key.len(),
                value.len()
            );
            pipeline.extend_from_slice(head.as_bytes());
            pipeline.extend_from_slice(value);
            pipeline.extend_from_slice(b"\r\n");
        }
        (&stream).write_all(&pipeline).unwrap();
        for _ in some {
            let mut reply = String::new();
            replies.read_line(&mut reply).unwrap();
            assert_eq!(reply, "+OK\r\n");
        }
    }
}
