//! The command line: every flag once. Help, man pages and completions are made from this.

mod cpio;
mod jffs2;
mod read;
mod run;
mod source;
mod squashfs;
mod ubi;
mod ubifs;
mod values;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use cpio::CpioFlags;
pub(crate) use jffs2::Jffs2Flags;
pub(crate) use read::{KnownFlags, ReadFlags};
pub(crate) use run::RunFlags;
pub(crate) use source::PolicyFlags;
pub(crate) use squashfs::SquashfsFlags;
pub(crate) use ubi::{PackUbi, UbiFlags};
pub(crate) use ubifs::{FLASH_KEYS, UbifsFlags};
pub(crate) use values::{Size, Wrong};

use crate::exit;

/// Builds flash images from one declarative tree, and lists, checks and unpacks them
///
/// Nothing needs root, fakeroot or a copy of the tree. The same input gives the same bytes: whatever the number of
/// threads, the order of directories, umask, locale or time zone. The clock is never asked.
#[derive(Debug, Parser)]
#[command(name = "flashwright", version, propagate_version = true, max_term_width = 110)]
#[command(after_help = FIRST_STEPS, after_long_help = after_long_help(FIRST_STEPS))]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const FIRST_STEPS: &str = "\
Examples:
  flashwright build image.toml                            every image that image.toml describes
  flashwright pack squashfs rootfs/ -o root.squashfs      one image of a directory
  flashwright list -l root.squashfs                       what is in it
  flashwright help pack squashfs                          all about one command";

fn after_long_help(examples: &str) -> String {
    format!("{examples}\n\n{}", exit::HELP)
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Build(BuildArgs),
    Pack(Box<PackArgs>),
    List(ListArgs),
    Extract(ExtractArgs),
    Check(CheckArgs),
    Info(InfoArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
}

impl Command {
    /// Whether the result, and an error, are wanted as JSON.
    pub(crate) const fn json(&self) -> bool {
        match self {
            Command::Build(args) => args.run.json,
            Command::Pack(args) => args.format.run().json,
            Command::List(args) => args.image.json,
            Command::Extract(args) => args.image.json,
            Command::Check(args) => args.image.json,
            Command::Info(args) => args.image.json,
            Command::Completions(_) | Command::Man(_) => false,
        }
    }
}

/// Write the images that an image.toml describes
///
/// The tree is made once, and every output in the file is written from it. The images appear together, at the end:
/// when one fails, none is replaced.
#[derive(Debug, Args)]
#[command(after_long_help = after_long_help("\
Examples:
  flashwright build image.toml                    into the current directory
  flashwright build image.toml --out build/       into build/, which is made when it is missing
  flashwright build image.toml --only rootfs      just one of the outputs
  SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) flashwright build image.toml --json
                                                  for a release: times from the commit, SHA-256 in the result

docs/IMAGE_TOML.md describes the file. The keys of an [[output]] are the flags of `flashwright pack FORMAT`."))]
pub(crate) struct BuildArgs {
    /// The description of the tree and the images
    #[arg(value_name = "IMAGE.TOML")]
    pub(crate) image: PathBuf,
    /// Directory that the images go to; made when it is missing
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) out: PathBuf,
    /// Write only the output of that name; may be given more than once
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,
    #[command(flatten)]
    pub(crate) run: RunFlags,
}

/// Write one image straight from sources
#[derive(Debug, Args)]
#[command(after_long_help = after_long_help("\
Examples:
  flashwright pack squashfs rootfs/ -o root.squashfs
  flashwright pack jffs2 rootfs/ -o root.jffs2 --eraseblock 64K --endian big
  flashwright pack ubifs rootfs/ -o root.ubifs --min-io 2K --leb 126976 --max-lebs 2048
  flashwright pack cpio initramfs/ -o initramfs.cpio
  flashwright pack ubi --peb 128K --min-io 2048 --volume name=rootfs,image=root.squashfs -o firmware.ubi"))]
pub(crate) struct PackArgs {
    #[command(subcommand)]
    pub(crate) format: PackFormat,
}

/// The formats that can be packed. A format joins with a variant here and a row in `crate::formats`.
#[derive(Debug, Subcommand)]
pub(crate) enum PackFormat {
    Squashfs(PackSquashfs),
    Jffs2(PackJffs2),
    Ubifs(Box<PackUbifs>),
    Cpio(PackCpio),
    Ubi(PackUbi),
}

impl PackFormat {
    /// Whether POSIX ACLs have a place in the format.
    pub(crate) const fn holds_acls(&self) -> bool {
        matches!(self, PackFormat::Jffs2(_))
    }

    /// How to work.
    pub(crate) const fn run(&self) -> &RunFlags {
        match self {
            PackFormat::Squashfs(args) => &args.common.run,
            PackFormat::Jffs2(args) => &args.common.run,
            PackFormat::Ubifs(args) => &args.common.run,
            PackFormat::Cpio(args) => &args.common.run,
            PackFormat::Ubi(args) => &args.run,
        }
    }
}

/// Write a SquashFS 4.0 image, the compressed read-only file system of Linux
#[derive(Debug, Args)]
#[command(after_long_help = after_long_help("\
Examples:
  flashwright pack squashfs rootfs/ -o root.squashfs
                                      smallest that is quick to make: xz, 128K blocks
  flashwright pack squashfs rootfs/ -o root.squashfs -c zstd:19 -b 256K --max-size 14M
                                      fails with exit code 3 when it is larger than the partition
  flashwright pack squashfs rootfs/ pseudo:devices.txt -o root.squashfs --all-root
                                      devices from a pseudo file, everything owned by root
  flashwright pack squashfs image.toml -o root.squashfs --effort max --block-size 1M
                                      smallest of all: for a release"))]
pub(crate) struct PackSquashfs {
    #[command(flatten)]
    pub(crate) common: PackCommon,
    #[command(flatten)]
    pub(crate) flags: SquashfsFlags,
}

/// Write a JFFS2 image, the compressed writable file system of Linux for small flash
#[derive(Debug, Args)]
#[command(after_long_help = after_long_help("\
Examples:
  flashwright pack jffs2 rootfs/ -o root.jffs2 --eraseblock 64K --endian big
                                      for NOR flash; erasesize in the device's /proc/mtd is 00010000
  flashwright pack jffs2 rootfs/ -o root.jffs2 --eraseblock 64K --endian big --size 8M
                                      says what a partition of 8 MiB keeps free; exit code 3 when it does not fit
  flashwright pack jffs2 rootfs/ -o root.jffs2 --eraseblock 64K --endian little --pad=8M
                                      the whole partition, free eraseblocks ready for use
  flashwright pack jffs2 rootfs/ -o root.jffs2 --eraseblock 128K --endian little --flash nand --page-size 2K
                                      for NAND flash, to be written with nandwrite -p
  flashwright pack jffs2 rootfs/ -o root.jffs2 --eraseblock 64K --endian big --effort max --node-size 16K
                                      smallest: for a release"))]
pub(crate) struct PackJffs2 {
    #[command(flatten)]
    pub(crate) common: PackCommon,
    #[command(flatten)]
    pub(crate) flags: Jffs2Flags,
}

/// Write an initramfs: a cpio archive in the format \"newc\"
#[derive(Debug, Args)]
#[command(after_long_help = after_long_help("\
Examples:
  flashwright pack cpio initramfs/ -o initramfs.cpio --all-root
  flashwright pack cpio initramfs/ -o initramfs.cpio.xz -c xz
                                      compressed; Linux also takes gzip, zstd, lz4 and lzo"))]
pub(crate) struct PackCpio {
    #[command(flatten)]
    pub(crate) common: PackCommon,
    #[command(flatten)]
    pub(crate) flags: CpioFlags,
}

/// Write a UBIFS image, the writable file system of UBI volumes
#[derive(Debug, Args)]
#[command(after_long_help = after_long_help("\
Examples:
  flashwright pack ubifs rootfs/ -o root.ubifs --min-io 2048 --leb 126976 --max-lebs 2048
                                      NAND with pages of 2K and no sub-pages
  flashwright pack ubifs rootfs/ -o root.ubifs --min-io 2048 --peb 128K --sub-page 512 --peb-count 1024
                                      the LEB and their number computed
  flashwright pack ubifs rootfs/ -o root.ubifs --min-io 1 --peb 64K --max-lebs 200 -c zlib
                                      NOR

The image goes into a UBI volume: with ubiupdatevol, or as the image of a volume when a whole UBI device is made."))]
pub(crate) struct PackUbifs {
    #[command(flatten)]
    pub(crate) common: PackCommon,
    #[command(flatten)]
    pub(crate) flags: UbifsFlags,
}

/// Sources, output, and what is done to what the sources bring.
#[derive(Debug, Args)]
pub(crate) struct PackCommon {
    /// What goes in, later ones over earlier ones: a directory, an image.toml, a tar or cpio archive, or KIND:FILE
    #[arg(
        value_name = "SOURCE",
        required = true,
        long_help = "\
What goes in, later ones over earlier ones:

  DIR           a directory of the host: with its owners, modes, times, hard links, xattrs and holes
  FILE.toml     the tree of an image.toml; its outputs do not matter here
  FILE.tar      a tar archive; also .tar.gz, .tgz, .tar.xz, .txz, .tar.zst, or tar:FILE whatever its name
  FILE.cpio     a cpio archive (newc), or cpio:FILE; may be compressed with gzip, xz or zstd
  pseudo:FILE   definitions as in mksquashfs's pseudo files (d m b c s i f l h L x R)
  liminix:FILE  the JSON tree that Liminix writes (filesystem.contents)
  paths:FILE    a list of host paths that are carried in at the same path, one a line
  device-table:FILE  device table of makedevs or mkfs.jffs2 -D
  pack-file:FILE     pack file of gensquashfs
  init-list:FILE     list as gen_init_cpio of Linux reads it

A directory with a colon in its name is written ./a:b. docs/IMAGE_TOML.md says more about each."
    )]
    pub(crate) sources: Vec<OsString>,
    /// The image; an older one is replaced when the new one is whole
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) policy: PolicyFlags,
    #[command(flatten)]
    pub(crate) run: RunFlags,
}

/// An image to be read.
#[derive(Debug, Args)]
pub(crate) struct ImageArg {
    /// The image; its format is recognised by its content
    #[arg(value_name = "IMAGE")]
    pub(crate) image: PathBuf,
    /// Print the result as one JSON object on standard output, and an error as one on standard error
    #[arg(long)]
    pub(crate) json: bool,
    /// It is UBI, a dump of flash perhaps, with PEBs of this size, spare bytes included; default: found by its content
    #[arg(long, value_name = "SIZE")]
    pub(crate) peb: Option<Size>,
}

/// List what is in an image: its files, or the volumes of UBI
///
/// One path a line, in byte order, safe to print: control characters and bytes that are not UTF-8 appear as \n, \t or
/// \xNN, and a backslash as \\.
#[derive(Debug, Args)]
#[command(after_long_help = after_long_help("\
Examples:
  flashwright list root.squashfs
  flashwright list -l root.squashfs | sort -k3 -n      largest files last
  flashwright list --salvage mtd5.bin                  what is left in a damaged JFFS2 dump
  flashwright list --json root.squashfs | jq '.nodes[] | select(.mode | startswith(\"4\")) | .path'
                                                       setuid programs"))]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) image: ImageArg,
    #[command(flatten)]
    pub(crate) read: ReadFlags,
    #[command(flatten)]
    pub(crate) known: KnownFlags,
    /// With mode, owner, size or device number, time (UTC) and target, as tar tv
    #[arg(short, long)]
    pub(crate) long: bool,
}

/// Unpack an image into a directory
///
/// Safe with images from anywhere: nothing is written outside of the directory, whatever names and symlinks the image
/// has. As root, owners, devices, setuid bits and all attributes are restored. As anybody else, what could not be is
/// written to DIR.toml and DIR.pseudo beside the directory: `flashwright pack squashfs DIR.toml` makes the same tree
/// again. When it fails, what was unpacked until then stays.
#[derive(Debug, Args)]
#[command(after_long_help = after_long_help("\
Examples:
  flashwright extract root.squashfs -o rootfs
  flashwright extract firmware.ubi -o volumes --volume rootfs
                                      a file for each volume of a UBI image, or for one of them
  flashwright extract old.squashfs -o rootfs && flashwright pack squashfs rootfs.toml -o new.squashfs
                                      take apart and put together again, without root"))]
pub(crate) struct ExtractArgs {
    #[command(flatten)]
    pub(crate) image: ImageArg,
    /// Directory to unpack into; made when it is missing
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) read: ReadFlags,
    #[command(flatten)]
    pub(crate) known: KnownFlags,
    /// Only that volume of a UBI image, by name or id; may be given more than once
    #[arg(long, value_name = "NAME")]
    pub(crate) volume: Vec<String>,
    /// Take a directory that is not empty; what is in it stays, and a name that is taken is an error
    #[arg(long)]
    pub(crate) into_existing: bool,
    /// As root, do as if it were not root: no owners, no devices, no setuid bits
    #[arg(long)]
    pub(crate) unprivileged: bool,
    /// Say nothing but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Check a whole image: every structure and every byte of data
///
/// Exit code 5 and one line a finding when something is wrong. With --foreign, what cannot be checked is named.
#[derive(Debug, Args)]
#[command(after_long_help = after_long_help("\
Examples:
  flashwright check root.squashfs && scp root.squashfs router:/tmp
  flashwright check mtd5.bin          a dump of flash with UBI on it: every header, CRC and rule"))]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) image: ImageArg,
    #[command(flatten)]
    pub(crate) known: KnownFlags,
    /// Say nothing but what is wrong
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Show what an image is: format, compressor, sizes, times
#[derive(Debug, Args)]
#[command(after_long_help = after_long_help("\
Examples:
  flashwright info root.squashfs
  flashwright info --json root.squashfs | jq .block_size
  flashwright info mtd5.bin           volumes and erase counters of flash with UBI on it"))]
pub(crate) struct InfoArgs {
    #[command(flatten)]
    pub(crate) image: ImageArg,
    #[command(flatten)]
    pub(crate) known: KnownFlags,
}

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  flashwright completions bash > ~/.local/share/bash-completion/completions/flashwright
  flashwright completions zsh > ~/.zfunc/_flashwright
  flashwright completions fish > ~/.config/fish/completions/flashwright.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

/// Write the man pages, made from the same text as the help
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  flashwright man | man -l -              the main page, to read at once
  flashwright man /usr/local/share/man/man1")]
pub(crate) struct ManArgs {
    /// Directory for one page a command; without it the main page goes to standard output
    #[arg(value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_are_sound() {
        Cli::command().debug_assert();
    }
}
