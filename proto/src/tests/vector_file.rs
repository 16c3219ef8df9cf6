//! The form of `vectors/*.txt`: blocks of `name: value` lines with an empty line between them.
//!
//! ```text
//! # a comment
//! name: cancel
//! bytes: 043a020805
//! means: {"cancel":{"id":"5"}}
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;

/// One block.
pub(crate) type Block = BTreeMap<String, String>;

/// Set, the files are written anew instead of compared.
const REGENERATE: &str = "DAMSO_REGENERATE";

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors").join(file)
}

/// Reads a file block by block.
pub(crate) fn read(file: &str) -> Vec<Block> {
    let text = std::fs::read_to_string(path(file)).expect("the file is there");
    let lines = |block: &str| {
        let lines = block.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| line.split_once(": ").unwrap_or((line.trim_end_matches(':'), "")))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect::<Block>()
    };
    text.split("\n\n").map(lines).filter(|block| !block.is_empty()).collect()
}

/// Compares a file with what it must be; writes it when asked to.
pub(crate) fn check(file: &str, expected: &str) {
    if std::env::var_os(REGENERATE).is_some() {
        std::fs::write(path(file), expected).expect("vectors/ is writable");
    }
    let stored = std::fs::read_to_string(path(file)).unwrap_or_default();
    assert!(
        stored == expected,
        "vectors/{file} differs: run `{REGENERATE}=1 cargo test -p damso-proto vectors`"
    );
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of lower-case hexadecimal, spaces passed over.
pub(crate) fn unhex(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|byte| *byte != b' ').collect();
    assert!(digits.len().is_multiple_of(2), "half a byte in {hex}");
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).expect("ASCII");
        u8::from_str_radix(pair, 16).expect("a hexadecimal digit")
    };
    digits.chunks(2).map(byte).collect()
}
