//! The `Date` header, formatted once a second.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use tiny_http::Header;

thread_local! {
    /// The second of the last call on this thread, and its header.
    static LAST: RefCell<(u64, Option<Header>)> = const { RefCell::new((0, None)) };
}

/// `Date` for now (RFC 9110, 6.6.1).
#[expect(clippy::expect_used, reason = "an HTTP date is ASCII")]
pub(super) fn header() -> Header {
    let now = SystemTime::now();
    let second = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    LAST.with_borrow_mut(|(last, header)| {
        if *last != second || header.is_none() {
            let date = httpdate::fmt_http_date(now);
            *last = second;
            *header = Header::from_bytes("Date", date).ok();
        }
        header.clone().expect("it was just made")
    })
}
