//! Programs of others: jefferson extracts from our images what was put in, and we read what mkfs.jffs2 and sumtool make.

mod common;

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use common::{everything, image};
use flashwright_jffs2::Options;
use flashwright_jffs2::reader::{Image, ReadOptions};
use flashwright_media::Endian;
use flashwright_tree::{Kind, Tree, compare};
use rustix::fs::{CWD, Mode};

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

fn host_path(root: &Path, path: &[u8]) -> std::path::PathBuf {
    use std::os::unix::ffi::OsStrExt;
    root.join(std::ffi::OsStr::from_bytes(path))
}

/// Writes the tree below `root`, without owners, times and xattrs; devices as root only.
fn on_host(tree: &Tree, root: &Path) {
    use flashwright_tree::NodeKind;
    use std::collections::HashMap;
    use std::os::unix::fs::{PermissionsExt, symlink};
    let mut first = HashMap::new();
    for entry in tree.walk().filter(|entry| !entry.path.is_empty()) {
        let at = host_path(root, &entry.path);
        if let Some(there) = first.get(&entry.id) {
            fs::hard_link(there, &at).unwrap();
            continue;
        }
        first.insert(entry.id, at.clone());
        let mode = entry.node.metadata.permissions;
        let node = |kind, device: u64| {
            rustix::fs::mknodat(CWD, &at, kind, Mode::from_raw_mode(0o600), device).unwrap();
        };
        use rustix::fs::FileType;
        let number = |device: flashwright_tree::Device| rustix::fs::makedev(device.major, device.minor);
        match &entry.node.kind {
            NodeKind::Directory => fs::create_dir(&at).unwrap(),
            NodeKind::File(content) => fs::write(&at, content.to_vec().unwrap()).unwrap(),
            NodeKind::Symlink(target) => symlink(host_path(Path::new(""), target), &at).unwrap(),
            NodeKind::CharDevice(device) => node(FileType::CharacterDevice, number(*device)),
            NodeKind::BlockDevice(device) => node(FileType::BlockDevice, number(*device)),
            NodeKind::Fifo => node(FileType::Fifo, 0),
            NodeKind::Socket => node(FileType::Socket, 0),
        }
        if entry.node.kind() != Kind::Symlink {
            fs::set_permissions(&at, fs::Permissions::from_mode(mode.into())).unwrap();
        }
    }
}

/// What mkfs.jffs2 cannot hold: large device numbers it corrupts, and a tree is compared without what it leaves out.
fn as_mkfs_makes_it(mut tree: Tree) -> Tree {
    let special = tree.resolve(b"special").unwrap();
    for name in ["c4.256", "b4.256", "c259.0", "b259.0", "c4095.1048575", "b4095.1048575"] {
        assert!(tree.unlink(special, name.as_bytes()).is_some(), "{name}");
    }
    let ids: Vec<_> = tree.walk().map(|entry| entry.id).collect();
    for id in ids {
        let metadata = &mut tree.node_mut(id).metadata;
        (metadata.uid, metadata.gid, metadata.mtime) = (0, 0, flashwright_tree::Timestamp::default());
    }
    // It writes no node for the root.
    tree.node_mut(Tree::ROOT).metadata.permissions = 0o755;
    tree
}

fn without_times(mut tree: Tree) -> Tree {
    let ids: Vec<_> = tree.walk().map(|entry| entry.id).collect();
    for id in ids {
        tree.node_mut(id).metadata.mtime = flashwright_tree::Timestamp::default();
    }
    tree
}

#[test]
fn images_of_mkfs_jffs2_and_sumtool_read_as_what_was_packed() {
    let (Some(mkfs), Some(sumtool)) = (vmtest::peer("mkfs.jffs2"), vmtest::peer("sumtool")) else { return };
    if !rustix::process::geteuid().is_root() {
        return vmtest::skip("devices, which only root can make");
    }
    let folder = tempfile::tempdir().unwrap();
    let (root, plain, summed) =
        (folder.path().join("root"), folder.path().join("plain"), folder.path().join("summed"));
    fs::create_dir(&root).unwrap();
    let tree = as_mkfs_makes_it(everything(false));
    on_host(&tree, &root);
    for (flag, sumtool_flag, endian) in [("-l", "-l", Endian::Little), ("-b", "-b", Endian::Big)] {
        for (compression, cleanmarkers) in [("size", true), ("priority", false), ("none", true)] {
            let mut make = Command::new(&mkfs);
            make.arg("-r").arg(&root).arg("-o").arg(&plain).args([flag, "-e", "64KiB", "-m", compression]);
            make.args((!cleanmarkers).then_some("-n"));
            run(&mut make);
            let mut sum = Command::new(&sumtool);
            sum.arg("-i").arg(&plain).arg("-o").arg(&summed).args([sumtool_flag, "-e", "64KiB"]);
            sum.args((!cleanmarkers).then_some("-n"));
            run(&mut sum);
            for (path, has_summary) in [(&plain, false), (&summed, true)] {
                let what = format!("{endian} {compression} {path:?}");
                let len = fs::metadata(path).unwrap().len();
                let source = Arc::new(File::open(path).unwrap());
                let image = Image::open(source, len, &ReadOptions::default()).unwrap();
                let report = image.check().unwrap();
                assert!(report.findings.is_clean(), "{what}: {:#?}", report.findings);
                let differences = compare(&tree, &without_times(image.tree().unwrap())).unwrap();
                let differences: Vec<_> = differences.iter().map(ToString::to_string).collect();
                assert!(differences.is_empty(), "{what}: {differences:#?}");
                assert_eq!(image.endian(), endian);
                assert_eq!(image.geometry().eraseblock, Some(64 << 10), "{what}");
                assert_eq!(image.info().summaries > 0, has_summary, "{what}");
            }
        }
    }
}

/// Names of which jefferson can make files: it makes no devices, and follows the host's rules for the rest.
#[test]
fn jefferson_extracts_the_same_files() {
    let Some(jefferson) = vmtest::peer("jefferson") else { return };
    let tree = everything(false);
    let names = tree.name_counts();
    for endian in [Endian::Little, Endian::Big] {
        for summary in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let (path, out) = (folder.path().join("image"), folder.path().join("out"));
            let mut options = Options::new(64 << 10, endian);
            options.summary = summary;
            fs::write(&path, image(&tree, &options).0).unwrap();
            run(Command::new(&jefferson).arg(&path).arg("-d").arg(&out));
            let mut files = 0;
            // Of a file with several names it keeps one.
            for entry in tree.walk().filter(|entry| names[entry.id.index()] == 1) {
                let at = host_path(&out, &entry.path);
                let what = at.display();
                match entry.node.kind() {
                    Kind::Directory => assert!(at.is_dir(), "{what}"),
                    Kind::File => {
                        let content = entry.node.content().unwrap();
                        assert!(
                            fs::read(&at).unwrap_or_else(|e| panic!("{what}: {e}"))
                                == content.to_vec().unwrap(),
                            "{what}"
                        );
                        files += 1;
                    }
                    Kind::Symlink => assert!(fs::read_link(&at).is_ok(), "{what}"),
                    _ => {}
                }
            }
            assert!(files > 170, "{files}");
        }
    }
}
