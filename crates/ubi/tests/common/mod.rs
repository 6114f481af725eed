//! Volumes and images for tests.
#![allow(dead_code, unreachable_pub, reason = "shared by tests, of which not every one uses all of it")]

use std::sync::Arc;

use flashwright_media::UbiGeometry;
use flashwright_ubi::format::VolumeType;
use flashwright_ubi::reader::Image;
use flashwright_ubi::{Content, Options, Summary, Volume, plan};

pub const PEB: u32 = 16 << 10;
pub const PAGE: u32 = 512;

/// Bytes that look like none of the formats known, and differ everywhere.
pub fn noise(len: usize, seed: u32) -> Vec<u8> {
    let mut state = u64::from(seed) * 2 + 1;
    let step = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..len).map(step).collect()
}

/// Small NAND: PEBs of 16 KiB, pages of 512 bytes, sub-pages of 256.
pub fn small() -> UbiGeometry {
    UbiGeometry::new(PEB, PAGE, Some(256), None).unwrap()
}

pub fn volume(name: &str, change: impl FnOnce(&mut Volume)) -> Volume {
    let mut volume = Volume::new(name);
    change(&mut volume);
    volume
}

/// A volume with that content.
pub fn filled(name: &str, volume_type: VolumeType, bytes: Vec<u8>) -> Volume {
    volume(name, |volume| {
        volume.volume_type = volume_type;
        volume.content = Some(Content::from_bytes(bytes));
    })
}

/// All kinds of volumes, on [`small`] flash.
pub fn everything() -> Vec<Volume> {
    let mut grows = filled("grows", VolumeType::Dynamic, noise(40_000, 1));
    (grows.autoresize, grows.size, grows.id) = (true, Some(100_000), Some(7));
    let mut fixed = filled("static with a name", VolumeType::Static, noise(50_001, 2));
    fixed.skip_check = true;
    let mut aligned = filled("aligned", VolumeType::Dynamic, noise(30_000, 3));
    aligned.alignment = 4096;
    let mut both = filled("aligned, static", VolumeType::Static, noise(20_000, 4));
    (both.alignment, both.size) = (2560, Some(90_000));
    let empty = volume("empty", |volume| volume.size = Some(1));
    let full = filled(&"n".repeat(127), VolumeType::Static, noise(15_872 * 2, 5));
    vec![grows, fixed, aligned, both, empty, full]
}

pub fn image_of(volumes: &[Volume], options: &Options) -> (Vec<u8>, Summary) {
    let mut image = Vec::new();
    let summary = plan(volumes, options).unwrap().write_to(&mut image, &mut |_| ()).unwrap();
    assert_eq!(image.len() as u64, summary.bytes_out);
    (image, summary)
}

pub fn open(image: &[u8]) -> Image {
    Image::open(Arc::new(image.to_vec()), image.len() as u64, None).unwrap()
}

pub fn content(image: &Image, name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let len = image.extract(image.volume(name).unwrap(), &mut bytes, &mut |_| ()).unwrap();
    assert_eq!(len, bytes.len() as u64);
    bytes
}

/// Every finding of a check, as it is shown.
pub fn findings(image: &Image) -> Vec<String> {
    let report = image.check().unwrap();
    assert_eq!(report.more, 0);
    report.findings.iter().map(ToString::to_string).collect()
}
