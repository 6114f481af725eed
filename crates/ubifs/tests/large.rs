//! A file of more than 4 GiB of which every block is stored: no hole, and nothing that 32 bits count.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use flashwright_tree::{Content, Node, ReadAt, Source, Timestamp, Tree, compare};
use flashwright_ubifs::format::BLOCK_SIZE;
use flashwright_ubifs::reader::Image;
use flashwright_ubifs::{Compression, Effort, Geometry, Options, Summary, write};
use vmtest::protocol::Step;
use vmtest::{Rules, Vm};

const LEN: u64 = (4 << 30) + 3 * BLOCK as u64 + 5;
const BLOCK: usize = BLOCK_SIZE as usize;

/// Bytes that follow from their position, so that they need no room anywhere; each block is another, and packs well.
#[derive(Debug)]
struct Pattern;

impl ReadAt for Pattern {
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let first = offset / BLOCK as u64;
        let mut skip = usize::try_from(offset % BLOCK as u64).unwrap();
        let mut rest = buffer;
        for number in first.. {
            if rest.is_empty() {
                break;
            }
            let mut block = [0x55; BLOCK];
            block[..8].copy_from_slice(&number.to_le_bytes());
            let len = rest.len().min(BLOCK - skip);
            rest[..len].copy_from_slice(&block[skip..skip + len]);
            (rest, skip) = (&mut rest[len..], 0);
        }
        Ok(())
    }
}

fn tree() -> Tree {
    let mut tree = Tree::new();
    let content = Content::empty().with(Source::Reader(Arc::new(Pattern)), 0, LEN);
    let mut node = Node::file(0o644, content);
    node.metadata.mtime = Timestamp::from_seconds(1_700_000_000);
    tree.insert(Tree::ROOT, b"large", node).unwrap();
    tree
}

fn write_image(path: &Path) -> (Options, Summary) {
    let mut options = Options::new(Geometry { leb_size: 130_944, min_io_size: 1 }, 1400);
    (options.compression, options.effort) = (Compression::Zstd, Effort::Fast);
    let mut file = File::create(path).unwrap();
    let threads = NonZeroUsize::new(2).unwrap();
    let summary = write(&tree(), &options, threads, &mut file, &mut |_| ()).unwrap();
    assert_eq!(summary.hole_bytes, 0);
    assert_eq!(summary.stored.zstd, LEN.div_ceil(BLOCK as u64) - 1);
    assert_eq!(summary.stored.none, 1, "the last block has 5 bytes");
    (options, summary)
}

#[test]
fn a_file_beyond_4_gib_is_stored_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    let (_, summary) = write_image(&path);
    let image = Image::open(Arc::new(File::open(&path).unwrap()), summary.bytes_out).unwrap();
    let report = image.check().unwrap();
    assert!(report.is_clean(), "{:#?}", report.findings);
    assert_eq!(report.blocks, LEN.div_ceil(BLOCK as u64));
    let differences = compare(&tree(), &image.tree().unwrap()).unwrap();
    assert!(differences.is_empty(), "{differences:?}");
}

/// The emulated machine unpacks and hashes 4 GiB, which takes it many minutes.
#[test]
#[ignore = "for the long run: cargo test -p flashwright-ubifs --test large -- --ignored"]
fn a_pc_reads_a_file_beyond_4_gib() {
    let Some(mut vm) = Vm::amd64() else { return };
    vm.timeout(Duration::from_secs(3600));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    let (options, summary) = write_image(&path);
    let pebs = summary.leb_cnt + 100;
    vm.module("mtdram", &format!("total_size={} erase_size=128", pebs * 128)).unwrap();
    for module in ["lzo", "deflate", "zstd", "ubi", "ubifs"] {
        vm.module(module, "").unwrap();
    }
    let (mtd, name, ubi) = ("mtdram test device".to_owned(), || "root".to_owned(), 0);
    let bytes = u64::from(summary.leb_cnt + 80) * u64::from(options.geometry.leb_size);
    let (from, len) = (vm.disk(&path).device(), summary.bytes_out);
    let steps = [
        Step::UbiAttach { mtd, ubi, vid_hdr_offset: None, max_beb_per1024: None },
        Step::UbiMakeVolume { ubi, name: name(), id: None, bytes, alignment: 1, is_static: false },
        Step::UbiUpdate { ubi, name: name(), from, len },
    ]
    .map(|step| vm.step(step));
    let visit = vm.visit_device("ubifs", "ubi0:root", "", true);
    let report = vm.run().unwrap();
    steps.iter().for_each(|&step| drop(report.outcome(step).clone()));
    let complaints = report.complaints(visit.mount, visit.unmount, &[]);
    assert!(complaints.is_empty(), "{complaints:#?}");
    report.assert_walk(visit.walk, &tree(), &Rules::exact());
}
