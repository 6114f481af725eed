//! Any bytes as a UBI image or a dump of flash: volumes, check, fastmap, the first bytes of every volume.

#![no_main]

use std::io::{self, Write};
use std::sync::Arc;

use flashwright_ubi::format::VolumeType;
use flashwright_ubi::reader::Image;
use libfuzzer_sys::fuzz_target;

/// Bytes of a volume that are read: a volume may claim to be larger than any flash.
const MOST: usize = 1 << 20;

struct Limited(usize);

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        if self.0 > MOST { Err(io::ErrorKind::StorageFull.into()) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(image) = Image::open(Arc::new(data.to_vec()), data.len() as u64, None) else { return };
    let clean = image.check().is_ok_and(|report| report.is_clean());
    let _ = (image.fastmap(), image.erase_counts(), image.image_seqs());
    for volume in image.volumes() {
        let read = image.extract(volume, &mut Limited(0), &mut |_| ());
        if clean && volume.volume_type == VolumeType::Static && volume.len < MOST as u64 {
            read.expect("the check is clean");
        }
    }
});
