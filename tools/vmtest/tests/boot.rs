//! One boot that proves the machine itself: what the guest reports is what is there, and a fault is seen.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use flashwright_tree::{Content, Device, Metadata, Node, NodeKind, Source, Timestamp, Tree};
use vmtest::protocol::{Bytes, Step};
use vmtest::{Rules, Vm};

const TIME: u64 = 1_234_567_890;

fn timed(mut node: Node) -> Node {
    node.metadata.mtime = Timestamp::from_seconds(1_234_567_890);
    node
}

fn device(permissions: u16, device: Device) -> Node {
    timed(Node::new(Metadata::new(permissions), NodeKind::CharDevice(device)))
}

/// What [`host_directory`] has, and what the pseudo definitions add.
fn small_tree() -> Tree {
    let mut tree = Tree::new();
    tree.node_mut(Tree::ROOT).metadata.mtime = Timestamp::from_seconds(1_234_567_890);
    let dir = tree.insert(Tree::ROOT, b"dir", timed(Node::directory(0o1777))).unwrap();
    let file = timed(Node::file(0o4755, Content::from_bytes(*b"hello")));
    let file = tree.insert(dir, b"file", file).unwrap();
    tree.link(Tree::ROOT, b"hard", file).unwrap();
    let holes = Content::empty().with(Source::Hole, 0, 1_000_000).with(Source::Bytes((*b"end").into()), 0, 3);
    tree.insert(dir, b"holes", timed(Node::file(0o600, holes))).unwrap();
    tree.insert(dir, b"link", timed(Node::symlink(*b"../hard"))).unwrap();
    tree.insert(Tree::ROOT, b"tty", device(0o620, Device { major: 4, minor: 300 })).unwrap();
    tree
}

fn host_directory(root: &Path) {
    let dir = root.join("dir");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("file"), "hello").unwrap();
    fs::hard_link(dir.join("file"), root.join("hard")).unwrap();
    fs::write(dir.join("holes"), [vec![0; 1_000_000], b"end".to_vec()].concat()).unwrap();
    symlink("../hard", dir.join("link")).unwrap();
    for (path, mode) in [("dir/file", 0o4755), ("dir/holes", 0o600), ("dir", 0o1777), ("", 0o755)] {
        let path = root.join(path);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let time = UNIX_EPOCH + Duration::from_secs(TIME);
        fs::File::open(&path).unwrap().set_modified(time).unwrap();
    }
}

fn mksquashfs(program: &Path, source: &Path, image: &Path, more: &[&str]) {
    let mut command = Command::new(program);
    command.arg(source).arg(image).args(["-quiet", "-no-progress", "-all-root", "-processors", "1"]);
    let time = TIME.to_string();
    command.args(["-all-time", &time, "-p", "/tty c 620 0 0 4 300"]).args(more);
    let output = command.env_remove("SOURCE_DATE_EPOCH").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_pc_sees_what_is_there() {
    if let Some(vm) = Vm::amd64() {
        the_kernel_sees_what_is_there(vm);
    }
}

#[test]
fn a_big_endian_device_sees_what_is_there() {
    if let Some(vm) = Vm::mips_be() {
        the_kernel_sees_what_is_there(vm);
    }
}

fn the_kernel_sees_what_is_there(mut vm: Vm) {
    let Some(program) = vmtest::peer("mksquashfs") else { return };
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("root");
    fs::create_dir(&source).unwrap();
    host_directory(&source);
    vm.module("squashfs", "").unwrap();

    let mut visits = Vec::new();
    for compressor in ["gzip", "xz", "zstd", "lz4", "lzo"] {
        let image = folder.path().join(compressor);
        mksquashfs(&program, &source, &image, &["-comp", compressor]);
        let disk = vm.disk(&image);
        visits.push(vm.visit("squashfs", &disk));
    }
    let broken = folder.path().join("broken");
    let mut bytes = fs::read(folder.path().join("gzip")).unwrap();
    bytes[110..130].fill(0x55);
    fs::write(&broken, bytes).unwrap();
    let disk = vm.disk(&broken);
    let broken = vm.visit("squashfs", &disk);
    vm.tree("/tree", &small_tree()).unwrap();
    let initramfs = vm.step(Step::Walk { at: "/tree".into(), hash_up_to: u64::MAX });
    let missing = vm.step(Step::Read { path: "/nothing".into() });
    let write =
        vm.step(Step::Write { path: "/tree/dir/file".into(), offset: Some(4), data: Bytes(b"\xff".into()) });
    let read = vm.step(Step::Read { path: "/tree/hard".into() });

    let report = vm.run().unwrap();
    let tree = small_tree();
    for visit in &visits {
        report.assert_visit(visit, &tree, &Rules::squashfs());
        let statfs = report.outcome(visit.statfs).statfs.unwrap();
        assert_eq!((statfs.free_blocks, statfs.name_max), (0, 256));
    }
    report.assert_walk(initramfs, &tree, &Rules::initramfs());
    assert_eq!(
        report.complaints(initramfs, read, &["initramfs"]),
        Vec::<&vmtest::protocol::LogMessage>::new()
    );
    assert!(report.step(missing).outcome.as_ref().unwrap().error.is_some());
    let _ = report.outcome(write);
    assert_eq!(report.outcome(read).data, Some(Bytes(b"hell\xff".into())));

    // A fault must be seen: damaged data, and a tree that is not the one in the image.
    assert!(!report.complaints(broken.mount, broken.unmount, &["squashfs"]).is_empty());
    let mut other = small_tree();
    let file = other.resolve(b"hard").unwrap();
    other.node_mut(file).kind = NodeKind::File(Content::from_bytes(*b"hellO"));
    let expected = vmtest::expected(&other, &Rules::squashfs()).unwrap();
    let found = vmtest::differences(&expected, &report.step(visits[0].walk).nodes, &Rules::squashfs());
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn a_machine_that_hangs_or_dies_is_an_error() {
    let Some(mut slow) = Vm::amd64() else { return };
    slow.timeout(Duration::from_secs(1));
    assert!(matches!(slow.run(), Err(vmtest::Error::Timeout { .. })));

    let Some(mut dead) = Vm::amd64() else { return };
    dead.kernel_arguments("rdinit=/nothing");
    let error = dead.run().unwrap_err();
    assert!(matches!(error, vmtest::Error::Incomplete { steps: 0, .. }), "{error}");
    assert!(error.to_string().contains("Kernel panic"), "the console must be shown: {error}");
}
