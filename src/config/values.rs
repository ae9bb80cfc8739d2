//! What addresses, sizes, numbers, times and log filters have to be like, and what is said where they are not.

use std::net::SocketAddr;
use std::time::Duration;

use bytesize::ByteSize;
use tracing_subscriber::filter::LevelFilter;

use super::LogFilter;

/// The bounds of every time that can be configured.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// What a log filter may be.
const LEVELS: &str = "off, error, warn, info, debug or trace is wanted, or module=level, or several of these such as \
                      debug,mini_redis=error";

/// The bounds of a head's size: a useful request fits, and one read takes it in.
const SMALLEST_HEAD: ByteSize = ByteSize::b(256);
const LARGEST_HEAD: ByteSize = ByteSize::kib(64);

pub(super) fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "an IP address and a port such as 127.0.0.1:8080 or [::1]:8080 is wanted".into()
    })
}

/// The library's own words name no size that would do.
pub(super) fn parse_size(text: &str) -> Result<ByteSize, String> {
    let wanted = |_| "a size is wanted: bytes, or such as 64KiB, 10MiB or 1GiB".into();
    text.parse().map_err(wanted)
}

pub(super) fn parse_head_size(text: &str) -> Result<ByteSize, String> {
    match text.parse() {
        Ok(size) if (SMALLEST_HEAD..=LARGEST_HEAD).contains(&size) => Ok(size),
        Ok(_) | Err(_) => Err("a size from 256B to 64KiB is wanted".into()),
    }
}

pub(super) fn parse_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("a whole number from 1 up is wanted".into()),
        Ok(n) => Ok(n),
    }
}

pub(super) fn parse_time(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if (SHORTEST..=LONGEST).contains(&time) => Ok(time),
        Ok(_) => Err("a time from 1ms to 1day is wanted".into()),
        Err(error) => Err(format!("{error} (for example: 500ms, 10s, 2m)")),
    }
}

pub(super) fn parse_log(text: &str) -> Result<LogFilter, String> {
    // The library takes a word that is no level for a module that may say everything, and silences all others; and no
    // word at all for "error".
    for directive in text.split(',').map(str::trim) {
        let (module, level) = match directive.split_once('=') {
            Some((module, level)) => (Some(module), level),
            None => (None, directive),
        };
        if level.is_empty() || level.parse::<LevelFilter>().is_err() {
            return Err(format!("{level:?} is no level; {LEVELS}"));
        }
        if module.is_some_and(str::is_empty) {
            return Err(format!("{directive:?} names no module; {LEVELS}"));
        }
    }
    text.parse().map_err(|error| format!("{error}; {LEVELS}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_filter_has_levels() {
        for text in [
            "info",
            "WARN",
            "off",
            "2",
            "info,mini_redis=error",
            "mini_redis=off, debug",
            "redis_http_gateway::hub=trace",
        ] {
            assert!(parse_log(text).is_ok(), "{text}");
        }
        for text in [
            "warning",
            "loud",
            "mini_redis",
            "nonsense=",
            "nonsense=loud",
            "=info",
            "a=b=info",
            "info,",
            "info,mini_redis",
            "",
        ] {
            let said = parse_log(text).expect_err(text);
            assert!(said.contains("warn, info, debug"), "{text}: {said}");
        }
    }
}
