//! Any bytes as a tar archive; what can be read of it is read to the end.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(loaded) = flashwright_manifest::read_tar(data) else { return };
    for entry in loaded.tree.walk() {
        if let Some(content) = entry.node.into_content().filter(|content| content.len() < 1 << 24) {
            content.to_vec().expect("data that the headers promised");
        }
    }
});
