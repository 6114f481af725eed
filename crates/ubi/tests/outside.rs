//! Programs of others: ubi_reader takes from our images what was put in, and images of ubinize are the very bytes of ours,
//! or read right where ubinize makes a mistake.

mod common;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{content, filled, findings, image_of, noise, open, volume};
use flashwright_media::UbiGeometry;
use flashwright_ubi::format::VolumeType::{Dynamic, Static};
use flashwright_ubi::{Options, Volume};

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

/// The ini file of ubinize for those volumes, and their content beside it.
fn ini(volumes: &[Volume], folder: &Path) -> PathBuf {
    let mut text = String::new();
    for (index, volume) in volumes.iter().enumerate() {
        let id = volume.id.unwrap();
        let (name, kind) = (&volume.name, volume.volume_type.name());
        write!(text, "[v{index}]\nmode=ubi\nvol_id={id}\nvol_name={name}\nvol_type={kind}\n").unwrap();
        writeln!(text, "vol_alignment={}", volume.alignment).unwrap();
        if let Some(size) = volume.size {
            writeln!(text, "vol_size={size}").unwrap();
        }
        if volume.autoresize {
            text.push_str("vol_flags=autoresize\n");
        }
        if volume.skip_check {
            text.push_str("vol_flags=skip-check\n");
        }
        if let Some(content) = &volume.content {
            let mut bytes = vec![0; usize::try_from(content.len).unwrap()];
            content.source.read_exact_at(0, &mut bytes).unwrap();
            let path = folder.join(format!("content{index}"));
            fs::write(&path, bytes).unwrap();
            writeln!(text, "image={}", path.display()).unwrap();
        }
    }
    let path = folder.join("ini");
    fs::write(&path, text).unwrap();
    path
}

fn volumes(alignment: u32) -> Vec<Volume> {
    let mut volumes = vec![
        filled("first", Dynamic, noise(300_000, 1)),
        filled("second, static", Static, noise(200_001, 2)),
        filled("third", Static, noise(5, 3)),
        volume("empty", |volume| volume.size = Some(500_000)),
    ];
    for (id, volume) in (0u32..).zip(&mut volumes) {
        volume.id = Some(id * 3);
        volume.alignment = alignment;
    }
    (volumes[0].autoresize, volumes[0].size) = (true, Some(1 << 20));
    volumes[1].skip_check = true;
    volumes
}

/// Page, sub-page, PEB.
const GEOMETRIES: [(u32, Option<u32>, u32); 4] =
    [(2048, None, 128 << 10), (2048, Some(512), 128 << 10), (1, None, 64 << 10), (512, Some(256), 16 << 10)];

fn ubinize(program: &Path, geometry: &UbiGeometry, ini: &Path, folder: &Path) -> Vec<u8> {
    let output = folder.join("theirs");
    let mut command = Command::new(program);
    let number = |number: u32| number.to_string();
    command.args(["-p", &number(geometry.peb_size()), "-m", &number(geometry.min_io_size())]);
    command.args(["-s", &number(geometry.sub_page_size()), "-Q", "4711", "-e", "7"]);
    run(command.arg("-o").arg(&output).arg(ini));
    fs::read(output).unwrap()
}

fn options(geometry: UbiGeometry) -> Options {
    let mut options = Options::new(geometry);
    (options.image_seq, options.erase_count) = (Some(4711), 7);
    options
}

#[test]
fn ubinize_makes_the_same_bytes() {
    let Some(program) = vmtest::peer("ubinize") else { return };
    for (page, sub_page, peb) in GEOMETRIES {
        let folder = tempfile::tempdir().unwrap();
        let geometry = UbiGeometry::new(peb, page, sub_page, None).unwrap();
        let volumes = volumes(1);
        let theirs = ubinize(&program, &geometry, &ini(&volumes, folder.path()), folder.path());
        let (ours, _) = image_of(&volumes, &options(geometry));
        assert_eq!(ours.len(), theirs.len(), "{page} {sub_page:?}");
        let differs = ours.iter().zip(&theirs).position(|(a, b)| a != b);
        assert_eq!(differs, None, "{page} {sub_page:?} {peb}");
    }
}

/// With an alignment ubinize reserves too few PEBs for what it writes, and the kernel refuses its image: data is read all
/// the same, and the mistake is named.
#[test]
fn aligned_volumes_of_ubinize_are_read_and_their_mistake_is_named() {
    let Some(program) = vmtest::peer("ubinize") else { return };
    let folder = tempfile::tempdir().unwrap();
    let geometry = UbiGeometry::new(128 << 10, 2048, None, None).unwrap();
    let mut volume = filled("aligned", Dynamic, noise(1_000_000, 1));
    (volume.id, volume.alignment) = (Some(0), 65_536);
    let theirs = ubinize(&program, &geometry, &ini(&[volume.clone()], folder.path()), folder.path());
    let image = open(&theirs);
    assert!(content(&image, "aligned").starts_with(&noise(1_000_000, 1)));
    let found = findings(&image);
    assert!(!found.is_empty());
    assert!(
        found.iter().all(|found| found.contains("LEB number: expected below 8, as reserved")),
        "{found:#?}"
    );
    let (ours, _) = image_of(&[volume], &options(geometry));
    assert_eq!(findings(&open(&ours)), [""; 0]);
}

#[test]
fn ubi_reader_extracts_what_was_put_in() {
    let Some(program) = vmtest::peer("ubireader_extract_images") else { return };
    for (page, sub_page, peb) in GEOMETRIES {
        let folder = tempfile::tempdir().unwrap();
        let geometry = UbiGeometry::new(peb, page, sub_page, None).unwrap();
        let volumes =
            [filled("first", Dynamic, noise(300_000, 1)), filled("second", Static, noise(200_001, 2))];
        let (image, _) = image_of(&volumes, &Options::new(geometry));
        let path = folder.path().join("image.ubi");
        fs::write(&path, image).unwrap();
        let out = folder.path().join("out");
        run(Command::new(&program).arg("-o").arg(&out).arg(&path));
        let mut files = Vec::new();
        let mut folders = vec![out];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
                if entry.is_dir() { folders.push(entry) } else { files.push(entry) }
            }
        }
        for (name, bytes) in [("vol-first.ubifs", noise(300_000, 1)), ("vol-second.ubifs", noise(200_001, 2))]
        {
            let file = files.iter().find(|file| file.to_string_lossy().ends_with(name));
            let file = file.unwrap_or_else(|| panic!("no {name} in {files:?}"));
            assert!(fs::read(file).unwrap().starts_with(&bytes), "{page} {sub_page:?} {name}");
        }
    }
}
