//! A tree in memory to an image in memory, and back.

use std::io::Cursor;
use std::num::NonZeroUsize;
use std::sync::Arc;

use divan::Bencher;
use divan::counter::BytesCount;
use flashwright_benches::tree;
use flashwright_squashfs::format::Compression;
use flashwright_squashfs::reader::Image;
use flashwright_squashfs::{Method, Options, write};
use flashwright_tree::Tree;

fn main() {
    divan::main();
}

const FILES: u32 = 200;
const COMPRESSIONS: [Compression; 5] =
    [Compression::Gzip, Compression::Xz, Compression::Zstd, Compression::Lz4, Compression::Lzo];

fn written(tree: &Tree, compression: Compression) -> Vec<u8> {
    let mut options = Options::default();
    options.method = Method::of(compression).unwrap();
    let mut image = Cursor::new(Vec::new());
    write(tree, &options, NonZeroUsize::new(2).unwrap(), &mut image, &mut |_| ()).unwrap();
    image.into_inner()
}

fn len(tree: &Tree) -> BytesCount {
    BytesCount::new(
        tree.walk().filter_map(|entry| entry.node.into_content()).map(|content| content.len()).sum::<u64>(),
    )
}

fn image(tree: &Tree, compression: Compression) -> Image {
    let bytes = written(tree, compression);
    let len = bytes.len() as u64;
    Image::open(Arc::new(bytes), len).unwrap()
}

#[divan::bench(args = COMPRESSIONS, sample_count = 10)]
fn write_image(bencher: Bencher<'_, '_>, compression: Compression) {
    let tree = tree(FILES);
    bencher.counter(len(&tree)).bench_local(|| written(&tree, compression));
}

/// Inodes and directories alone.
#[divan::bench(args = COMPRESSIONS)]
fn read_tree(bencher: Bencher<'_, '_>, compression: Compression) {
    let image = image(&tree(FILES), compression);
    bencher.bench_local(|| image.tree().unwrap());
}

#[divan::bench(args = COMPRESSIONS, sample_count = 10)]
fn read_data(bencher: Bencher<'_, '_>, compression: Compression) {
    let tree = tree(FILES);
    let read = image(&tree, compression).tree().unwrap();
    bencher.counter(len(&tree)).bench_local(|| {
        let mut buffer = Vec::new();
        for content in read.walk().filter_map(|entry| entry.node.into_content()) {
            buffer.resize(usize::try_from(content.len()).unwrap(), 0);
            content.reader().read_exact_at(0, &mut buffer).unwrap();
        }
        buffer
    });
}

#[divan::bench(args = COMPRESSIONS, sample_count = 10)]
fn check(bencher: Bencher<'_, '_>, compression: Compression) {
    let tree = tree(FILES);
    let image = image(&tree, compression);
    bencher.counter(len(&tree)).bench_local(|| assert!(image.check().unwrap().findings.is_clean()));
}
