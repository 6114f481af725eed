//! `pack`: one image straight from sources.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use flashwright_manifest::{self as manifest, Loaded, SourceKind, SourceSpec};

use crate::args::{PackCommon, PackCpio, PackFormat, PackJffs2, PackSquashfs, Size, Wrong};
use crate::command::build::{Material, Plan, load_options, write_all};
use crate::command::ubi;
use crate::console::Console;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::formats::{Jffs2Job, Job, SquashfsJob};
use crate::output::Target;

/// Flags that say what the flash is like: what a format cannot do there is impossible geometry.
const GEOMETRY: [&str; 6] = ["eraseblock", "page-size", "cleanmarker-size", "leb", "peb", "max-lebs"];

pub(crate) fn run(format: &PackFormat) -> Result<(), Failure> {
    let common = match format {
        PackFormat::Ubi(args) => return ubi::pack(args),
        PackFormat::Squashfs(PackSquashfs { common, .. })
        | PackFormat::Jffs2(PackJffs2 { common, .. })
        | PackFormat::Cpio(PackCpio { common, .. }) => common,
        PackFormat::Ubifs(args) => &args.common,
    };
    let epoch = common.run.source_date_epoch()?;
    let failure = |exit, wrong: Wrong| {
        Failure::new(exit, format!("--{}: {}", wrong.key, wrong.message)).help(wrong.help)
    };
    let usage = |wrong: Wrong| failure(Exit::Usage, wrong);
    let geometry = |wrong: Wrong| {
        let exit = if GEOMETRY.contains(&wrong.key) { Exit::DoesNotFit } else { Exit::Usage };
        failure(exit, wrong)
    };
    let (job, max_size) = match format {
        PackFormat::Squashfs(args) => {
            let options = args.flags.options(epoch).map_err(usage)?;
            let end_marks = args.flags.end_marks().to_vec();
            (Job::Squashfs(SquashfsJob { options, end_marks }), args.flags.max_size)
        }
        PackFormat::Jffs2(args) => {
            let (options, device_size) = args.flags.options().map_err(geometry)?;
            (Job::Jffs2(Jffs2Job { options, device_size }), None)
        }
        PackFormat::Cpio(args) => (Job::Cpio(args.flags.options().map_err(usage)?), args.flags.max_size),
        PackFormat::Ubi(args) => return ubi::pack(args),
        PackFormat::Ubifs(args) => (Job::Ubifs(args.flags.options().map_err(geometry)?), args.flags.max_size),
    };
    let target = Target::new(output(common)?)?;
    let sources = sources(common)?;
    let loaded = manifest::build(
        &sources,
        &common.policy.policy(format.holds_acls()),
        &load_options(&common.run, epoch),
    )?;
    let Loaded { tree, notes, inputs, origins, .. } = &loaded;
    Console::new(&common.run).notes(notes);
    let plan = Plan { name: None, target, job, max_size: max_size.map(|Size(bytes)| bytes) };
    write_all(&Material { tree, notes, inputs, origins }, vec![plan], Vec::new(), &common.run)
}

/// The output, or what is wrong when there is none.
fn output(common: &PackCommon) -> Result<&Path, Failure> {
    if let Some(output) = &common.output {
        return Ok(output);
    }
    let failure = Failure::new(Exit::Usage, "no output: -o FILE is missing");
    Err(match common.sources.last().filter(|last| common.sources.len() > 1 && looks_like_output(last)) {
        Some(last) => {
            failure.help(format!("every other argument is a source; did you mean -o {}?", last.display()))
        }
        None => failure.help("for example: -o root.squashfs"),
    })
}

fn looks_like_output(argument: &OsStr) -> bool {
    let path = Path::new(argument);
    let extensions = ["squashfs", "sqfs", "sqsh", "jffs2", "ubifs", "img", "bin", "cpio"];
    let known =
        path.extension().is_some_and(|e| extensions.iter().any(|known| e.eq_ignore_ascii_case(known)));
    known || !path.exists()
}

fn sources(common: &PackCommon) -> Result<Vec<SourceSpec>, Failure> {
    common.sources.iter().map(|argument| source(argument)).collect()
}

/// One source. A file where a directory is expected is the commonest slip.
fn source(argument: &OsStr) -> Result<SourceSpec, Failure> {
    let spec = SourceSpec::parse(argument)?;
    if spec.kind == SourceKind::Directory && spec.path.is_file() {
        let path: &PathBuf = &spec.path;
        let message = format!("the source {} is a file, not a directory", path.display());
        let shown = path.display();
        let help = format!(
            "say what it is: tar:{shown}, cpio:{shown}, pseudo:{shown}, liminix:{shown}, paths:{shown}, device-table:{shown}, pack-file:{shown} or init-list:{shown}; an image.toml ends in .toml"
        );
        return Err(Failure::new(Exit::Usage, message).help(help));
    }
    Ok(spec)
}
