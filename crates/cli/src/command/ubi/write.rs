//! `pack ubi`, and `[[ubi]]` of an `image.toml`.

use std::fs::File;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use flashwright_manifest::Output;
use flashwright_ubi::{self as ubi, Content, Options, Summary, Volume, WriteError, ini};

use super::flashable::Pair;
use crate::args::{FLASH_KEYS, PackUbi, RunFlags, Size, UbiFlags, Wrong};
use crate::command::build::print_json;
use crate::console::Console;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::interrupt;
use crate::output::{Pending, Target};
use crate::report::{self, Detail, Finished, Written};
use crate::size;

/// An image that is to be written.
#[derive(Debug)]
pub(crate) struct UbiPlan {
    name: Option<String>,
    target: Target,
    options: Options,
    volumes: Vec<(Volume, Source)>,
    max_size: Option<u64>,
    pair: Option<Pair>,
}

/// Where the content of a volume is.
#[derive(Debug)]
enum Source {
    Nothing,
    File(PathBuf),
    /// An output of the same image.toml, by its name.
    Output(String),
}

/// `pack ubi`.
pub(crate) fn pack(args: &PackUbi) -> Result<(), Failure> {
    let usage = |wrong: Wrong| {
        Failure::new(Exit::Usage, format!("--{}: {}", wrong.key, wrong.message)).help(wrong.help)
    };
    let geometry = |wrong: Wrong| {
        let impossible = ["peb", "leb"].contains(&wrong.key) && !wrong.message.starts_with("it is missing");
        let exit = if impossible { Exit::DoesNotFit } else { Exit::Usage };
        Failure::new(exit, format!("--{}: {}", wrong.key, wrong.message)).help(wrong.help)
    };
    let options = args.flags.options().map_err(geometry)?;
    let mut volumes = Vec::new();
    for path in &args.ini {
        volumes.extend(from_ini(path)?);
    }
    for keys in &args.volumes {
        let source = keys.image.clone().map_or(Source::Nothing, Source::File);
        volumes.push((keys.volume().map_err(usage)?, source));
    }
    if volumes.is_empty() {
        let help = "for example: --volume name=rootfs,image=root.ubifs";
        return Err(Failure::new(Exit::Usage, "no volume: --volume or an ini file is missing").help(help));
    }
    let Some(output) = &args.output else {
        return Err(
            Failure::new(Exit::Usage, "no output: -o FILE is missing").help("for example: -o firmware.ubi")
        );
    };
    let plan = UbiPlan {
        name: None,
        target: Target::new(output)?,
        options,
        volumes,
        max_size: args.flags.max_size.map(|Size(bytes)| bytes),
        pair: args.flags.flashable.then(|| Pair::beside(output)).transpose()?,
    };
    args.ini.iter().try_for_each(|input| plan.target.refuse_over(input))?;
    interrupt::watch();
    let (pending, finished) = write(plan, &[], &args.run)?;
    pending.into_iter().try_for_each(Pending::commit)?;
    Console::new(&args.run).say(finished.lines());
    if args.run.json { print_json(&report::json(&[finished], &[])) } else { Ok(()) }
}

fn from_ini(path: &Path) -> Result<Vec<(Volume, Source)>, Failure> {
    let text = std::fs::read(path).map_err(|error| Failure::io("read", path, &error))?;
    let sections = ini::parse(&String::from_utf8_lossy(&text)).map_err(|error| {
        let failure = Failure::new(Exit::Invalid, format!("{}: {error}", path.display()));
        failure
            .help("an ini file of ubinize has a [section] with mode=ubi, vol_name, image, … for each volume")
    })?;
    let source = |image: Option<String>| image.map_or(Source::Nothing, |image| Source::File(image.into()));
    Ok(sections.into_iter().map(|section| (section.volume, source(section.image))).collect())
}

/// The `[[ubi]]` of an `image.toml` in the directory `base`, to be written into `out`.
///
/// # Errors
/// [`Exit::Invalid`], at the key that is wrong.
pub(crate) fn plans(
    outputs: &[&Output],
    all: &[Output],
    base: &Path,
    place: impl Fn(&Path) -> PathBuf,
) -> Result<Vec<UbiPlan>, Failure> {
    outputs.iter().map(|output| plan(output, all, base, &place(&output.file))).collect()
}

/// Names of the outputs that volumes of these are made of.
///
/// # Errors
/// As [`plans`].
pub(crate) fn needed(outputs: &[&Output]) -> Result<Vec<String>, Failure> {
    let mut names = Vec::new();
    for output in outputs {
        let flags: UbiFlags = output.settings_on_flash(&FLASH_KEYS)?;
        names.extend(flags.volume.into_iter().filter_map(|keys| keys.output));
    }
    Ok(names)
}

fn plan(output: &Output, all: &[Output], base: &Path, path: &Path) -> Result<UbiPlan, Failure> {
    let wrong = |wrong: Wrong| Failure::from(output.error(wrong.key, wrong.message, wrong.help));
    let flags: UbiFlags = output.settings_on_flash(&FLASH_KEYS)?;
    let mut volumes = Vec::new();
    for keys in &flags.volume {
        let source = match (&keys.image, &keys.output) {
            (Some(image), None) => Source::File(base.join(image)),
            (None, Some(name)) => Source::Output(known_output(output, all, name)?),
            (None, None) => Source::Nothing,
            (Some(_), Some(_)) => {
                let message = format!("volume {:?} has an image and an output", keys.name);
                return Err(output.error("volume", message, "leave one of them out").into());
            }
        };
        volumes.push((keys.volume().map_err(wrong)?, source));
    }
    Ok(UbiPlan {
        name: Some(output.name.clone()),
        target: Target::new(path)?,
        options: flags.options().map_err(wrong)?,
        volumes,
        max_size: flags.max_size.map(|Size(bytes)| bytes),
        pair: flags.flashable.then(|| Pair::beside(path)).transpose()?,
    })
}

fn known_output(output: &Output, all: &[Output], name: &str) -> Result<String, Failure> {
    let is_there = all.iter().any(|other| other.name == name && !other.is_ubi());
    if is_there {
        return Ok(name.to_owned());
    }
    let known: Vec<&str> =
        all.iter().filter(|other| !other.is_ubi()).map(|other| other.name.as_str()).collect();
    let help = if known.is_empty() {
        "there is none; image = \"…\" takes a file".into()
    } else {
        format!("there are {}", known.join(", "))
    };
    Err(output.error("volume", format!("no [[output]] is called {name:?}"), help).into())
}

/// Writes an image, and the pair beside it when it is wanted; nothing is in its place yet. `outputs` are those that are
/// already written.
pub(crate) fn write(
    plan: UbiPlan,
    outputs: &[(Option<String>, &Pending)],
    run: &RunFlags,
) -> Result<(Vec<Pending>, Finished), Failure> {
    let start = Instant::now();
    let UbiPlan { name, target, options, volumes, max_size, pair } = plan;
    let volumes = volumes.into_iter().map(|(volume, source)| fill(volume, &source, &target, outputs));
    let volumes = volumes.collect::<Result<Vec<_>, _>>()?;
    let in_toml = name.is_some();
    let failed = |error| failure(error, in_toml);
    let layout = ubi::plan(&volumes, &options).map_err(failed)?;
    if let Some(budget) = max_size.filter(|&budget| layout.summary().bytes_out > budget) {
        let message = format!(
            "{} would take {}, but may take {}",
            target.shown().display(),
            size::show(layout.summary().bytes_out),
            size::show(budget)
        );
        return Err(Failure::new(Exit::DoesNotFit, message).help("make the volumes smaller"));
    }
    let mut output = Pending::create(target)?;
    let path = output.shown().to_owned();
    let bar = Console::new(run).bar(&path.display().to_string());
    let summary = layout
        .write_to_file(output.file(), &mut |now| bar.set(now.bytes_done, now.bytes_total))
        .map_err(failed)?;
    drop(bar);
    let beside =
        pair.map(|pair| pair.write(&mut output, &summary, &options)).transpose()?.unwrap_or_default();
    let bytes_out = output.finish(max_size)?;
    let sha256 = run.json.then(|| output.sha256()).transpose()?;
    let bytes_in = summary.volumes.iter().map(|volume| volume.content_len).sum();
    let mut details = details(&summary, &options);
    let names: Vec<String> = beside.iter().map(|file| file.shown().display().to_string()).collect();
    let words = (!names.is_empty()).then(|| format!("beside it: {}", names.join(", ")));
    details.push(Detail::new("beside", names, words));
    let nodes = summary.volumes.len() as u64;
    let written = Written::new(nodes, bytes_in, details);
    let elapsed = start.elapsed();
    let finished = Finished { name, path, format: "ubi", written, bytes_out, max_size, sha256, elapsed };
    Ok((std::iter::once(output).chain(beside).collect(), finished))
}

fn fill(
    mut volume: Volume,
    source: &Source,
    target: &Target,
    outputs: &[(Option<String>, &Pending)],
) -> Result<Volume, Failure> {
    volume.content = match source {
        Source::Nothing => None,
        Source::File(path) => {
            target.refuse_over(path)?;
            Some(content_of(path)?)
        }
        Source::Output(name) => {
            let found = outputs.iter().find(|(other, _)| other.as_ref() == Some(name));
            let missing = || Failure::new(Exit::Invalid, format!("output {name} is not written"));
            let (file, len) = found.ok_or_else(missing)?.1.reader()?;
            Some(Content { len, source: Arc::new(file) })
        }
    };
    Ok(volume)
}

fn content_of(path: &Path) -> Result<Content, Failure> {
    let failed = |error| Failure::io("read", path, &error);
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() && !metadata.file_type().is_block_device() {
        let message = format!("{} is no file: it cannot be the content of a volume", path.display());
        return Err(Failure::new(Exit::Usage, message).help("pack it first: flashwright pack squashfs"));
    }
    let len = std::io::Seek::seek(&mut &file, std::io::SeekFrom::End(0)).map_err(failed)?;
    Ok(Content { len, source: Arc::new(file) })
}

fn details(summary: &Summary, options: &Options) -> Vec<Detail> {
    let seq = summary.image_seq.unwrap_or_default();
    let left = summary.fit.and_then(|fit| fit.free());
    let fit = summary.fit.map(|fit| format!("{fit}; {} left", left.unwrap_or_default()));
    let volume = |volume: &ubi::PlannedVolume| {
        serde_json::json!({
            "id": volume.id,
            "name": volume.name,
            "type": volume.volume_type.name(),
            "reserved_pebs": volume.reserved_pebs,
            "used_lebs": volume.used_lebs,
            "usable_leb_size": volume.usable_leb_size,
            "bytes": volume.content_len,
        })
    };
    let lebs = format!(
        "{} PEBs, LEB {} bytes, image sequence number {seq:#010x}",
        summary.peb_count, summary.leb_size
    );
    vec![
        Detail::new("peb_size", options.geometry.peb_size(), None),
        Detail::new("leb_size", summary.leb_size, None),
        Detail::new("peb_count", summary.peb_count, Some(lebs)),
        Detail::new("image_seq", seq, None),
        Detail::new("free_pebs", left, fit),
        Detail::new("volumes", summary.volumes.iter().map(volume).collect::<Vec<_>>(), None),
    ]
}

fn failure(error: WriteError, in_toml: bool) -> Failure {
    let message = error.to_string();
    let wrong = if in_toml { Exit::Invalid } else { Exit::Usage };
    match error {
        WriteError::Volume { remedy, .. } | WriteError::Image { remedy, .. } => {
            Failure::new(wrong, message).help(remedy)
        }
        WriteError::DoesNotFit { .. } => Failure::new(Exit::DoesNotFit, message)
            .help("make volumes smaller, or give the reserve that the device's kernel has (max-beb-per1024)"),
        _ => Failure::new(Exit::Io, message),
    }
}
