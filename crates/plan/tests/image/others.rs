//! Images of others' programs, and SquashFS.

use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::process::Command;

use flashwright_squashfs::{Options, write};

use super::{assert_whole, faults, look, noise, threads, tree};

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said));
}

fn fill(folder: &Path) {
    fs::create_dir_all(folder.join("directory/deep")).unwrap();
    for (seed, len) in (1..).zip([0, 1, 127, 4095, 4097, 70_000, 1_000_000]) {
        fs::write(folder.join(format!("noise{len}")), noise(len, seed)).unwrap();
        fs::write(folder.join(format!("directory/zeros{len}")), vec![0; len]).unwrap();
    }
    (0..300).for_each(|number| fs::write(folder.join(format!("directory/deep/{number}")), "short").unwrap());
    std::os::unix::fs::symlink("noise1", folder.join("symlink")).unwrap();
}

#[test]
fn images_of_mkfs_jffs2_and_sumtool_are_whole() {
    let (Some(mkfs), Some(sumtool)) = (vmtest::peer("mkfs.jffs2"), vmtest::peer("sumtool")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fill(&root);
    let (plain, summed) = (folder.path().join("plain"), folder.path().join("summed"));
    for flag in ["-l", "-b"] {
        for (cleanmarkers, pad) in [(true, "-p"), (false, "-q")] {
            let mut make = Command::new(&mkfs);
            make.arg("-r").arg(&root).arg("-o").arg(&plain).args([flag, pad, "-e", "64KiB"]);
            run(make.args((!cleanmarkers).then_some("-n")));
            let mut sum = Command::new(&sumtool);
            sum.arg("-i").arg(&plain).arg("-o").arg(&summed).args([flag, "-e", "64KiB"]);
            run(sum.args((!cleanmarkers).then_some("-n")));
            for path in [&plain, &summed] {
                assert_whole(&fs::read(path).unwrap(), "jffs2", &format!("{path:?} {flag} {pad}"));
            }
        }
    }
}

#[test]
fn images_of_mkfs_ubifs_are_whole() {
    let Some(mkfs) = vmtest::peer("mkfs.ubifs") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (root, image) = (folder.path().join("root"), folder.path().join("image"));
    fill(&root);
    let usual = ["-m", "2048", "-e", "126976", "-c", "2000"];
    let cases: [(&[&str], [&str; 6]); 5] = [
        (&["-x", "lzo"], usual),
        (&["-x", "none"], usual),
        (&["-k", "test", "-F", "-f", "16"], usual),
        (&[], ["-m", "8", "-e", "15872", "-c", "60000"]),
        (&["-j", "8MiB", "-R", "1MiB"], ["-m", "2048", "-e", "129024", "-c", "500"]),
    ];
    for (more, geometry) in cases {
        run(Command::new(&mkfs).args(geometry).args(more).arg("-r").arg(&root).arg("-o").arg(&image));
        assert_whole(&fs::read(&image).unwrap(), "ubifs", &format!("{more:?} {geometry:?}"));
        fs::remove_file(&image).unwrap();
    }
}

#[test]
fn squashfs_with_all_tables_and_few() {
    for (xattrs, export_table) in [(true, true), (false, false), (true, false)] {
        let mut options = Options::default();
        options.export_table = export_table;
        let mut image = Cursor::new(Vec::new());
        write(&tree(&[0, 1, 5000, 300_000], xattrs), &options, threads(), &mut image, &mut |_| ()).unwrap();
        let bytes = image.into_inner();
        assert_whole(&bytes, "squashfs", "ours");
        for at in [48, 56, 64, 72, 80, 88] {
            let mut bytes = bytes.clone();
            bytes[at + 6] ^= 1;
            let found = faults(&bytes);
            assert!(
                found[0].starts_with("superblock of the SquashFS: position of a table "),
                "{at}: {found:?}"
            );
        }
    }
}

const SOURCE: &str = r#"/dts-v1/;
/ {
    description = "A firmware";
    #address-cells = <1>;
    images {
        kernel-1 {
            description = "Linux"; data = /incbin/("kernel"); type = "kernel"; arch = "mips"; os = "linux";
            compression = "none"; load = <0x80000000>; entry = <0x80000000>;
            hash-1 { algo = "crc32"; };
            hash-2 { algo = "sha256"; };
            hash-3 { algo = "ALGORITHM"; };
        };
        fdt-1 {
            description = "Board"; data = /incbin/("dtb"); type = "flat_dt"; arch = "mips"; compression = "none";
            hash@1 { algo = "sha256"; };
        };
    };
    configurations {
        default = "conf-1";
        conf-1 { description = "Board"; kernel = "kernel-1"; fdt = "fdt-1"; };
    };
};
"#;

#[test]
fn fits_of_mkimage_are_whole_and_each_image_counts() {
    let (Some(mkimage), Some(dtc)) = (vmtest::peer("mkimage"), vmtest::peer("dtc")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (kernel, dtb) = (noise(300_001, 1), noise(9000, 2));
    fs::write(folder.path().join("kernel"), &kernel).unwrap();
    fs::write(folder.path().join("dtb"), &dtb).unwrap();
    let (source, image) = (folder.path().join("source.its"), folder.path().join("image.itb"));
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", dtc.parent().unwrap().display());
    for (algorithm, ways) in [
        ("crc32", &[&[][..], &["-E"], &["-E", "-p", "0x8000"], &["-E", "-B", "0x1000"]][..]),
        ("sha1", &[&[]]),
        ("md5", &[&["-E"]]),
    ] {
        fs::write(&source, SOURCE.replace("ALGORITHM", algorithm)).unwrap();
        for way in ways {
            let mut make = Command::new(&mkimage);
            make.current_dir(folder.path()).env("PATH", &path).args(*way);
            run(make.arg("-f").arg(&source).arg(&image));
            let mut bytes = fs::read(&image).unwrap();
            let (found, findings) = look(&bytes);
            assert_eq!(
                (found.name(), findings.refusals.len()),
                ("fit", 0),
                "{algorithm} {way:?}: {findings:?}"
            );
            let unchecked = match algorithm {
                "crc32" => Vec::new(),
                _ => vec![format!("image kernel-1 of the FIT: its {algorithm} was not checked")],
            };
            assert_eq!(findings.unchecked, unchecked);
            let place = |data: &[u8]| bytes.windows(64).position(|window| window == &data[..64]).unwrap();
            let (kernel_at, dtb_at) = (place(&kernel), place(&dtb));
            bytes[kernel_at + 300_000] ^= 0x40;
            bytes[dtb_at] ^= 0x40;
            let found = faults(&bytes);
            let crc = |what: &str| found.iter().filter(|line| line.starts_with(what)).count();
            let of_kernel = format!("image kernel-1 of the FIT at {kernel_at:#010x}: ");
            assert_eq!(crc(&of_kernel), if algorithm == "crc32" { 3 } else { 2 }, "{found:?}");
            assert_eq!(crc(&format!("image fdt-1 of the FIT at {dtb_at:#010x}: sha256 ")), 1, "{found:?}");
        }
    }
}
