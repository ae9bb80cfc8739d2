//! What the benchmarks stand on: server processes and what they use, the tools that must be there, and the page
//! that shows the figures.

pub(crate) mod machine;
pub(crate) mod page;
pub(crate) mod process;
pub(crate) mod redis;
pub(crate) mod tools;
