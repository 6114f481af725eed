//! Any bytes as the JSON tree that Liminix writes, and as a list of paths.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = flashwright_manifest::parse_liminix(data);
    let _ = flashwright_manifest::parse_paths(data);
});
