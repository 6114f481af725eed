//! Programs and libraries of others read what the writer makes, and find the tree that was asked for: unsquashfs,
//! rdsquashfs, backhand; and sqfsdiff sees no difference to what mksquashfs makes of the same directory.

mod trees;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufReader, Cursor, Read};
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use backhand::{FilesystemReader, InnerNode, SquashfsFileReader};
use flashwright_manifest::{Policy, SourceKind, SourceSpec};
use flashwright_squashfs::format::Compression;
use flashwright_squashfs::{
    BCJ_NAMES, Bcj, BcjPolicy, Effort, Fragments, Method, Options, Padding, Store, write,
};
use flashwright_tree::{
    Content, Device, Metadata, Node, NodeId, NodeKind, Timestamp, Tree, compare, display_path,
};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev, mknodat, setxattr};

const COMPRESSIONS: [Compression; 5] =
    [Compression::Gzip, Compression::Xz, Compression::Zstd, Compression::Lz4, Compression::Lzo];
const BLOCK: u32 = 16 << 10;
/// Paths that host file systems refuse: ext4 has 4 KiB for all xattrs of a file.
const TOO_MUCH_FOR_HOSTS: [&str; 2] = ["xattrs/largest", "xattrs/many"];

fn options(compression: Compression) -> Options {
    let mut options = Options::default();
    // LZMA, which Linux does not read, is the only one without a method.
    options.method = Method::of(compression).unwrap();
    options.block_size = BLOCK;
    options
}

fn remove(tree: &mut Tree, path: &str) {
    let (parent, name) = path.rsplit_once('/').unwrap();
    let parent = tree.resolve(parent.as_bytes()).unwrap();
    assert!(tree.unlink(parent, name.as_bytes()).is_some(), "{path}");
}

/// Everything that an ordinary file system can take when an image is unpacked onto it.
fn tree_for_hosts() -> Tree {
    let mut tree = trees::everything(BLOCK as usize);
    TOO_MUCH_FOR_HOSTS.into_iter().for_each(|path| remove(&mut tree, path));
    tree
}

/// Images that differ in what a reader must understand: a name, the tree, and options.
fn cases() -> Vec<(String, Tree, Options)> {
    let mut cases: Vec<_> =
        COMPRESSIONS.map(|c| (c.name().to_owned(), tree_for_hosts(), options(c))).into_iter().collect();
    let changed = |change: fn(&mut Options)| {
        let mut options = options(Compression::Gzip);
        change(&mut options);
        options
    };
    let all = Store { inodes: true, data: true, fragments: true, xattrs: true, ids: true };
    let mut uncompressed = changed(|_| ());
    uncompressed.store = all;
    cases.extend([
        ("uncompressed".into(), tree_for_hosts(), uncompressed),
        ("no fragments".into(), tree_for_hosts(), changed(|o| o.fragments = Fragments::Never)),
        ("no export table".into(), tree_for_hosts(), changed(|o| o.export_table = false)),
        ("4K".into(), tree_for_hosts(), changed(|o| o.block_size = 4 << 10)),
        ("1M".into(), tree_for_hosts(), changed(|o| o.block_size = 1 << 20)),
        ("max".into(), tree_for_hosts(), changed(|o| o.effort = Effort::Max)),
        (
            "padded with FF".into(),
            Tree::new(),
            changed(|o| o.padding = Padding { alignment: 65_536, byte: 0xff }),
        ),
        ("large directories".into(), trees::large_directories(), options(Compression::Zstd)),
        ("most owners".into(), trees::most_owners(), options(Compression::Lz4)),
    ]);
    cases
}

fn filter_cases() -> Vec<(String, Tree, Options)> {
    let case = |(bcj, name, _): (Bcj, &str, &str)| {
        let mut options = options(Compression::Xz);
        options.block_size = 128 << 10;
        options.method = Method::Xz { preset: None, bcj: BcjPolicy::Only(BTreeSet::from([bcj])) };
        (format!("xz with {name}"), trees::code(bcj), options)
    };
    BCJ_NAMES.map(case).into()
}

fn image(tree: &Tree, options: &Options) -> Vec<u8> {
    let mut image = Cursor::new(Vec::new());
    write(tree, options, NonZeroUsize::new(2).unwrap(), &mut image, &mut |_| ()).unwrap();
    image.into_inner()
}

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn succeed(what: &str, command: &mut Command) -> Vec<u8> {
    let output = run(command);
    let said = [&output.stdout[..], &output.stderr].concat();
    assert!(output.status.success(), "{what}: {command:?}: {}", String::from_utf8_lossy(&said));
    output.stdout
}

/// A host directory or pseudo file as a tree.
fn read(kind: SourceKind, path: &Path) -> Tree {
    let sources = [SourceSpec::new(kind, path)];
    flashwright_manifest::build(&sources, &Policy::default(), &Default::default()).unwrap().tree
}

fn assert_same(what: &str, expected: &Tree, found: &Tree) {
    let differences = compare(expected, found).unwrap();
    let shown: Vec<_> = differences.iter().take(20).map(ToString::to_string).collect();
    assert!(differences.is_empty(), "{what}: {} differences: {shown:#?}", differences.len());
}

/// Whether files of any owner, devices and all xattrs can be made here; else the caller's test is skipped.
fn can_make_everything(folder: &Path) -> bool {
    let (device, file) = (folder.join("probe-device"), folder.join("probe-file"));
    let made = mknodat(CWD, &device, FileType::CharacterDevice, Mode::RUSR, makedev(1, 3)).is_ok()
        && File::create(&file).is_ok()
        && ["trusted.probe", "security.probe", "user.probe"]
            .iter()
            .all(|name| setxattr(&file, *name, b"1", XattrFlags::empty()).is_ok());
    if !made {
        vmtest::skip("unpacking devices, owners and xattrs: needs root and a file system that takes them");
    }
    made
}

/// Unpacks every image with a program and compares what comes out with what is expected of each tree.
fn assert_unpacks(
    more: Vec<(String, Tree, Options)>,
    unpack: impl Fn(&str, &Path, &Path),
    expected: impl Fn(Tree) -> Tree,
) {
    let folder = tempfile::tempdir().unwrap();
    if !can_make_everything(folder.path()) {
        return;
    }
    for (name, tree, options) in cases().into_iter().chain(filter_cases()).chain(more) {
        let (file, root) = (folder.path().join("image"), folder.path().join("root"));
        fs::write(&file, image(&tree, &options)).unwrap();
        unpack(&name, &file, &root);
        let mut found = read(SourceKind::Directory, &root);
        let expected = expected(tree);
        if expected.root().metadata == Metadata::new(0) {
            found.node_mut(Tree::ROOT).metadata = Metadata::new(0);
        }
        assert_same(&name, &expected, &found);
        fs::remove_dir_all(&root).unwrap();
    }
}

#[test]
fn unsquashfs_unpacks_the_same() {
    let Some(program) = vmtest::peer("unsquashfs") else { return };
    let unpack = |name: &str, image: &Path, root: &Path| {
        let mut command = Command::new(&program);
        command.args(["-no-progress", "-quiet", "-strict-errors", "-d"]).arg(root).arg(image);
        succeed(name, &mut command);
    };
    let mut sparse = trees::Grove::new();
    sparse.put("five-gigabytes", trees::five_gigabytes());
    let sparse = ("5 GiB".to_owned(), sparse.0, options(Compression::Gzip));
    assert_unpacks(vec![sparse], unpack, |tree| tree);
}

#[test]
fn rdsquashfs_unpacks_the_same() {
    let Some(program) = vmtest::peer("rdsquashfs") else { return };
    let unpack = |name: &str, image: &Path, root: &Path| {
        fs::create_dir(root).unwrap();
        let mut command = Command::new(&program);
        let everything =
            ["--quiet", "--set-xattr", "--set-times", "--chmod", "--chown", "--unpack-path", "/"];
        succeed(name, command.args(everything).arg("--unpack-root").arg(root).arg(image));
        if root.join("xattrs").is_dir() {
            // Unpacked before the owner is changed, which Linux takes as a reason to remove it.
            let mut command = Command::new(&program);
            let said = succeed(name, command.args(["--xattr", "/xattrs/capability"]).arg(image));
            assert!(said.starts_with(b"security.capability"), "{}", String::from_utf8_lossy(&said));
        }
    };
    // It leaves the folder that it unpacks into as it is, and makes no hard links.
    assert_unpacks(Vec::new(), unpack, |tree| {
        let mut plain = without_links(&tree);
        plain.node_mut(Tree::ROOT).metadata = Metadata::new(0);
        if let Some(id) = plain.resolve(b"xattrs/capability") {
            plain.node_mut(id).metadata.xattrs.clear();
        }
        plain
    });
}

/// What unsquashfs can write down in text: names and targets of one line, devices whose minor number is up to 255 (it
/// takes the number apart as Linux did before 2.6, in images of mksquashfs too), owners that have no sign as 32 bits.
fn tree_for_text() -> Tree {
    let mut tree = tree_for_hosts();
    let refused: Vec<_> =
        tree.walk().filter(|entry| !fits_text(&entry.path, &entry.node)).map(|e| e.path).collect();
    for path in refused {
        let slash = path.iter().rposition(|&byte| byte == b'/').unwrap();
        // The node above may be gone already.
        if let Some(parent) = tree.resolve(&path[..slash]) {
            tree.unlink(parent, &path[slash + 1..]);
        }
    }
    tree
}

fn fits_text(path: &[u8], node: &Node) -> bool {
    let target = if let NodeKind::Symlink(target) = &node.kind { target } else { path };
    let lines = [path, target].iter().any(|text| text.contains(&b'\n'));
    !lines && node.device().is_none_or(|device| device.minor < 256) && node.metadata.uid < 1 << 31
}

#[test]
fn unsquashfs_writes_the_same_pseudo_file() {
    let Some(program) = vmtest::peer("unsquashfs") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (file, pseudo) = (folder.path().join("image"), folder.path().join("pseudo"));
    let tree = tree_for_text();
    fs::write(&file, image(&tree, &options(Compression::Xz))).unwrap();
    let mut command = Command::new(program);
    succeed("pseudo file", command.args(["-no-progress", "-pf"]).arg(&pseudo).arg(&file));
    assert_same("pseudo file", &tree, &read(SourceKind::Pseudo, &pseudo));
}

#[test]
fn unsquashfs_lists_the_same() {
    let Some(program) = vmtest::peer("unsquashfs") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("image");
    let tree = tree_for_text();
    fs::write(&file, image(&tree, &options(Compression::Zstd))).unwrap();
    let mut command = Command::new(program);
    let listing = succeed("list", command.args(["-lln", "-full", "-UTC", "-d", "root"]).arg(&file));
    let found: BTreeSet<Vec<u8>> = listing.split(|&byte| byte == b'\n').map(squeezed).collect();
    let expected: BTreeSet<Vec<u8>> =
        tree.walk().map(|entry| squeezed(&line(&entry.path, &entry.node))).collect();
    let missing: Vec<_> =
        expected.difference(&found).take(20).map(|line| display_path(line).to_string()).collect();
    assert!(missing.is_empty(), "{missing:#?}");
    assert_eq!(found.len(), expected.len() + 1, "and the empty line at the end");
}

/// Words with one blank between them. The size of a directory is that of its listing, and means nothing elsewhere.
fn squeezed(line: &[u8]) -> Vec<u8> {
    let mut words: Vec<_> = line.split(|&byte| byte == b' ').filter(|word| !word.is_empty()).collect();
    if line.starts_with(b"d") {
        words[2] = b"0";
    }
    words.join(&b' ')
}

/// The line of `unsquashfs -lln -full -UTC`.
fn line(path: &[u8], node: &Node) -> Vec<u8> {
    let (owner, group) = (node.metadata.uid, node.metadata.gid);
    let size = match &node.kind {
        NodeKind::File(content) => content.len().to_string(),
        NodeKind::Symlink(target) => target.len().to_string(),
        NodeKind::CharDevice(device) | NodeKind::BlockDevice(device) => {
            format!("{},{:>3}", device.major, device.minor)
        }
        _ => "0".to_owned(),
    };
    let time = time::OffsetDateTime::from_unix_timestamp(node.metadata.mtime.seconds).unwrap();
    let format = time::macros::format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    let start = format!("{} {owner}/{group} {size} {} root", letters(node), time.format(format).unwrap());
    let slash: &[u8] = if path.is_empty() { b"" } else { b"/" };
    let mut line = [start.as_bytes(), slash, path].concat();
    if let NodeKind::Symlink(target) = &node.kind {
        line.extend_from_slice(b" -> ");
        line.extend_from_slice(target);
    }
    line
}

/// Type and mode as `ls -l` shows them.
fn letters(node: &Node) -> String {
    let bits = node.metadata.permissions;
    let mut text = String::from(node.kind().letter());
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let triple = bits >> shift;
        text.push(if triple & 4 != 0 { 'r' } else { '-' });
        text.push(if triple & 2 != 0 { 'w' } else { '-' });
        text.push(match (triple & 1 != 0, bits & special != 0) {
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// The tree with a node of its own for every name.
fn without_links(tree: &Tree) -> Tree {
    let mut plain = Tree::new();
    plain.node_mut(Tree::ROOT).metadata = tree.root().metadata.clone();
    for entry in tree.walk().skip(1) {
        insert(&mut plain, &entry.path, entry.node);
    }
    plain
}

fn without_xattrs(mut tree: Tree) -> Tree {
    let ids: Vec<_> = tree.walk().map(|entry| entry.id).collect();
    ids.into_iter().for_each(|id| tree.node_mut(id).metadata.xattrs.clear());
    tree
}

fn insert(tree: &mut Tree, path: &[u8], node: Node) -> NodeId {
    let slash = path.iter().rposition(|&byte| byte == b'/');
    let (parent, name) = slash.map_or((&b""[..], path), |at| (&path[..at], &path[at + 1..]));
    let parent = tree.resolve(parent).unwrap();
    tree.insert(parent, name, node).unwrap()
}

fn read_by_backhand(image: Vec<u8>) -> Tree {
    let image = FilesystemReader::from_reader(BufReader::new(Cursor::new(image)));
    let image = image.unwrap_or_else(|error| panic!("{error:?}"));
    let mut nodes: Vec<_> = image.files().collect();
    nodes.sort_by(|a, b| a.fullpath.as_os_str().as_bytes().cmp(b.fullpath.as_os_str().as_bytes()));
    let mut tree = Tree::new();
    for node in nodes {
        let header = node.header;
        let metadata = Metadata {
            uid: header.uid,
            gid: header.gid,
            mtime: Timestamp::from_seconds(header.mtime.into()),
            ..Metadata::new(header.permissions)
        };
        match node.fullpath.as_os_str().as_bytes() {
            b"/" => tree.node_mut(Tree::ROOT).metadata = metadata,
            path => {
                insert(&mut tree, &path[1..], Node::new(metadata, kind(&image, &node.inner)));
            }
        }
    }
    tree
}

fn kind(image: &FilesystemReader<'_>, inner: &InnerNode<SquashfsFileReader>) -> NodeKind {
    match inner {
        InnerNode::File(file) => {
            let mut data = Vec::new();
            image.file(file).reader().read_to_end(&mut data).unwrap();
            NodeKind::File(Content::from_bytes(data))
        }
        InnerNode::Symlink(symlink) => NodeKind::Symlink(symlink.link.as_os_str().as_bytes().to_vec()),
        InnerNode::Dir(_) => NodeKind::Directory,
        InnerNode::CharacterDevice(device) => NodeKind::CharDevice(Device::decode(device.device_number)),
        InnerNode::BlockDevice(device) => NodeKind::BlockDevice(Device::decode(device.device_number)),
        InnerNode::NamedPipe => NodeKind::Fifo,
        InnerNode::Socket => NodeKind::Socket,
    }
}

/// It shows neither xattrs nor hard links.
#[test]
fn backhand_reads_the_same() {
    // Its lzo is not permissive code, so it is not built in; of a large id table it reads the start alone.
    let cases = cases()
        .into_iter()
        .filter(|(name, _, options)| options.method != Method::Lzo && name != "most owners");
    for (name, mut tree, options) in cases.chain(filter_cases()) {
        // Nor can it read symlinks of 256 bytes and more.
        if tree.resolve(b"links").is_some() {
            remove(&mut tree, "links/symlink-longest");
        }
        let found = read_by_backhand(image(&tree, &options));
        assert_same(&name, &without_xattrs(without_links(&tree)), &found);
    }
}

/// Compares contents, types, targets, devices, owners, permissions and times. Left to their defaults, so off: inode
/// numbers (`-I`), which are counted in another order here, and superblock fields (`-S`), which hold positions and sizes.
fn sqfsdiff(program: &Path, ours: &Path, theirs: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(program);
    let output = run(command.arg("-T").arg("-a").arg(ours).arg("-b").arg(theirs));
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn sqfsdiff_sees_no_difference_to_mksquashfs() {
    let (Some(mksquashfs), Some(unsquashfs), Some(diff)) =
        (vmtest::peer("mksquashfs"), vmtest::peer("unsquashfs"), vmtest::peer("sqfsdiff"))
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    if !can_make_everything(folder.path()) {
        return;
    }
    let at = |name: &str| folder.path().join(name);
    fs::write(at("first"), image(&tree_for_hosts(), &options(Compression::Lz4))).unwrap();
    let mut command = Command::new(unsquashfs);
    succeed("unpack", command.args(["-no-progress", "-quiet", "-d"]).arg(at("root")).arg(at("first")));
    let tree = read(SourceKind::Directory, &at("root"));
    for compression in COMPRESSIONS {
        fs::write(at("ours"), image(&tree, &options(compression))).unwrap();
        let mut command = Command::new(&mksquashfs);
        command.arg(at("root")).arg(at("theirs")).args(["-noappend", "-no-progress", "-quiet", "-b", "16K"]);
        succeed("mksquashfs", command.args(["-processors", "1", "-comp", compression.name()]));
        assert_eq!(sqfsdiff(&diff, &at("ours"), &at("theirs")), (Some(0), String::new()), "{compression:?}");
    }
    // That it sees a difference where there is one.
    let mut other = tree.clone();
    let id = other.resolve(b"kinds/file").unwrap();
    other.node_mut(id).kind = NodeKind::File(Content::from_bytes(*b"hellO\n"));
    fs::write(at("ours"), image(&other, &options(Compression::Gzip))).unwrap();
    let (code, said) = sqfsdiff(&diff, &at("ours"), &at("theirs"));
    assert_eq!(code, Some(1));
    assert!(said.contains("kinds/file"), "{said}");
}
