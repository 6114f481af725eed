//! Any volumes with any geometry: refused, or an image that the checker finds nothing wrong with and that has the same
//! content.

#![no_main]

use std::sync::Arc;

use flashwright_media::UbiGeometry;
use flashwright_ubi::format::VolumeType;
use flashwright_ubi::reader::Image;
use flashwright_ubi::{Content, Options, Volume, plan};
use libfuzzer_sys::fuzz_target;

type Wanted = (String, Option<u8>, bool, u8, Option<u16>, Option<Vec<u8>>, u8);

fn volume((name, id, is_static, alignment, size, bytes, flags): Wanted, min_io: u32) -> Volume {
    let mut volume = Volume::new(name);
    volume.id = id.map(u32::from);
    volume.volume_type = if is_static { VolumeType::Static } else { VolumeType::Dynamic };
    volume.alignment = if alignment == 0 { 1 } else { u32::from(alignment) * min_io };
    volume.size = size.map(u64::from);
    volume.content = bytes.map(Content::from_bytes);
    (volume.autoresize, volume.skip_check) = (flags & 1 != 0, flags & 2 != 0);
    volume
}

fuzz_target!(|input: (u8, u8, u8, u32, Option<u32>, Vec<Wanted>)| {
    let (peb, min_io, sub_page, erase_count, image_seq, volumes) = input;
    let min_io = 1 << (min_io % 12);
    let sub_page = (sub_page != 0).then(|| 1 << (sub_page % 12));
    let Ok(geometry) = UbiGeometry::new(1024 << (peb % 6), min_io, sub_page, None) else { return };
    let volumes: Vec<Volume> = volumes.into_iter().map(|wanted| volume(wanted, min_io)).collect();
    let mut options = Options::new(geometry);
    (options.erase_count, options.image_seq) = (erase_count.into(), image_seq);
    let Ok(plan) = plan(&volumes, &options) else { return };
    let mut bytes = Vec::new();
    plan.write_to(&mut bytes, &mut |_| ()).expect("content in memory");
    let len = bytes.len() as u64;
    let image = Image::open(Arc::new(bytes), len, None).expect("an image just written");
    let report = image.check().expect("memory");
    assert!(report.is_clean(), "{:#?}", report.findings);
    for volume in &volumes {
        let found = image.volume(&volume.name).expect("a volume just written");
        let mut read = Vec::new();
        image.extract(found, &mut read, &mut |_| ()).expect("data just written");
        let Some(content) = &volume.content else { continue };
        let mut expected = vec![0; content.len as usize];
        content.source.read_exact_at(0, &mut expected).expect("memory");
        assert_eq!(&read[..expected.len()], expected);
    }
});
