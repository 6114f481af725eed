//! JFFS2 of our writer.

use flashwright_jffs2::format::{self, NodeHeader, Record, node_type};
use flashwright_jffs2::{Flash, Options, Padding, write};
use flashwright_media::{Endian, Fields};

use super::{assert_whole, faults, look, noise, threads, tree};

fn image(options: &Options, lens: &[usize], xattrs: bool) -> Vec<u8> {
    let mut image = Vec::new();
    write(&tree(lens, xattrs), options, threads(), &mut image, &mut |_| ()).unwrap();
    image
}

/// A node: where it is, its type, bytes of it that a CRC covers.
struct Node {
    at: usize,
    node_type: u16,
    covered: usize,
}

/// The nodes of a sound image.
fn nodes(bytes: &[u8], endian: Endian) -> Vec<Node> {
    let (mut at, mut nodes) = (0, Vec::new());
    while at + 12 <= bytes.len() && !bytes[at..].starts_with(&format::END_MARK) {
        let header = NodeHeader::get(&mut Fields::new(&bytes[at..], endian)).unwrap();
        if header.magic != format::MAGIC {
            at += 4;
            continue;
        }
        let len = header.total_len as usize;
        let covered = match header.node_type {
            node_type::CLEANMARKER | node_type::PADDING => 12,
            // With padding up to 4 bytes in it.
            node_type::XATTR => {
                let value_len: u16 = Fields::new(&bytes[at + 22..], endian).take().unwrap();
                32 + usize::from(bytes[at + 21]) + 1 + usize::from(value_len)
            }
            _ => len,
        };
        nodes.push(Node { at, node_type: header.node_type, covered });
        at = (at + len).next_multiple_of(4);
    }
    nodes
}

#[test]
fn images_of_many_options_are_whole() {
    for endian in [Endian::Big, Endian::Little] {
        for (flash, eraseblock, page_size) in [
            (Flash::Nor, 0x1_0000, 1),
            (Flash::Nor, 0x2000, 16),
            (Flash::Nand, 0x2_0000, 2048),
            (Flash::Ubi, 126_976, 2048),
        ] {
            for (summary, end_mark, padding) in [
                (true, false, Padding::None),
                (false, true, Padding::Eraseblock),
                (true, true, Padding::Eraseblock),
            ] {
                let mut options = Options::new(eraseblock, endian);
                (options.flash, options.page_size) = (flash, page_size);
                (options.summary, options.end_mark, options.padding) = (summary, end_mark, padding);
                for xattrs in [false, true] {
                    let mut bytes = image(&options, &[0, 1, 3000, 4097, 300_000], xattrs);
                    let what = format!("{endian} {flash:?} {eraseblock} {summary} {end_mark} {xattrs}");
                    assert_whole(&bytes, "jffs2", &what);
                    if end_mark {
                        // Something else, such as a signature.
                        bytes.extend(noise(5000, 3));
                        assert_whole(&bytes, "jffs2", &what);
                    }
                }
            }
        }
    }
}

#[test]
fn a_bit_anywhere_is_found() {
    for (endian, xattrs, summary) in
        [(Endian::Big, false, true), (Endian::Little, true, true), (Endian::Big, true, false)]
    {
        let mut options = Options::new(0x2000, endian);
        options.summary = summary;
        let whole = image(&options, &[1, 70, 3000, 4097, 5000], xattrs);
        let nodes = nodes(&whole, endian);
        for node_type in [node_type::INODE, node_type::DIRENT] {
            assert!(nodes.iter().filter(|node| node.node_type == node_type).count() > 5);
        }
        assert_eq!(nodes.iter().any(|node| node.node_type == node_type::SUMMARY), summary);
        assert_eq!(nodes.iter().any(|node| node.node_type == node_type::XREF), xattrs);
        let mut expected: Vec<Option<usize>> = vec![None; whole.len()];
        let last = nodes.last().unwrap();
        // Erased flash before a node: the word of 4 bytes.
        for at in (0..last.at).filter(|&at| whole[at & !3..].starts_with(&[0xff; 4])) {
            expected[at] = Some(at & !3);
        }
        for node in &nodes {
            expected[node.at..node.at + node.covered].fill(Some(node.at));
        }
        for (at, expected) in expected.into_iter().enumerate() {
            let mut bytes = whole.clone();
            bytes[at] ^= if at % 3 == 0 { 0x80 } else { 1 };
            let found = faults(&bytes);
            match expected {
                // What an image is, its first header says.
                Some(0) if at < 12 => assert_eq!(look(&bytes).0.name(), "raw"),
                Some(node) => {
                    assert_eq!(found.len(), 1, "{at:#x}: {found:?}");
                    assert!(found[0].contains(&format!("at {node:#010x}: ")), "{at:#x}: {found:?}");
                }
                None => assert_eq!(found, [""; 0], "{at:#x} {}", last.at),
            }
        }
    }
}

#[test]
fn an_obsolete_node_may_have_any_content() {
    for endian in [Endian::Big, Endian::Little] {
        let mut bytes = image(&Options::new(0x1_0000, endian), &[1, 3000, 5000], false);
        let obsolete = |node: &Node| matches!(node.node_type, node_type::INODE | node_type::DIRENT);
        for node in nodes(&bytes, endian).iter().filter(|node| obsolete(node)) {
            bytes[node.at + if endian == Endian::Big { 2 } else { 3 }] &= !0x20;
            bytes[node.at + 12..node.at + node.covered].fill(0x33);
        }
        assert_whole(&bytes, "jffs2", "all obsolete");
        // Its header counts.
        let node = &nodes(&bytes, endian)[3];
        bytes[node.at + 5] ^= 1;
        assert!(faults(&bytes)[0].starts_with(&format!("header of the JFFS2 node at {:#010x}: ", node.at)));
    }
}

#[test]
fn lengths_that_cannot_be() {
    let endian = Endian::Little;
    let whole = image(&Options::new(0x1_0000, endian), &[1, 3000], false);
    let nodes = nodes(&whole, endian);
    let inode = nodes.iter().find(|node| node.node_type == node_type::INODE && node.covered > 3000).unwrap();
    // Another header, with the CRC that belongs to it.
    let with_header = |node_type: u16, len: u32| {
        let mut bytes = whole.clone();
        let mut header = Vec::new();
        NodeHeader::new(node_type, len, endian).put(endian, &mut header);
        bytes[inode.at..inode.at + 12].copy_from_slice(&header);
        faults(&bytes)
    };
    let at = inode.at;
    let found = with_header(node_type::INODE, 64);
    assert_eq!(found[0], format!("JFFS2 node at {at:#010x}: 64 bytes, for its type at least 68"));
    let found = with_header(node_type::INODE, 2000);
    // A header with its right CRC in front does not change the CRC of what follows it.
    assert_eq!(
        found[0],
        format!("JFFS2 node at {at:#010x}: 2000 bytes, after its fixed part it would need 3000")
    );
    let len = u32::try_from(whole.len() - at).unwrap();
    let found = with_header(node_type::PADDING, len);
    assert_eq!(found, [""; 0]);

    // The fixed part says that there is more data than there is, with the right CRC.
    let mut bytes = whole.clone();
    bytes[at + 48..at + 52].copy_from_slice(&u32::MAX.to_le_bytes());
    let crc = flashwright_media::crc32_from_zero(&bytes[at..at + 60]);
    bytes[at + 64..at + 68].copy_from_slice(&crc.to_le_bytes());
    let len = inode.covered;
    let expected =
        format!("JFFS2 node at {at:#010x}: {len} bytes, after its fixed part it would need 4294967295");
    assert_eq!(faults(&bytes), [expected]);

    // Made for eraseblocks of 4 KiB, as its cleanmarkers say, and a node that lies in two.
    let mut marker = Vec::new();
    NodeHeader::new(node_type::CLEANMARKER, 12, endian).put(endian, &mut marker);
    let mut bytes = vec![0xff; 0x4000];
    let long = NodeHeader::new(node_type::PADDING, 0x1801, endian);
    for at in [0, 0x1000, 0x3000] {
        bytes[at..at + 12].copy_from_slice(&marker);
    }
    let mut header = Vec::new();
    long.put(endian, &mut header);
    bytes[0x1800..0x180c].copy_from_slice(&header);
    let expected = "JFFS2 node at 0x00001800: 6145 bytes, beyond the end of its eraseblock of 4096";
    assert_eq!(faults(&bytes), [expected]);
}

#[test]
fn few_faults_are_told_and_all_are_counted() {
    let endian = Endian::Big;
    let mut bytes = image(&Options::new(0x1_0000, endian), &[100_000, 100_001], false);
    let nodes = nodes(&bytes, endian);
    let damaged: Vec<_> = nodes.iter().filter(|node| node.node_type == node_type::INODE).collect();
    damaged.iter().for_each(|node| bytes[node.at + 20] ^= 1);
    let found = faults(&bytes);
    assert_eq!(found.len(), 9);
    assert_eq!(found[8], format!("{} more checksums of the image are wrong", damaged.len() - 8));
}
