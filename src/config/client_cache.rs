//! The flag of the client cache.

use bytesize::ByteSize;
use clap::Args;
use clap::error::ErrorKind;

use super::UpstreamUrl;

/// Less would hold next to nothing.
const SMALLEST: ByteSize = ByteSize::mib(1);

/// Whether values are kept to be read without asking Redis.
#[derive(Debug, Clone, Args)]
pub struct CacheFlags {
    /// Memory for values that were read by GET: further GETs are answered from it without asking Redis, which tells
    /// when they change. 0 keeps none. For one Redis server or a Sentinel group, not for a Cluster or the embedded one.
    #[arg(long = "client-cache", env = "GATEWAY_CLIENT_CACHE", value_name = "SIZE", default_value = "0", value_parser = parse_size)]
    pub size: ByteSize,
}

impl CacheFlags {
    /// Whether there can be one in front of what is served.
    ///
    /// # Errors
    /// A usage error that says why not.
    pub fn check(&self, upstream: &UpstreamUrl) -> Result<(), clap::Error> {
        if self.size.as_u64() == 0 || upstream.is_one_server() {
            return Ok(());
        }
        let message =
            "--client-cache is for one Redis server or its Sentinels, and --upstream names none\n";
        Err(clap::Error::raw(ErrorKind::ArgumentConflict, message))
    }

    /// Bytes, if there is to be one.
    pub(super) fn size(&self) -> Option<usize> {
        let bytes = usize::try_from(self.size.as_u64()).unwrap_or(usize::MAX);
        (bytes > 0).then_some(bytes)
    }
}

fn parse_size(text: &str) -> Result<ByteSize, String> {
    match text.parse::<ByteSize>() {
        Ok(size) if size.as_u64() == 0 || size >= SMALLEST => Ok(size),
        Ok(_) | Err(_) => Err("0, or a size from 1MiB up, is wanted".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_none_or_one_that_holds_something() {
        assert_eq!(parse_size("0"), Ok(ByteSize::b(0)));
        assert_eq!(parse_size("64MiB"), Ok(ByteSize::mib(64)));
        assert!(parse_size("1KiB").is_err_and(|error| error.contains("1MiB")));
        assert!(parse_size("much").is_err());
    }

    #[test]
    fn it_is_for_one_server() {
        let size = ByteSize::mib(1);
        let check = |size, url: &str| CacheFlags { size }.check(&url.parse().expect("a URL"));
        assert!(check(size, "embedded").is_err());
        assert!(check(ByteSize::b(0), "embedded").is_ok());
        for url in ["redis://h", "redis+unix:///s", "redis+sentinel://h/m"] {
            assert!(check(size, url).is_ok(), "{url}");
        }
    }
}
