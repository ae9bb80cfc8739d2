//! nginx in front of a gateway, as Debian has it.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::TestFolder;
use super::redis::free_port;
use super::wait_until;

/// An nginx process on a free port that passes everything on; killed when dropped.
pub(crate) struct TestNginx {
    child: Child,
    pub(crate) address: SocketAddr,
    _folder: TestFolder,
}

impl TestNginx {
    /// With its defaults, and these directives besides.
    pub(crate) fn start(gateway: SocketAddr, directives: &str) -> Self {
        let folder = TestFolder::new();
        // A port that was free a moment ago may be another's by now: then another is tried.
        for _ in 0..20 {
            let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
            let configuration = configuration(&folder, address, gateway, directives);
            let configuration = folder.write("nginx.conf", configuration);
            let mut child = spawn(&configuration, &folder.path("error.log"));
            let mut up = false;
            wait_until("nginx listens or gives up", || {
                up = TcpStream::connect(address).is_ok();
                up || child.try_wait().unwrap().is_some()
            });
            if up && child.try_wait().unwrap().is_none() {
                return Self {
                    child,
                    address,
                    _folder: folder,
                };
            }
        }
        panic!("nginx does not start");
    }
}

impl Drop for TestNginx {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configuration(
    folder: &TestFolder,
    address: SocketAddr,
    gateway: SocketAddr,
    directives: &str,
) -> String {
    let path = |name: &str| folder.path(name);
    format!(
        "daemon off;
        # One process, which ends with the test.
        master_process off;
        pid {pid};
        events {{}}
        http {{
            access_log off;
            client_body_temp_path {body};
            proxy_temp_path {proxy};
            fastcgi_temp_path {proxy};
            uwsgi_temp_path {proxy};
            scgi_temp_path {proxy};
            server {{
                listen {address};
                location / {{
                    proxy_pass http://{gateway};
                    {directives}
                }}
            }}
        }}",
        pid = path("pid"),
        body = path("body"),
        proxy = path("proxy"),
    )
}

fn spawn(configuration: &str, log: &str) -> Child {
    // Where Debian has it is not in everybody's path.
    let program = ["/usr/sbin/nginx", "nginx"]
        .into_iter()
        .find(|path| Path::new(path).exists());
    let child = Command::new(program.unwrap_or("nginx"))
        .args(["-c", configuration, "-e", log])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    child.expect("nginx is missing: apt-get install nginx-core, or run tests/run")
}
