//! Damaged and malicious images: an error or a finding, never a panic, and memory within bounds.

#![allow(clippy::cast_possible_truncation, reason = "small numbers")]

mod common;

use std::sync::{Arc, Mutex, PoisonError};

use common::{everything, image};
use flashwright_jffs2::Options;
use flashwright_jffs2::reader::{ErrorClass, Image, ReadOptions};
use flashwright_media::{Endian, crc32_from_zero};
use flashwright_tree::{Content, Node, NodeKind, Tree, Xattrs};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// What any input below 16 MiB may take. The inputs themselves are counted too.
const MEMORY: usize = 64 << 20;

/// Reads everything in an image, as far as it goes. True when nothing is wrong with it.
fn exhaust(bytes: Vec<u8>) -> bool {
    let len = bytes.len() as u64;
    let Ok(image) = Image::open(Arc::new(bytes), len, &ReadOptions::default()) else { return false };
    let sound = image.check().is_ok_and(|report| report.findings.is_clean());
    let _ = image.info();
    if let Ok((tree, _)) = image.salvage() {
        read_all(&tree);
    }
    let tree = image.tree();
    assert!(!sound || tree.is_ok(), "the check is clean, but: {:?}", tree.err());
    sound && read_all(&tree.unwrap())
}

fn read_all(tree: &Tree) -> bool {
    let mut buffer = vec![0; 4096];
    tree.walk().filter_map(|entry| entry.node.into_content()).all(|content| {
        // Files may claim any size: the first and the last page of each extent are enough.
        content.extents().iter().take(64).all(|extent| {
            let len = usize::try_from(extent.len.min(4096)).unwrap();
            let mut reader = content.reader();
            reader.read_exact_at(extent.start, &mut buffer[..len]).is_ok()
                && reader.read_exact_at(extent.start + extent.len - len as u64, &mut buffer[..len]).is_ok()
        })
    })
}

/// Memory is counted for the whole program: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn bounded(test: impl FnOnce()) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    test();
    let peak = ALLOCATOR.peak_usage().saturating_sub(before);
    assert!(peak < MEMORY, "{peak} bytes");
}

fn small() -> Tree {
    let mut tree = Tree::new();
    let mut file = Node::file(0o644, Content::from_bytes(b"some text, some text, some text".repeat(20)));
    file.metadata.xattrs = Xattrs::from([(b"user.name".to_vec(), b"value".to_vec())]);
    let file = tree.insert(Tree::ROOT, b"file", file).unwrap();
    tree.link(Tree::ROOT, b"link", file).unwrap();
    let directory = tree.insert(Tree::ROOT, b"directory", Node::directory(0o700)).unwrap();
    tree.insert(directory, b"target", Node::symlink(*b"../file")).unwrap();
    tree.insert(
        directory,
        b"holes",
        Node::file(0o600, Content::empty().with(flashwright_tree::Source::Hole, 0, 9000)),
    )
    .unwrap();
    tree
}

/// Small images of both byte orders, one with a summary.
fn images() -> Vec<Vec<u8>> {
    let mut full = Options::new(8 << 10, Endian::Big);
    full.compressors = flashwright_jffs2::Compressors::NONE;
    let mut two_blocks = small();
    let noise = Node::file(0o644, Content::from_bytes(common::noise(9000, 1)));
    two_blocks.insert(Tree::ROOT, b"noise", noise).unwrap();
    vec![
        image(&small(), &Options::new(8 << 10, Endian::Little)).0,
        image(&small(), &Options::new(8 << 10, Endian::Big)).0,
        image(&two_blocks, &full).0,
    ]
}

#[test]
fn every_turned_bit_is_found() {
    bounded(|| {
        for image in images() {
            assert!(exhaust(image.clone()));
            for bit in 0..image.len() * 8 {
                let mut damaged = image.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                // Padding between nodes, and cleared bits of erased flash, say nothing.
                let erased = image[bit / 8] == 0xff;
                // The bit that marks a node as obsolete is the kernel's to clear.
                let obsolete = damaged.len() == image.len() && is_obsolete_bit(&image, bit);
                assert!(!exhaust(damaged) || erased || obsolete, "bit {bit} of {} bytes", image.len());
            }
        }
    });
}

/// Whether that bit is JFFS2_NODE_ACCURATE of a node.
fn is_obsolete_bit(image: &[u8], bit: usize) -> bool {
    let start = (bit / 8) & !3;
    let (little, big) =
        (image[start..].starts_with(&[0x85, 0x19]), image[start..].starts_with(&[0x19, 0x85]));
    (little && bit == (start + 3) * 8 + 5) || (big && bit == (start + 2) * 8 + 5)
}

#[test]
fn every_length_is_taken() {
    bounded(|| {
        for image in images() {
            for len in 0..image.len() {
                exhaust(image[..len].to_vec());
            }
        }
    });
}

/// Positions where nodes begin.
fn borders(image: &[u8]) -> Vec<usize> {
    let starts =
        |at: &usize| image[*at..].starts_with(&[0x85, 0x19]) || image[*at..].starts_with(&[0x19, 0x85]);
    (0..image.len() - 4).step_by(4).filter(starts).collect()
}

#[test]
fn an_image_cut_at_any_border_of_nodes_is_read_as_far_as_it_goes() {
    bounded(|| {
        for endian in [Endian::Little, Endian::Big] {
            let bytes = image(&everything(true), &Options::new(64 << 10, endian)).0;
            let borders = borders(&bytes);
            assert!(borders.len() > 800);
            for &border in borders.iter().step_by(23) {
                let len = border as u64;
                let Ok(image) = Image::open(Arc::new(bytes[..border].to_vec()), len, &ReadOptions::default())
                else {
                    assert_eq!(border, 0);
                    continue;
                };
                let (tree, _) = image.salvage().unwrap();
                assert!(read_all(&tree), "{border}");
            }
        }
    });
}

/// A node of that type: header, CRCs, body. `crcs`: positions of two CRCs in the body, and what the first one covers.
fn node(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut node = [0x1985u16.to_le_bytes(), kind.to_le_bytes()].concat();
    node.extend_from_slice(&(body.len() as u32 + 12).to_le_bytes());
    node.extend_from_slice(&crc32_from_zero(&node).to_le_bytes());
    node.extend_from_slice(body);
    node
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn dirent(parent: u32, version: u32, ino: u32, name: &[u8], kind: u8) -> Vec<u8> {
    let mut body = words(&[parent, version, ino, 0]);
    body.extend_from_slice(&[name.len() as u8, kind, 0, 0]);
    let head = node(0xe001, &[body.clone(), vec![0; 8 + name.len()]].concat());
    body.extend_from_slice(&crc32_from_zero(&head[..32]).to_le_bytes());
    body.extend_from_slice(&crc32_from_zero(name).to_le_bytes());
    body.extend_from_slice(name);
    padded(node(0xe001, &body))
}

/// Data of an inode: how it is compressed, where it is in the file, how long it is there.
struct Data<'a> {
    compression: u8,
    offset: u32,
    len: u32,
    stored: &'a [u8],
}

fn inode(ino: u32, version: u32, mode: u32, size: u32, data: &Data<'_>) -> Vec<u8> {
    let stored_len = data.stored.len() as u32;
    let mut body = words(&[ino, version, mode, 0, size, 0, 0, 0, data.offset, stored_len, data.len]);
    body.extend_from_slice(&[data.compression, 0, 0, 0]);
    body.extend_from_slice(&crc32_from_zero(data.stored).to_le_bytes());
    let head = node(0xe002, &[body.clone(), vec![0; 4 + data.stored.len()]].concat());
    body.extend_from_slice(&crc32_from_zero(&head[..60]).to_le_bytes());
    body.extend_from_slice(data.stored);
    padded(node(0xe002, &body))
}

fn padded(mut node: Vec<u8>) -> Vec<u8> {
    node.resize(node.len().next_multiple_of(4), 0xff);
    node
}

const NO_DATA: Data<'_> = Data { compression: 0, offset: 0, len: 0, stored: &[] };

/// 16 million bytes of what `make` makes of 1, 2, 3…
fn flood(make: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    let mut image = Vec::with_capacity(16_000_000);
    for number in 1.. {
        let node = make(number);
        if image.len() + node.len() > 16_000_000 {
            break;
        }
        image.extend_from_slice(&node);
    }
    image
}

#[test]
fn floods_of_nodes_stay_within_the_limit() {
    let directory = |number: u32| {
        let name = number.to_le_bytes().map(|byte| byte.max(1) | 0x40);
        [dirent(number, 1, number + 1, &name, 4), inode(number + 1, 1, 0o40755, 0, &NO_DATA)].concat()
    };
    let one_byte = |number: u32| {
        inode(2, number, 0o100_644, u32::MAX, &Data { offset: number * 2, len: 1, stored: b"x", ..NO_DATA })
    };
    let bomb = packed_zeros();
    let bombs = |number: u32| {
        let data = Data { compression: 6, offset: number, len: 65_536, stored: &bomb };
        inode(2, number, 0o100_644, 200_000, &data)
    };
    type Make<'a> = &'a dyn Fn(u32) -> Vec<u8>;
    let cases: [(&str, Make<'_>); 8] = [
        ("names of one file", &|n| dirent(1, n, 2, format!("{n:x}").as_bytes(), 8)),
        ("one name", &|n| dirent(1, n, 2, b"n", 8)),
        ("removed names", &|n| dirent(1, n, 0, format!("{n:x}").as_bytes(), 0)),
        ("directories in directories", &directory),
        ("files", &|n| {
            [dirent(1, n, n + 1, &n.to_string().into_bytes(), 8), inode(n + 1, 1, 0o100_644, 0, &NO_DATA)]
                .concat()
        }),
        ("bytes with gaps", &one_byte),
        ("data that unpacks to 65536 bytes", &bombs),
        ("nodes that are too short", &|_| node(0x2003, &[])),
    ];
    for (name, make) in cases {
        let mut image = flood(make);
        image.extend_from_slice(&dirent(1, u32::MAX, 2, b"last", 8));
        eprintln!("{name}: {} bytes", image.len());
        let len = image.len() as u64;
        bounded(|| match Image::open(Arc::new(image), len, &ReadOptions::default()) {
            Err(error) => assert_eq!(error.class(), ErrorClass::Limit, "{name}: {error}"),
            Ok(image) => {
                if name != "data that unpacks to 65536 bytes" {
                    let _ = image.check();
                }
                if let Ok((tree, _)) = image.salvage() {
                    read_all(&tree);
                }
            }
        });
    }
}

/// 65,536 zeros as a zlib stream.
fn packed_zeros() -> Vec<u8> {
    use flashwright_codec::zlib::{Level, compressor};
    let mut packed = Vec::new();
    let fits = compressor(Level::new(9).unwrap()).unwrap().compress(&[0; 65_536], 1000, &mut packed);
    assert!(fits.unwrap());
    packed
}

#[test]
fn contradictions_are_named() {
    let file = inode(2, 1, 0o100_644, 3, &Data { len: 3, stored: b"abc", ..NO_DATA });
    let cases: [(&str, Vec<Vec<u8>>, &str); 13] = [
        ("no inode", vec![dirent(1, 1, 2, b"f", 8)], "a node of its inode"),
        (
            "loop",
            vec![dirent(1, 1, 2, b"d", 4), inode(2, 1, 0o40755, 0, &NO_DATA), dirent(2, 1, 2, b"d", 4)],
            "within itself",
        ),
        ("root in itself", vec![dirent(1, 1, 1, b"d", 4)], "within itself"),
        ("slash", vec![dirent(1, 1, 2, b"a/b", 8), file.clone()], "a name and node that a tree can have"),
        ("dots", vec![dirent(1, 1, 2, b"..", 8), file.clone()], "a name and node that a tree can have"),
        ("wrong type", vec![dirent(1, 1, 2, b"f", 4), file.clone()], "expected file, found directory"),
        ("no type", vec![dirent(1, 1, 2, b"f", 8), inode(2, 1, 0o644, 0, &NO_DATA)], "a file type"),
        ("entry of a file", vec![dirent(1, 1, 2, b"f", 8), file.clone(), dirent(2, 1, 3, b"x", 8)], ""),
        (
            "short data",
            vec![dirent(1, 1, 2, b"f", 8), inode(2, 1, 0o100_644, 9, &NO_DATA)],
            "data of 0 bytes",
        ),
        ("no target", vec![dirent(1, 1, 2, b"l", 10), inode(2, 1, 0o120_777, 0, &NO_DATA)], "symlink target"),
        (
            "device",
            vec![
                dirent(1, 1, 2, b"c", 2),
                inode(2, 1, 0o20_600, 3, &Data { len: 3, stored: b"abc", ..NO_DATA }),
            ],
            "2 or 4 bytes",
        ),
        (
            "bad zlib",
            vec![
                dirent(1, 1, 2, b"f", 8),
                inode(2, 1, 0o100_644, 9, &Data { compression: 6, len: 9, stored: b"abc", ..NO_DATA }),
            ],
            "9 bytes unpacked",
        ),
        ("unknown node", vec![file.clone(), node(0xe00f, &[0; 4])], "refuses to mount"),
    ];
    for (name, nodes, expected) in cases {
        let bytes = nodes.concat();
        let len = bytes.len() as u64;
        let image = Image::open(Arc::new(bytes), len, &ReadOptions::default()).unwrap();
        let report = image.check().unwrap();
        let lines: Vec<_> = report.findings.list.iter().map(ToString::to_string).collect();
        if expected.is_empty() {
            assert!(lines.is_empty(), "{name}: {lines:#?}");
        } else {
            assert!(lines.iter().any(|line| line.contains(expected)), "{name}: {lines:#?}");
        }
    }
}

#[test]
fn old_and_new_device_numbers() {
    for (stored, expected) in
        [(&[0x34u8, 0x12][..], (0x12, 0x34)), (&[0x01, 0x03, 0x10, 0x00][..], (3, 0x101))]
    {
        let data = Data { len: stored.len() as u32, stored, ..NO_DATA };
        let bytes = [dirent(1, 1, 2, b"c", 2), inode(2, 1, 0o20_600, 0, &data)].concat();
        let len = bytes.len() as u64;
        let tree = Image::open(Arc::new(bytes), len, &ReadOptions::default()).unwrap().tree().unwrap();
        let id = tree.resolve(b"c").unwrap();
        let NodeKind::CharDevice(device) = tree.node(id).kind else { panic!("{:?}", tree.node(id)) };
        assert_eq!((device.major, device.minor), expected);
    }
}
