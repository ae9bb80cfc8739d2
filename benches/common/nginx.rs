//! nginx, with a configuration of the benchmark's own.

use std::fs;
use std::process::Command;

use super::folder::folder;
use super::process::{Process, free_address};

/// Modules, where Debian's packages put them.
pub(crate) const LUA: &str = "/usr/lib/nginx/modules/ngx_http_lua_module.so";
pub(crate) const NCHAN: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";

/// Starts one with a configuration, in which `{listen}` stands for its address and paths are relative to a folder
/// of this name.
pub(crate) fn start(name: &str, configuration: &str) -> Process {
    let address = free_address();
    let folder = folder(name);
    let file = folder.join("nginx.conf");
    let configuration = configuration.replace("{listen}", &address.to_string());
    fs::write(&file, configuration).unwrap();
    // Debian keeps servers where only root's PATH leads.
    let mut command = Command::new("/usr/sbin/nginx");
    command.arg("-p").arg(folder).arg("-c").arg(file);
    command.args(["-e", "stderr"]);
    Process::start(&mut command, address)
}
