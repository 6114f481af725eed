//! One unit of data through each compressor, and back.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use flashwright_benches::data;
use flashwright_codec::{Compressor, Decompressor, lz4, lzo, xz, zlib, zstd};

fn main() {
    divan::main();
}

/// Bytes of a unit: JFFS2's and SquashFS's usual ones.
const UNITS: [usize; 2] = [4 << 10, 128 << 10];
/// As the writers use them.
const CODECS: [&str; 8] = ["zlib-6", "zlib-9", "zlib-12", "xz-6", "zstd-15", "lz4-fast", "lz4-hc-12", "lzo"];

fn compressor(name: &str) -> Box<dyn Compressor> {
    let zlib = |level| zlib::compressor(zlib::Level::new(level).unwrap()).unwrap();
    match name {
        "zlib-6" => zlib(6),
        "zlib-9" => zlib(9),
        "zlib-12" => zlib(12),
        "xz-6" => xz::compressor(xz::Settings::preset(6, 128 << 10)),
        "zstd-15" => zstd::compressor(zstd::Level::new(15).unwrap()).unwrap(),
        "lz4-fast" => lz4::compressor(lz4::Mode::Fast),
        "lz4-hc-12" => lz4::compressor(lz4::Mode::Hc(12)),
        "lzo" => lzo::compressor(),
        _ => unreachable!("every name of CODECS is here"),
    }
}

fn decompressor(name: &str) -> Box<dyn Decompressor> {
    match name.split('-').next() {
        Some("zlib") => zlib::decompressor(),
        Some("xz") => xz::decompressor(32 << 20),
        Some("zstd") => zstd::decompressor().unwrap(),
        Some("lz4") => lz4::decompressor(),
        _ => lzo::decompressor(),
    }
}

#[divan::bench(args = CODECS, consts = UNITS)]
fn compress<const UNIT: usize>(bencher: Bencher<'_, '_>, name: &str) {
    let (input, mut output) = (data(UNIT, 1), Vec::with_capacity(UNIT));
    let mut compressor = compressor(name);
    bencher.counter(BytesCount::new(UNIT)).bench_local(|| {
        output.clear();
        compressor.compress(black_box(&input), UNIT, &mut output).unwrap()
    });
}

#[divan::bench(args = CODECS, consts = UNITS)]
fn decompress<const UNIT: usize>(bencher: Bencher<'_, '_>, name: &str) {
    let (mut packed, mut output) = (Vec::new(), vec![0; UNIT]);
    assert!(compressor(name).compress(&data(UNIT, 1), UNIT, &mut packed).unwrap());
    let mut decompressor = decompressor(name);
    bencher
        .counter(BytesCount::new(UNIT))
        .bench_local(|| decompressor.decompress(black_box(&packed), &mut output).unwrap());
}
