//! The program itself, in a process of its own.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use super::{Answer, Client, wait_until};

/// The program, listening; killed when dropped.
pub(crate) struct Program {
    child: Child,
    /// Where it is reached from here.
    pub(crate) address: SocketAddr,
    /// What it has said on stderr.
    said: Arc<Mutex<String>>,
}

impl Program {
    /// Starts it on a free port with these arguments.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::spawn(
            Command::new(Self::path())
                .args(["--listen", "127.0.0.1:0"])
                .args(args),
        )
    }

    /// Starts it on a free port of every address of this machine.
    pub(crate) fn start_for_all(args: &[&str]) -> Self {
        Self::spawn(
            Command::new(Self::path())
                .args(["--listen", "0.0.0.0:0"])
                .args(args),
        )
    }

    /// Starts it with a limit of open files.
    pub(crate) fn start_with_files(files: u32, args: &[&str]) -> Self {
        let script = format!("ulimit -n {files}; exec \"$0\" --listen 127.0.0.1:0 \"$@\"");
        Self::spawn(
            Command::new("bash")
                .args(["-c", &script, Self::path()])
                .args(args),
        )
    }

    /// Starts a command that becomes the program.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let (mut stderr, heard) = (child.stderr.take().unwrap(), Arc::clone(&said));
        // Until the program ends, so that it never waits for somebody to listen.
        thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = stderr.read(&mut piece) {
                *heard.lock().unwrap() += &String::from_utf8_lossy(&piece[..length]);
            }
        });
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line.trim_end().strip_prefix("listening on http://");
        let address = address.unwrap_or_else(|| panic!("it did not start: {line:?}"));
        let mut address: SocketAddr = address.parse().unwrap();
        if address.ip().is_unspecified() {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        Self {
            address,
            child,
            said,
        }
    }

    /// What it says of arguments with which it does not start: a usage error.
    #[track_caller]
    pub(crate) fn usage_error(args: &[&str]) -> String {
        let ended = Command::new(Self::path())
            .args(["--listen", "127.0.0.1:0"])
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.starts_with("error: "), "{args:?}: {said}");
        said
    }

    /// What it has said on stderr so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    pub(crate) fn path() -> &'static str {
        env!("CARGO_BIN_EXE_redis-http-gateway")
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// A GET on a connection of its own.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.connect().request("GET", path, &[], b"")
    }

    /// A PUT on a connection of its own.
    pub(crate) fn put(&self, path: &str, body: &[u8]) -> Answer {
        self.connect().request("PUT", path, &[], body)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.pid().to_string()])
            .status();
        assert!(status.unwrap().success());
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut ended = None;
        wait_until("the program ends", || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        });
        ended.unwrap()
    }

    pub(crate) fn threads(&self) -> usize {
        fs::read_dir(format!("/proc/{}/task", self.pid()))
            .unwrap()
            .count()
    }

    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .unwrap()
            .count()
    }

    /// Resident memory, in KiB.
    pub(crate) fn memory(&self) -> usize {
        let mut status = String::new();
        let mut file = fs::File::open(format!("/proc/{}/status", self.pid())).unwrap();
        file.read_to_string(&mut status).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
