//! Linux unpacks what is written: each machine boots from an initramfs of each compression.

use flashwright_cpio::Compression;
use flashwright_tree::{Content, Device, Metadata, Node, NodeKind, Source, Timestamp, Tree};
use vmtest::protocol::Step;
use vmtest::{Rules, Vm};

fn tree() -> Tree {
    let mut tree = Tree::new();
    let mut file = Node::file(0o4755, Content::from_bytes(*b"hello").with(Source::Hole, 0, 700_000));
    (file.metadata.uid, file.metadata.gid) = (1000, 100_000);
    file.metadata.mtime = Timestamp::from_seconds(1_234_567_890);
    let dir = tree.insert(Tree::ROOT, b"dir", Node::directory(0o1777)).unwrap();
    let file = tree.insert(dir, b"file", file).unwrap();
    tree.link(Tree::ROOT, b"hard", file).unwrap();
    tree.insert(dir, b"link", Node::symlink(*b"../hard")).unwrap();
    // More than one chunk of LZ4, and data that no compressor makes smaller.
    let noise = (0..2_500_000_u32).flat_map(|i| i.wrapping_mul(2_654_435_761).rotate_left(7).to_le_bytes());
    tree.insert(dir, b"noise", Node::file(0o600, Content::from_bytes(noise.collect::<Vec<u8>>()))).unwrap();
    let device = NodeKind::CharDevice(Device { major: 4, minor: 300 });
    tree.insert(Tree::ROOT, b"tty", Node::new(Metadata::new(0o620), device)).unwrap();
    tree
}

fn boots(vm: Option<Vm>, compression: Compression) {
    let Some(mut vm) = vm else { return };
    let tree = tree();
    vm.compress_initramfs(compression);
    vm.tree("/tree", &tree).unwrap();
    let walk = vm.step(Step::Walk { at: "/tree".into(), hash_up_to: u64::MAX });
    let report = vm.run().unwrap();
    report.assert_walk(walk, &tree, &Rules::initramfs());
    let complaints = report.complaints(walk, walk, &["initramfs", "junk", "decompress"]);
    assert!(complaints.is_empty(), "{}: {complaints:?}", compression.name());
}

#[test]
fn a_pc_boots_from_every_compression() {
    for compression in Compression::ALL {
        boots(Vm::amd64(), compression);
    }
}

#[test]
fn a_big_endian_device_boots_from_every_compression() {
    for compression in Compression::ALL {
        boots(Vm::mips_be(), compression);
    }
}
