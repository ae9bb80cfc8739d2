//! Files of a test's own: a folder that is gone with it, and certificates.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A folder, removed when dropped.
pub(crate) struct TestFolder(PathBuf);

impl TestFolder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("gateway-test-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // One of an earlier process of this number may have been left by a crash.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// The path of a file in it.
    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// Makes a file in it, and says where it is.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for TestFolder {
    fn drop(&mut self) {
        // It is only untidy if this fails.
        let _ = fs::remove_dir_all(&self.0);
    }
}

const OPENSSL: &str = "
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
[leaf]
basicConstraints = critical, CA:FALSE
extendedKeyUsage = serverAuth, clientAuth
subjectAltName = IP:127.0.0.1, DNS:localhost
";

/// A certificate authority with certificates for server and client, each `NAME.pem` with `NAME.key`.
pub(crate) struct TestAuthority {
    folder: TestFolder,
}

impl TestAuthority {
    pub(crate) fn new() -> Self {
        let folder = TestFolder::new();
        folder.write("openssl.cnf", OPENSSL);
        let authority = Self { folder };
        authority.make("ca", &["-extensions", "authority"]);
        for name in ["server", "client"] {
            let (ca, key) = (authority.path("ca.pem"), authority.path("ca.key"));
            authority.make(name, &["-extensions", "leaf", "-CA", &ca, "-CAkey", &key]);
        }
        authority
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path(name)
    }

    /// Arguments for a redis-server that speaks TLS only; clients need not show a certificate, unless more is
    /// said.
    pub(crate) fn server_args(&self) -> Vec<String> {
        let [cert, key, ca] = ["server.pem", "server.key", "ca.pem"].map(|name| self.path(name));
        let args = [
            "--port",
            "0",
            "--tls-port",
            "{port}",
            "--tls-cert-file",
            &cert,
            "--tls-key-file",
            &key,
            "--tls-ca-cert-file",
            &ca,
            "--tls-auth-clients",
            "no",
        ];
        args.map(str::to_owned).to_vec()
    }

    fn make(&self, name: &str, args: &[&str]) {
        let status = Command::new("openssl")
            .args("req -x509 -nodes -days 2 -newkey ec -pkeyopt ec_paramgen_curve:P-256".split(' '))
            .args(["-config", &self.path("openssl.cnf")])
            .args(["-subj", &format!("/CN={name}")])
            .args(["-keyout", &self.path(&format!("{name}.key"))])
            .args(["-out", &self.path(&format!("{name}.pem"))])
            .args(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let made = status.expect("openssl is missing: apt-get install openssl, or run tests/run");
        assert!(made.success() && Path::new(&self.path(&format!("{name}.pem"))).exists());
    }
}
