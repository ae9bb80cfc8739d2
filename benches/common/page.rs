//! `docs/benchmarks.md`: what stands there between two markers is written by the benchmarks.

use std::fs;
use std::path::PathBuf;

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/benchmarks.md")
}

/// Replaces what stands between `<!-- name -->` and `<!-- end of name -->`.
///
/// # Panics
/// Where the page has no such place.
pub(crate) fn replace(name: &str, text: &str) {
    let page = fs::read_to_string(path()).unwrap();
    let (begin, end) = (
        format!("<!-- {name} -->\n"),
        format!("<!-- end of {name} -->"),
    );
    let (before, rest) = page
        .split_once(&begin)
        .unwrap_or_else(|| panic!("docs/benchmarks.md has no {begin:?}"));
    let (_, after) = rest
        .split_once(&end)
        .unwrap_or_else(|| panic!("docs/benchmarks.md has no {end:?}"));
    let page = format!("{before}{begin}\n{}\n\n{end}{after}", text.trim());
    fs::write(path(), page).unwrap();
}
