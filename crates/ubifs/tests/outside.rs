//! What others write we read, and what we write others read: images of mkfs.ubifs, and ubi_reader on ours.

mod common;

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use flashwright_manifest::{Policy, SourceKind, SourceSpec};
use flashwright_tree::{Difference, Tree, compare};
use flashwright_ubifs::reader::Image;
use flashwright_ubifs::{Compression, Geometry, Options};

/// A directory with what any user may make.
fn fill(folder: &Path) {
    for (number, directory) in (0..).zip(["data", "data/deep", "many", "links"]) {
        fs::create_dir(folder.join(directory)).unwrap();
        for len in [0, 1, 127, 128, 4095, 4096, 4097, 70_000, 1_000_000] {
            fs::write(folder.join(format!("{directory}/text{len}")), common::text(len, number)).unwrap();
            fs::write(folder.join(format!("{directory}/noise{len}")), common::noise(len, number)).unwrap();
        }
    }
    for number in 0..2000 {
        fs::write(folder.join(format!("many/file{number}")), format!("{number}")).unwrap();
    }
    symlink("../data/text1", folder.join("links/symlink")).unwrap();
    fs::hard_link(folder.join("data/text4097"), folder.join("links/hard")).unwrap();
    let holes = File::create(folder.join("data/holes")).unwrap();
    holes.set_len(5_000_000).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&holes, b"in the middle", 3_000_000).unwrap();
}

fn scanned(folder: &Path) -> Tree {
    let sources = [SourceSpec::new(SourceKind::Directory, folder)];
    flashwright_manifest::build(&sources, &Policy::default(), &Default::default()).unwrap().tree
}

fn read(path: &Path) -> Image {
    let file = File::open(path).unwrap();
    let len = file.metadata().unwrap().len();
    Image::open(Arc::new(file), len).unwrap()
}

/// mkfs.ubifs takes the time of hard links and directories as they are, to the second.
fn but_for_nanoseconds(mut tree: Tree) -> Tree {
    let ids: Vec<_> = tree.walk().map(|entry| entry.id).collect();
    ids.into_iter().for_each(|id| tree.node_mut(id).metadata.mtime.nanoseconds = 0);
    tree
}

fn shown(differences: &[Difference]) -> Vec<String> {
    differences.iter().take(20).map(ToString::to_string).collect()
}

#[test]
fn images_of_mkfs_ubifs_read_right() {
    let Some(program) = vmtest::find_program("mkfs.ubifs") else {
        eprintln!("skipped: no mkfs.ubifs");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs::create_dir(&root).unwrap();
    fill(&root);
    let expected = but_for_nanoseconds(scanned(&root));
    let usual = ["-m", "2048", "-e", "126976", "-c", "2000"];
    let cases: [(&str, &[&str], [&str; 6]); 8] = [
        ("lzo", &["-x", "lzo"], usual),
        ("zlib", &["-x", "zlib"], usual),
        ("zstd", &["-x", "zstd"], usual),
        ("none", &["-x", "none"], usual),
        ("favor_lzo", &["-x", "favor_lzo"], usual),
        ("test hash, fixup", &["-k", "test", "-F", "-f", "16"], usual),
        ("big LPT", &[], ["-m", "8", "-e", "15872", "-c", "60000"]),
        ("sub-page", &["-j", "8MiB", "-R", "1MiB"], ["-m", "2048", "-e", "129024", "-c", "500"]),
    ];
    for (name, more, geometry) in cases {
        let image = folder.path().join("image");
        let output = Command::new(&program)
            .args(geometry)
            .args(more)
            .arg("-r")
            .arg(&root)
            .arg("-o")
            .arg(&image)
            .output();
        let output = output.unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let read = read(&image);
        let tree = but_for_nanoseconds(read.tree().unwrap());
        let differences = compare(&expected, &tree).unwrap();
        assert!(differences.is_empty(), "{name}: {:#?}", shown(&differences));
        let report = read.check().unwrap();
        assert!(report.is_usable(), "{name}: {:#?}", report.findings);
        fs::remove_file(image).unwrap();
    }
}

#[test]
fn ubi_reader_extracts_the_same_files() {
    let Some(program) = vmtest::find_program("ubireader_extract_files") else {
        eprintln!("skipped: no ubireader_extract_files");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs::create_dir(&root).unwrap();
    fill(&root);
    let tree = scanned(&root);
    let geometries = [(126_976, 2048, 2000), (15_872, 8, 60_000), (253_952, 4096, 500)];
    let ways = [Compression::Lzo, Compression::Zlib, Compression::Zstd, Compression::None];
    for ((leb_size, min_io_size, lebs), compression) in
        geometries.into_iter().flat_map(|g| ways.map(|way| (g, way)))
    {
        let mut options = Options::new(Geometry { leb_size, min_io_size }, lebs);
        options.compression = compression;
        let (image, extracted) = (folder.path().join("image"), folder.path().join("extracted"));
        fs::write(&image, common::image(&tree, &options).0).unwrap();
        let output = Command::new(&program).args(["-k", "-o"]).arg(&extracted).arg(&image).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
        let mut found = extracted.clone();
        // Below the name of the image, and of the volume.
        while !found.join("many").exists() {
            let inner = fs::read_dir(&found).unwrap().next();
            found = inner
                .unwrap_or_else(|| panic!("nothing: {}", String::from_utf8_lossy(&said)))
                .unwrap()
                .path();
        }
        assert_same_files(&root, &found, compression);
        fs::remove_dir_all(extracted).unwrap();
    }
}

/// Names and data; as no root, ubi_reader restores nothing else.
fn assert_same_files(expected: &Path, found: &Path, compression: Compression) {
    let output =
        Command::new("diff").args(["-r", "--no-dereference"]).args([expected, found]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{compression:?}: {said}");
}
