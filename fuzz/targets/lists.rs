//! Any bytes as a device table, a pack file and an init list.

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = flashwright_manifest::parse_device_table(data);
    let _ = flashwright_manifest::parse_pack_file(data);
    let _ = flashwright_manifest::parse_init_list(data, &BTreeMap::new());
});
