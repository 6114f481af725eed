//! What the writer makes, mounted by real kernels: the walk inside finds the tree that was asked for, and the kernel
//! has nothing to say about the image.

mod trees;

use std::collections::BTreeSet;
use std::fs::File;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use flashwright_squashfs::format::Compression;
use flashwright_squashfs::{
    BCJ_NAMES, Bcj, BcjPolicy, Effort, Fragments, Method, Options, Padding, Store, write,
};
use flashwright_tree::Tree;
use vmtest::protocol::Step;
use vmtest::{Disk, Rules, Visit, Vm};

/// Larger files are not read in the guest: only the one of 5 GiB, whose data other readers look at.
const HASH_UP_TO: u64 = 256 << 20;
/// The emulation is slow, and slower on a busy host.
const TIME_LIMIT: Duration = Duration::from_secs(1800);
const BLOCK: usize = 128 << 10;

struct Case {
    name: String,
    tree: Tree,
    options: Options,
}

fn case(name: impl Into<String>, tree: Tree, options: Options) -> Case {
    Case { name: name.into(), tree, options }
}

fn of(compression: Compression) -> Options {
    let mut options = Options::default();
    // LZMA, which Linux does not read, is the only one without a method.
    options.method = Method::of(compression).unwrap();
    options
}

fn with(compression: Compression, change: impl FnOnce(&mut Options)) -> Options {
    let mut options = of(compression);
    change(&mut options);
    options
}

const COMPRESSIONS: [Compression; 5] =
    [Compression::Gzip, Compression::Xz, Compression::Zstd, Compression::Lz4, Compression::Lzo];

/// Every compressor, at its usual and at its greatest effort (which is HC for lz4).
fn compressors() -> Vec<Case> {
    let efforts = COMPRESSIONS.into_iter().flat_map(|c| [(c, Effort::Default), (c, Effort::Max)]);
    let tree = || {
        let mut grove = trees::Grove(trees::everything(BLOCK));
        grove.put("code/x86", trees::file(trees::machine_code(Bcj::X86)));
        grove.0
    };
    efforts
        .map(|(compression, effort)| {
            let name = format!("{} {effort:?}", compression.name());
            let options = with(compression, |options| options.effort = effort);
            case(name, tree(), options)
        })
        .collect()
}

/// Smallest and largest blocks.
fn block_sizes() -> Vec<Case> {
    let sizes = COMPRESSIONS.into_iter().flat_map(|c| [(c, 4 << 10), (c, 1 << 20)]);
    sizes
        .map(|(compression, size)| {
            let name = format!("{} in blocks of {size}", compression.name());
            // Files of 1 MiB and more take the emulated machine a while: fewer of them, except once.
            let block =
                if compression == Compression::Zstd { size as usize } else { 40_000.min(size as usize) };
            case(name, trees::everything(block), with(compression, |options| options.block_size = size))
        })
        .collect()
}

/// Every branch filter, on code of its machine.
fn filters(wanted: impl Fn(Bcj) -> bool) -> Vec<Case> {
    let filters = BCJ_NAMES.into_iter().filter(|(bcj, ..)| wanted(*bcj));
    filters
        .map(|(bcj, name, _)| {
            let mut options = of(Compression::Xz);
            options.method = Method::Xz { preset: None, bcj: BcjPolicy::Only(BTreeSet::from([bcj])) };
            case(format!("xz with {name}"), trees::code(bcj), options)
        })
        .collect()
}

/// What can be switched off or stored otherwise.
fn variants() -> Vec<Case> {
    let all = Store { inodes: true, data: true, fragments: true, xattrs: true, ids: true };
    let parts = [
        ("all", all),
        ("inodes", Store { inodes: true, ..Store::default() }),
        ("data", Store { data: true, ..Store::default() }),
        ("fragments", Store { fragments: true, ..Store::default() }),
        ("xattrs", Store { xattrs: true, ..Store::default() }),
        ("ids", Store { ids: true, ..Store::default() }),
    ];
    let mut cases: Vec<_> = parts
        .into_iter()
        .map(|(name, store)| {
            let options = with(Compression::Gzip, |options| options.store = store);
            case(format!("{name} uncompressed"), trees::everything(5000), options)
        })
        .collect();
    let gzip = |change: fn(&mut Options)| with(Compression::Gzip, change);
    let more = [
        ("no fragments", gzip(|options| options.fragments = Fragments::Never)),
        ("fragments of small files", gzip(|options| options.fragments = Fragments::SmallFiles)),
        ("no duplicates", gzip(|options| options.duplicates = false)),
        ("no export table", gzip(|options| options.export_table = false)),
        ("erased padding", gzip(|options| options.padding = Padding { alignment: 64 << 10, byte: 0xff })),
        ("no padding", gzip(|options| options.padding = Padding { alignment: 1, byte: 0 })),
    ];
    cases.extend(more.map(|(name, mut options)| {
        options.block_size = 16 << 10;
        case(name, trees::everything(16 << 10), options)
    }));
    cases
}

/// As much of something as there can be.
fn limits() -> Vec<Case> {
    let sparse = |block_size| {
        let mut grove = trees::Grove::new();
        grove.put("five-gigabytes", trees::five_gigabytes());
        grove.put("after", trees::file(*b"after"));
        let options = with(Compression::Lz4, |options| options.block_size = block_size);
        case(format!("5 GiB in blocks of {block_size}"), grove.0, options)
    };
    vec![
        case("most owners", trees::most_owners(), of(Compression::Zstd)),
        case("large directories", trees::large_directories(), of(Compression::Xz)),
        case("empty", Tree::new(), of(Compression::Xz)),
        sparse(4 << 10),
        sparse(128 << 10),
    ]
}

#[test]
fn a_pc_sees_every_tree_as_it_was_asked_for() {
    let Some(vm) = Vm::amd64() else { return };
    // Debian leaves the decoders of the other filters out of its kernel for amd64.
    let decoded = |bcj| matches!(bcj, Bcj::X86 | Bcj::Arm64 | Bcj::RiscV);
    let cases = [compressors(), block_sizes(), filters(decoded), variants(), limits()];
    mount_all(vm, &cases.into_iter().flatten().collect::<Vec<_>>());
}

#[test]
fn a_big_endian_device_sees_every_tree_as_it_was_asked_for() {
    let Some(vm) = Vm::mips_be() else { return };
    let mut cases: Vec<_> =
        COMPRESSIONS.map(|c| case(c.name(), trees::everything(BLOCK), of(c))).into_iter().collect();
    // Linux 6.1 has neither of these two filters.
    cases.extend(filters(|bcj| !matches!(bcj, Bcj::Arm64 | Bcj::RiscV)));
    cases.extend(limits().into_iter().filter(|case| case.name != "5 GiB in blocks of 4096"));
    mount_all(vm, &cases);
}

fn mount_all(mut vm: Vm, cases: &[Case]) {
    let folder = tempfile::tempdir().unwrap();
    vm.module("squashfs", "").unwrap();
    vm.timeout(TIME_LIMIT);
    let images = (0..).zip(cases).map(|(number, case)| {
        let path = folder.path().join(format!("{number}"));
        write_image(case, &path);
        path
    });
    let visits: Vec<_> = images
        .map(|image| {
            let disk = vm.disk(&image);
            visit(&mut vm, &disk)
        })
        .collect();
    let report = vm.run().unwrap();
    let mut rules = Rules::squashfs();
    rules.hash_up_to = HASH_UP_TO;
    for (case, visit) in cases.iter().zip(&visits) {
        // Shown when the assertion fails.
        println!("{}", case.name);
        report.assert_visit(visit, &case.tree, &rules);
        let statfs = report.outcome(visit.statfs).statfs.unwrap();
        let inodes = case.tree.walk().filter(|entry| entry.first).count() as u64;
        assert_eq!((statfs.files, statfs.free_blocks, statfs.name_max), (inodes, 0, 256));
        assert_eq!(statfs.block_size, u64::from(case.options.block_size));
    }
}

fn write_image(case: &Case, path: &Path) {
    let mut file = File::create_new(path).unwrap();
    let threads = NonZeroUsize::new(2).unwrap();
    let summary = write(&case.tree, &case.options, threads, &mut file, &mut |_| ());
    let summary = summary.unwrap_or_else(|error| panic!("{}: {error}", case.name));
    // Linux reads whole KiB, so an image without padding needs a partition that goes on after it.
    file.set_len(summary.bytes_out.next_multiple_of(4096)).unwrap();
    if let Method::Xz { bcj: BcjPolicy::Only(filters), .. } = &case.options.method {
        assert_eq!(summary.filters, *filters, "{}: a filter that is not used is not tested", case.name);
    }
}

/// As [`Vm::visit`], with the largest files left unread.
fn visit(vm: &mut Vm, disk: &Disk) -> Visit {
    let at = || "/mnt".to_owned();
    let (fs, device) = ("squashfs".to_owned(), disk.device());
    let mount = Step::Mount { fs: fs.clone(), device, at: at(), options: String::new(), read_only: true };
    Visit {
        fs,
        mount: vm.step(mount),
        statfs: vm.step(Step::Statfs { at: at() }),
        walk: vm.step(Step::Walk { at: at(), hash_up_to: HASH_UP_TO }),
        unmount: vm.step(Step::Unmount { at: at() }),
    }
}
