//! What sizes, numbers, times and log filters have to be like, and what is said where they are not.

use std::time::Duration;

use bytesize::ByteSize;

use super::LogFilter;

/// The bounds of every time that can be configured.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The bounds of a head's size: a useful request fits, and one read takes it in.
const SMALLEST_HEAD: ByteSize = ByteSize::b(256);
const LARGEST_HEAD: ByteSize = ByteSize::kib(64);

pub(super) fn parse_head_size(text: &str) -> Result<ByteSize, String> {
    match text.parse() {
        Ok(size) if (SMALLEST_HEAD..=LARGEST_HEAD).contains(&size) => Ok(size),
        Ok(_) => Err("a size from 256B to 64KiB is wanted".into()),
        Err(error) => Err(error),
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
    text.parse()
        .map_err(|error| format!("{error} (for example: info, or debug,mini_redis=error)"))
}
