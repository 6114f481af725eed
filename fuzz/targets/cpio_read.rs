//! Any bytes as an initramfs archive.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = flashwright_cpio::read_bytes(data);
});
