//! `cargo xtask bench memory`: the peak of memory must not depend on how much there is to pack.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::measure::measure;
use super::table::megabytes;
use super::{flashwright, jffs2, machine, squashfs, work_dir};
use crate::process::command;

/// What `cargo xtask bench memory` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Size of the tree, in millions of bytes; twice as much must be free on the disk of the build folder
    #[arg(long, value_name = "MB", default_value_t = 20_000)]
    size: u64,
    /// Instead of much data: that many files of some bytes, 1000 in a directory
    #[arg(long, value_name = "N", default_value_t = 0)]
    files: u64,
    /// Instead of much data: that many empty directories, 1000 in a directory
    #[arg(long, value_name = "N", default_value_t = 0)]
    directories: u64,
    /// Threads
    #[arg(short, long, default_value_t = 2)]
    jobs: usize,
    /// Compressors; default: lz4 and gzip, of JFFS2 zlib
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<String>,
    /// JFFS2 instead of SquashFS; it holds less than 4 GiB
    #[arg(long)]
    jffs2: bool,
    /// Fail when it takes more than 200 MB, as JFFS2 150 MB
    #[arg(long)]
    check: bool,
}

/// Lengths of the files, bytes, one after the other: many small ones, most of the data in large ones.
const LENGTHS: [u64; 8] = [3_000, 700, 40_000, 131_072, 12_345, 500_000, 3_000_000, 40_000_000];
/// Files of one directory.
const FILES: u64 = 256;

/// Nodes of one directory, where many nodes are what is measured.
const NODES: u64 = 1000;

/// Most bytes that fit into a JFFS2 image, with some room for its nodes.
const JFFS2_LARGEST: u64 = 4_000_000_000;

impl Options {
    fn compressors(&self) -> Vec<&str> {
        match (&self.only[..], self.jffs2) {
            ([], false) => vec!["lz4", "gzip"],
            ([], true) => vec!["zlib"],
            (names, _) => names.iter().map(String::as_str).collect(),
        }
    }

    /// Writes what is to be packed; returns what it is, in words.
    fn write(&self, tree: &Path) -> Result<String> {
        if self.files + self.directories > 0 {
            eprintln!("bench: making {} files, {} directories", self.files, self.directories);
            write_nodes(tree, self.files, self.directories)?;
            return Ok(format!("{} files of some bytes, {} empty directories", self.files, self.directories));
        }
        eprintln!("bench: writing {} MB", self.size);
        let files = write_tree(tree, self.size * 1_000_000)?;
        Ok(format!("{files} files, {} MB that no compressor makes smaller", self.size))
    }

    /// Format and its arguments, in words, and the most memory, bytes.
    const fn format(&self) -> (&'static [&'static str], &'static str, u64) {
        if self.jffs2 {
            let arguments = &["jffs2", "--endian", "little", "--eraseblock", "128K"];
            (arguments, "eraseblocks of 128 KiB", jffs2::MEMORY)
        } else {
            (&["squashfs", "--block-size", "128K"], "blocks of 128 KiB", squashfs::MEMORY)
        }
    }
}

/// `cargo xtask bench memory`.
pub(super) fn run(options: &Options) -> Result<()> {
    let (format, words, limit) = options.format();
    ensure!(
        !options.jffs2
            || options.size * 1_000_000 <= JFFS2_LARGEST
            || options.files + options.directories > 0,
        "a JFFS2 image has at most --size 4000"
    );
    let ours = flashwright()?;
    fs::create_dir_all(work_dir())?;
    let folder = tempfile::tempdir_in(work_dir())?;
    let (tree, image) = (folder.path().join("tree"), folder.path().join("image"));
    let input = options.write(&tree)?;
    let mut highest = 0;
    let mut rows = String::new();
    for compression in options.compressors() {
        eprintln!("bench: packing with {compression}");
        let mut pack = command(&ours);
        pack.arg("pack").args(format).arg("--quiet").arg(&tree).arg("-o").arg(&image);
        pack.args(["--compression", compression, "--jobs"]).arg(options.jobs.to_string());
        let usage = measure(&mut pack)?;
        fs::remove_file(&image)?;
        highest = highest.max(usage.peak_memory);
        let (seconds, peak) = (usage.wall.as_secs_f64(), megabytes(usage.peak_memory));
        rows.push_str(&format!("| {compression} | {seconds:.0} s | {peak} |\n"));
    }
    println!("{}- Input: {input}", machine::describe(None));
    println!("- {} threads, {words}\n\n| | time | peak memory |\n|---|---|---|\n{rows}", options.jobs);
    let (peak, most) = (megabytes(highest), megabytes(limit));
    ensure!(!options.check || highest <= limit, "{peak} of memory, at most {most}");
    Ok(())
}

/// Writes files of noise until there are `bytes` of them; returns how many.
fn write_tree(folder: &Path, bytes: u64) -> Result<u64> {
    let mut noise = Noise(0x2545_f491_4f6c_dd1d);
    let (mut left, mut files) = (bytes, 0);
    for &len in LENGTHS.iter().cycle() {
        if left == 0 {
            break;
        }
        let len = len.min(left);
        let directory = folder.join(format!("{:04}", files / FILES));
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let path = directory.join(format!("{files}"));
        noise.write_file(&path, len).with_context(|| format!("cannot write {}", path.display()))?;
        left -= len;
        files += 1;
    }
    Ok(files)
}

/// Makes small files and empty directories.
fn write_nodes(folder: &Path, files: u64, directories: u64) -> Result<()> {
    for number in 0..files + directories {
        let parent = folder.join(format!("{:04}", number / NODES));
        if number.is_multiple_of(NODES) {
            fs::create_dir_all(&parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        let path = parent.join(format!("node{number:07}"));
        let made = if number < files {
            fs::write(&path, path.as_os_str().as_encoded_bytes())
        } else {
            fs::create_dir(&path)
        };
        made.with_context(|| format!("cannot make {}", path.display()))?;
    }
    Ok(())
}

/// One file of noise.
pub(super) fn write_noise(path: &Path, bytes: u64) -> Result<()> {
    let written = Noise(0x2545_f491_4f6c_dd1d).write_file(path, bytes);
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// Marsaglia's xorshift: cheap, and no compressor finds anything in it.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn write_file(&mut self, path: &Path, len: u64) -> std::io::Result<()> {
        let mut file = BufWriter::with_capacity(1 << 20, File::create_new(path)?);
        for _ in 0..len / 8 {
            file.write_all(&self.next().to_ne_bytes())?;
        }
        let rest = self.next().to_ne_bytes();
        // Less than 8 bytes are left.
        file.write_all(&rest[..(len % 8) as usize])?;
        file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_has_just_as_many_bytes() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(write_tree(folder.path(), 200_001).unwrap(), 6);
        assert_eq!(super::super::input::warm(folder.path()).unwrap().bytes, 200_001);
    }

    #[test]
    fn the_tree_has_just_as_many_nodes() {
        let folder = tempfile::tempdir().unwrap();
        write_nodes(folder.path(), 1001, 1).unwrap();
        let names = |folder: &str, kind: fn(&Path) -> bool| {
            fs::read_dir(folder).unwrap().filter(|entry| kind(&entry.as_ref().unwrap().path())).count()
        };
        let second = folder.path().join("0001");
        assert_eq!(names(folder.path().join("0000").to_str().unwrap(), Path::is_file), 1000);
        assert_eq!(names(second.to_str().unwrap(), Path::is_file), 1);
        assert_eq!(names(second.to_str().unwrap(), Path::is_dir), 1);
    }
}
