//! `cargo xtask bench memory`: the peak of memory must not depend on how much there is to pack.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::measure::measure;
use super::table::{MEMORY_LIMIT, megabytes};
use super::{flashwright, machine, work_dir};
use crate::process::command;

/// What `cargo xtask bench memory` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Size of the tree, in millions of bytes; twice as much must be free on the disk of the build folder
    #[arg(long, value_name = "MB", default_value_t = 20_000)]
    size: u64,
    /// Threads
    #[arg(short, long, default_value_t = 2)]
    jobs: usize,
    /// Compressors
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "lz4,gzip")]
    only: Vec<String>,
    /// Fail when it takes more than 200 MB
    #[arg(long)]
    check: bool,
}

/// Lengths of the files, bytes, one after the other: many small ones, most of the data in large ones.
const LENGTHS: [u64; 8] = [3_000, 700, 40_000, 131_072, 12_345, 500_000, 3_000_000, 40_000_000];
/// Files of one directory.
const FILES: u64 = 256;

/// `cargo xtask bench memory`.
pub(super) fn run(options: &Options) -> Result<()> {
    let ours = flashwright()?;
    fs::create_dir_all(work_dir())?;
    let folder = tempfile::tempdir_in(work_dir())?;
    let (tree, image) = (folder.path().join("tree"), folder.path().join("image.squashfs"));
    eprintln!("bench: writing {} MB", options.size);
    let files = write_tree(&tree, options.size * 1_000_000)?;
    let mut highest = 0;
    let mut rows = String::new();
    for compression in &options.only {
        eprintln!("bench: packing with {compression}");
        let mut pack = command(&ours);
        pack.args(["pack", "squashfs", "--quiet"]).arg(&tree).arg("-o").arg(&image);
        pack.args(["--compression", compression, "--block-size", "128K", "--jobs"])
            .arg(options.jobs.to_string());
        let usage = measure(&mut pack)?;
        fs::remove_file(&image)?;
        highest = highest.max(usage.peak_memory);
        let (seconds, peak) = (usage.wall.as_secs_f64(), megabytes(usage.peak_memory));
        rows.push_str(&format!("| {compression} | {seconds:.0} s | {peak} |\n"));
    }
    println!(
        "{}- Input: {files} files, {} MB that no compressor makes smaller",
        machine::describe(None),
        options.size
    );
    println!(
        "- {} threads, blocks of 128 KiB\n\n| | time | peak memory |\n|---|---|---|\n{rows}",
        options.jobs
    );
    let (peak, limit) = (megabytes(highest), megabytes(MEMORY_LIMIT));
    ensure!(!options.check || highest <= MEMORY_LIMIT, "{peak} of memory, at most {limit}");
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
}
