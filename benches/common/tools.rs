//! The programs that a benchmark runs, and the Debian packages that hold them.

use std::path::Path;

/// A program or a module of one, and its package.
pub(crate) struct Tool {
    /// A name on the PATH, or a path.
    pub(crate) file: &'static str,
    pub(crate) package: &'static str,
}

/// Panics with what is to be installed, unless all are there: a comparison without one of its parts is none.
pub(crate) fn require(tools: &[Tool]) {
    let lacking: Vec<_> = tools.iter().filter(|tool| !is_there(tool.file)).collect();
    if lacking.is_empty() {
        return;
    }
    let files: Vec<_> = lacking.iter().map(|tool| tool.file).collect();
    let packages: Vec<_> = lacking.iter().map(|tool| tool.package).collect();
    panic!(
        "these are missing: {}; apt-get install {}",
        files.join(", "),
        packages.join(" ")
    );
}

fn is_there(file: &str) -> bool {
    // Debian keeps servers where only root's PATH leads.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    folders.any(|folder| folder.join(file).exists())
        || Path::new(file).is_absolute() && Path::new(file).exists()
}
