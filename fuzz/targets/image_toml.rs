//! Any text as an image.toml.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = flashwright_manifest::parse_toml(text);
});
