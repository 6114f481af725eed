//! `cargo xtask bench`: ours and the peers' tools side by side, on this machine, now.
//!
//! ```text
//! squashfs   flashwright pack squashfs against mksquashfs               time, CPU, memory, size
//! jffs2      flashwright pack jffs2 against mkfs.jffs2 and sumtool      likewise
//! ubifs      flashwright pack ubifs against mkfs.ubifs                   likewise
//! memory     flashwright pack on 20 GB                                  peak memory
//! ubi        flashwright pack ubi against ubinize                        time, CPU, memory
//! flash      flashw against flashcp and ubiformat, in a guest            time, erases
//! ```
//!
//! Each prints Markdown that can go into `docs/BENCHMARKS.md` as it is.

mod contest;
mod flash;
mod input;
mod jffs2;
mod machine;
mod measure;
mod memory;
mod root;
mod squashfs;
mod table;
mod ubi;
mod ubifs;

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;

use crate::process::{cargo, run as run_command, target_dir};

/// What `cargo xtask bench` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// Time, CPU, memory and size against mksquashfs, compressor by compressor
    Squashfs(squashfs::Options),
    /// Time, CPU, memory and size against mkfs.jffs2 and sumtool
    Jffs2(jffs2::Options),
    /// Time, CPU, memory and size against mkfs.ubifs, compressor by compressor
    Ubifs(ubifs::Options),
    /// Peak memory for a large tree of data that no compressor makes smaller
    Memory(memory::Options),
    /// Time, CPU and memory against ubinize, on volumes of 512 MB
    Ubi(ubi::Options),
    /// Time and erases of flashw against flashcp and ubiformat, on flash of a guest
    Flash(flash::Options),
}

/// `cargo xtask bench`.
pub(crate) fn run(options: &Options) -> Result<()> {
    match &options.bench {
        Bench::Squashfs(options) => squashfs::run(options),
        Bench::Jffs2(options) => jffs2::run(options),
        Bench::Ubifs(options) => ubifs::run(options),
        Bench::Memory(options) => memory::run(options),
        Bench::Ubi(options) => ubi::run(options),
        Bench::Flash(options) => flash::run(options),
    }
}

/// Builds the host program as it is released and returns its path.
fn flashwright() -> Result<PathBuf> {
    run_command(cargo().args(["build", "--quiet", "--locked", "--release", "--package", "flashwright"]))?;
    Ok(target_dir().join("release/flashwright"))
}

/// Folder for trees and images.
fn work_dir() -> PathBuf {
    target_dir().join("bench")
}
