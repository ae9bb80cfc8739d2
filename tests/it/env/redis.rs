//! A Redis server of a test's own.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use super::{TestFolder, wait_until};

/// The connections that a gateway always has to a server: for what is usual, for scripts, for what is large.
pub(crate) const SHARED_CONNECTIONS: usize = 3;

/// A redis-server process on a free port of loopback, that keeps nothing on disk; killed when dropped.
pub(crate) struct TestRedis {
    child: Child,
    port: u16,
    args: Vec<String>,
    /// For what a replica writes when it gets the data.
    folder: TestFolder,
}

impl TestRedis {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// With these arguments besides those for the port; `{port}` in them stands for it.
    pub(crate) fn with(args: &[&str]) -> Self {
        let own = ["--save", "", "--appendonly", "no"];
        Self::run(&[&own, args].concat())
    }

    /// One that has all its data again after it was killed.
    pub(crate) fn durable() -> Self {
        Self::with(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    /// A Sentinel with a configuration file, which it will write to, and these arguments.
    pub(crate) fn sentinel(configuration: &str, args: &[&str]) -> Self {
        Self::run(&[&[configuration, "--sentinel"], args].concat())
    }

    fn run(args: &[&str]) -> Self {
        let args: Vec<_> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let folder = TestFolder::new();
        // A port that was free a moment ago may be another's by now: then another is tried.
        for _ in 0..20 {
            let port = free_port();
            let mut child = spawn(port, &folder, &args);
            let mut up = false;
            wait_until("redis-server listens or gives up", || {
                up = TcpStream::connect(("127.0.0.1", port)).is_ok();
                up || child.try_wait().unwrap().is_some()
            });
            if up && child.try_wait().unwrap().is_none() {
                return Self {
                    child,
                    port,
                    args,
                    folder,
                };
            }
        }
        panic!("redis-server does not start");
    }

    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// Kills it; the data is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it anew on the same port, empty.
    pub(crate) fn restart(&mut self) {
        self.child = spawn(self.port, &self.folder, &self.args);
        let port = self.port;
        wait_until("redis-server listens again", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
    }

    /// What `redis-cli` prints for a command: the data from the other side.
    pub(crate) fn cli(&self, args: &[&str]) -> String {
        let port = self.port.to_string();
        let given = |name: &str| self.args.iter().skip_while(move |arg| *arg != name).nth(1);
        let password = given("--requirepass").map(|word| ("REDISCLI_AUTH", word));
        let authority = given("--tls-ca-cert-file").map(|file| ["--tls", "--cacert", file]);
        let output = Command::new("redis-cli")
            .envs(password)
            .args(["-p", &port])
            .args(authority.into_iter().flatten())
            .args(args)
            .output();
        let output = output.expect("redis-cli is missing: apt-get install redis-tools");
        String::from_utf8(output.stdout)
            .unwrap()
            .trim_end()
            .to_owned()
    }

    /// Has `redis-cli` run commands, each a line as one would type it, as a transaction.
    pub(crate) fn transaction(&self, commands: &[&str]) {
        let port = self.port.to_string();
        let mut cli = Command::new("redis-cli")
            .args(["-p", &port])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-cli is missing: apt-get install redis-tools");
        let lines = format!("MULTI\n{}\nEXEC\n", commands.join("\n"));
        // Taken, so that its end is seen.
        cli.stdin
            .take()
            .unwrap()
            .write_all(lines.as_bytes())
            .unwrap();
        assert!(cli.wait().unwrap().success());
    }

    /// Stops it in its tracks (`STOP`), with all its connections, or lets it go on (`CONT`).
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(status.unwrap().success());
    }

    /// How many clients are connected, those of redis-cli not counted.
    pub(crate) fn clients(&self) -> usize {
        let list = self.cli(&["CLIENT", "LIST"]);
        list.lines()
            .filter(|line| !line.contains("cmd=client"))
            .count()
    }
}

impl Drop for TestRedis {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(port: u16, folder: &TestFolder, args: &[String]) -> Child {
    let port = port.to_string();
    let args = args.iter().map(|arg| arg.replace("{port}", &port));
    let mut args: Vec<_> = args.collect();
    // A configuration file has to be the first argument; of what is given twice the last counts.
    let at = usize::from(args.first().is_some_and(|arg| !arg.starts_with("--")));
    let dir = folder.path("");
    let place = ["--port", &port, "--bind", "127.0.0.1", "--dir", &dir].map(str::to_owned);
    args.splice(at..at, place);
    let child = Command::new("redis-server")
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    child.expect("redis-server is missing: apt-get install redis-server, or run tests/run")
}

/// A port that is free at this moment.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
