//! Redis over HTTP, on a thread pool.

