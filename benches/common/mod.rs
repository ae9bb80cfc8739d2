//! What the benchmarks stand on: server processes and what they use, the tools that must be there, and the page
//! that shows the figures.

#![allow(dead_code, reason = "each benchmark uses the parts that it needs")]

pub(crate) mod folder;
pub(crate) mod gateway;
pub(crate) mod machine;
pub(crate) mod median;
pub(crate) mod network;
pub(crate) mod nginx;
pub(crate) mod page;
pub(crate) mod process;
pub(crate) mod redis;
pub(crate) mod tools;
