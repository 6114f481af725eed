//! Any bytes as a pseudo file of mksquashfs.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = flashwright_manifest::parse_pseudo(data);
});
