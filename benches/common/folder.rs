//! Folders for the files that servers and tools are given, the same in every run.

use std::fs;
use std::path::{Path, PathBuf};

/// A folder of this name, which is there.
pub(crate) fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("benches")
        .join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}
