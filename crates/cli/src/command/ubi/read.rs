//! `list`, `extract`, `check` and `info` of UBI images and of dumps of flash with UBI on it.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use flashwright_tree::display_path;
use flashwright_ubi::reader::{ErrorClass, Finding, Image, ReadError, Severity, VolumeInfo, is_ubi};
use serde_json::{Value, json};

use crate::args::{CheckArgs, ExtractArgs, ImageArg, InfoArgs, ListArgs, Size};
use crate::command::build::print_json;
use crate::console::Console;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::size;

/// First bytes that tell UBI from other formats.
const HEAD: usize = 512;

/// Opens an image of UBI: one that starts with it, or with erased flash and has it later, or any whose PEB size the user
/// gives. `None` for others.
///
/// # Errors
/// [`Exit::Io`]; [`Exit::Invalid`] when the headers make no sense.
pub(crate) fn open(args: &ImageArg) -> Result<Option<Image>, Failure> {
    let path = &args.image;
    let failed = |error: io::Error| Failure::io("read", path, &error);
    let mut file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.is_dir() {
        return Ok(None);
    }
    let mut head = Vec::new();
    (&file).take(HEAD as u64).read_to_end(&mut head).map_err(failed)?;
    let erased = head.len() == HEAD && head.iter().all(|&byte| byte == 0xff);
    if !is_ubi(&head) && !erased && args.peb.is_none() {
        return Ok(None);
    }
    let len = io::Seek::seek(&mut file, io::SeekFrom::End(0)).map_err(failed)?;
    let peb = args.peb.map(|Size(bytes)| u32::try_from(bytes).unwrap_or(u32::MAX));
    match Image::open(Arc::new(file), len, peb) {
        Ok(image) => Ok(Some(image)),
        Err(ReadError::NotUbi { .. }) if peb.is_none() => Ok(None),
        Err(error) => Err(failure(path, &error)),
    }
}

fn failure(path: &Path, error: &ReadError) -> Failure {
    let exit = match error.class() {
        ErrorClass::Io => Exit::Io,
        ErrorClass::Usage => Exit::Usage,
        ErrorClass::Corrupt => Exit::Invalid,
    };
    let failure = Failure::new(exit, format!("{}: {error}", path.display()));
    match error {
        ReadError::PebSize { .. } | ReadError::TooManyPebs { .. } => failure.help("--peb 128K, for example"),
        ReadError::NoVolume(_) => failure.help("flashwright list shows its volumes"),
        _ => failure,
    }
}

/// The volumes, one a line.
pub(crate) fn list(args: &ListArgs, image: &Image) -> Result<(), Failure> {
    if args.image.json {
        let volumes: Vec<Value> = image.volumes().iter().map(object).collect();
        return print_json(&json!({ "format": "ubi", "volumes": volumes }));
    }
    let mut stdout = io::stdout().lock();
    let line = |volume: &VolumeInfo| {
        let name = shown_name(volume);
        if !args.long {
            return format!("{name}\n");
        }
        let contents = volume.contents.name().unwrap_or("-");
        let flags = [(volume.autoresize, " autoresize"), (volume.skip_check, " skip-check")];
        let flags: String = flags.iter().filter(|(set, _)| *set).map(|(_, word)| *word).collect();
        let (id, kind, reserved) = (volume.id, volume.volume_type.name(), volume.reserved_pebs);
        let (mapped, len) = (volume.mapped_lebs, volume.len);
        format!("{id:>3} {kind:<7} {mapped:>6}/{reserved:<6} {len:>12} {contents:<8} {name}{flags}\n")
    };
    let text: String = image.volumes().iter().map(line).collect();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| Failure::stdout(&error))
}

/// Fit for a terminal.
fn shown_name(volume: &VolumeInfo) -> String {
    if volume.name.is_empty() {
        return format!("volume-{}", volume.id);
    }
    // A path gets a leading slash, which a name has not.
    let shown = display_path(&volume.name).to_string();
    if volume.name.starts_with(b"/") { shown } else { shown.trim_start_matches('/').to_owned() }
}

fn object(volume: &VolumeInfo) -> Value {
    json!({
        "id": volume.id,
        "name": shown_name(volume),
        "type": volume.volume_type.name(),
        "reserved_pebs": volume.reserved_pebs,
        "mapped_lebs": volume.mapped_lebs,
        "usable_leb_size": volume.usable_leb_size,
        "alignment": volume.alignment,
        "data_pad": volume.data_pad,
        "bytes": volume.len,
        "contents": volume.contents.name(),
        "autoresize": volume.autoresize,
        "skip_check": volume.skip_check,
        "update_marker": volume.update_marker,
    })
}

/// Each volume becomes a file.
pub(crate) fn extract(args: &ExtractArgs, image: &Image) -> Result<(), Failure> {
    let start = Instant::now();
    let path = &args.image.image;
    let chosen: Vec<&VolumeInfo> = if args.volume.is_empty() {
        image.volumes().iter().collect()
    } else {
        let find = |name: &String| image.volume(name).map_err(|error| failure(path, &error));
        args.volume.iter().map(find).collect::<Result<_, _>>()?
    };
    prepare(args)?;
    let console = Console::plain(args.quiet, args.image.json);
    let mut taken = HashSet::new();
    let mut files = Vec::new();
    for volume in chosen {
        let target = args.output.join(file_name(volume, &mut taken));
        let len = extract_volume(image, volume, path, &target, console)?;
        files.push((target, volume, len));
    }
    let seconds = start.elapsed().as_secs_f64();
    if args.image.json {
        let object = |(target, volume, len): &(_, &VolumeInfo, u64)| {
            let target: &std::path::PathBuf = target;
            json!({ "path": target.to_string_lossy(), "id": volume.id, "name": shown_name(volume), "bytes": len })
        };
        let files: Vec<Value> = files.iter().map(object).collect();
        return print_json(
            &json!({ "path": args.output.to_string_lossy(), "volumes": files, "seconds": seconds }),
        );
    }
    let mut lines = format!("{}: {} volumes, {seconds:.2} s", args.output.display(), files.len());
    for (target, _, len) in &files {
        let _ = write!(lines, "\n  {}: {}", target.display(), size::show(*len));
    }
    console.say(lines);
    Ok(())
}

fn prepare(args: &ExtractArgs) -> Result<(), Failure> {
    let output = &args.output;
    match fs::read_dir(output).map(Iterator::count) {
        Ok(count) if count > 0 && !args.into_existing => {
            let failure = Failure::new(Exit::Refused, format!("{} is not empty", output.display()));
            Err(failure.help("name a new directory, or give --into-existing"))
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(output).map_err(|error| Failure::io("make", output, &error))
        }
        Err(error) => Err(Failure::io("write", output, &error)),
    }
}

/// The volume's name, when that can be a file's; else its id.
fn file_name(volume: &VolumeInfo, taken: &mut HashSet<String>) -> String {
    let plain = |byte: &u8| (b' '..0x7f).contains(byte) && *byte != b'/';
    let usable = !volume.name.is_empty() && volume.name.iter().all(plain) && !volume.name.starts_with(b".");
    let name = match String::from_utf8(volume.name.clone()) {
        Ok(name) if usable => name,
        _ => format!("volume-{}", volume.id),
    };
    let name = if taken.contains(&name) { format!("{name}-{}", volume.id) } else { name };
    taken.insert(name.clone());
    name
}

fn extract_volume(
    image: &Image,
    volume: &VolumeInfo,
    path: &Path,
    target: &Path,
    console: Console,
) -> Result<u64, Failure> {
    let created = OpenOptions::new().write(true).create_new(true).open(target).map_err(|error| {
        let failure = Failure::io("write", target, &error);
        if error.kind() == io::ErrorKind::AlreadyExists {
            return Failure::new(Exit::Refused, failure.to_string())
                .help("remove it, or name another directory");
        }
        failure
    })?;
    let mut output = BufWriter::with_capacity(1 << 20, created);
    let bar = console.bar(&target.display().to_string());
    let done = image.extract(volume, &mut output, &mut |done| bar.set(done, volume.len));
    let flushed = |len| output.flush().map(|()| len).map_err(ReadError::Output);
    done.and_then(flushed).map_err(|error| {
        // Half a volume is of no use to anybody.
        let _ = fs::remove_file(target);
        failure(path, &error)
    })
}

/// Everything that is wrong.
pub(crate) fn check(args: &CheckArgs, image: &Image) -> Result<(), Failure> {
    let path = &args.image.image;
    let report = image.check().map_err(|error| failure(path, &error))?;
    let count = report.more + report.findings.len() as u64;
    let mut text = String::new();
    if args.image.json {
        let findings: Vec<Value> = report.findings.iter().map(finding).collect();
        print_json(&json!({ "format": "ubi", "sound": count == 0, "count": count, "findings": findings }))?;
    } else if count > 0 {
        for finding in &report.findings {
            let _ = writeln!(text, "{}: {finding}", severity(finding));
        }
        if report.more > 0 {
            let _ = writeln!(text, "and {} more", report.more);
        }
    } else if !args.quiet {
        let _ = writeln!(text, "{}: ubi: sound", path.display());
    }
    io::stdout().write_all(text.as_bytes()).map_err(|error| Failure::stdout(&error))?;
    let failed = |what: String| Failure::new(Exit::Verification, format!("{}: {what}", path.display()));
    match count {
        0 => Ok(()),
        1 => Err(failed("1 finding".into()).help("make or copy the image again")),
        count => Err(failed(format!("{count} findings")).help("make or copy the image again")),
    }
}

const fn severity(finding: &Finding) -> &'static str {
    match finding.severity {
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

fn finding(finding: &Finding) -> Value {
    json!({
        "severity": severity(finding),
        "peb": finding.peb.map(|peb| peb.0),
        "offset": finding.offset,
        "volume": finding.volume,
        "leb": finding.leb.map(|leb| leb.0),
        "what": finding.what,
        "expected": finding.expected,
        "found": finding.found,
    })
}

/// What it is: sizes, volumes, erase counters, fastmap. Names and values, in the order to be shown.
pub(crate) fn info(args: &InfoArgs, image: &Image) -> Result<Vec<(&'static str, Value)>, Failure> {
    let geometry = image.geometry();
    let counts = image.erase_counts();
    let fastmap = image.fastmap().map_err(|error| failure(&args.image.image, &error))?;
    let bar =
        |bar: &flashwright_ubi::reader::Bar| json!({ "from": bar.from, "to": bar.to, "pebs": bar.pebs });
    let seqs = image.image_seqs();
    let is_one = seqs.len() == 1;
    let seqs = seqs.into_iter().map(|(seq, pebs)| {
        if is_one { format!("{seq:#010x}") } else { format!("{seq:#010x} ({pebs} PEBs)") }
    });
    let fastmap = fastmap.map(|found| match found {
        Ok(fastmap) => json!({
            "anchor_peb": fastmap.anchor,
            "lebs": fastmap.pebs.len(),
            "free": fastmap.free,
            "used": fastmap.used,
            "scrub": fastmap.scrub,
            "erase": fastmap.erase,
            "bad": fastmap.bad,
            "pool": fastmap.pool.len(),
        }),
        Err(finding) => finding.to_string().into(),
    });
    let oob = geometry.oob.map(|oob| json!({ "page_size": oob.page_size, "spare": oob.spare }));
    Ok(vec![
        ("format", "ubi".into()),
        ("peb_size", geometry.peb_size.into()),
        ("leb_size", geometry.leb_size().into()),
        ("min_io_size", geometry.min_io_size().into()),
        ("vid_hdr_offset", geometry.vid_hdr_offset.into()),
        ("data_offset", geometry.data_offset.into()),
        ("start", geometry.start.into()),
        ("peb_count", geometry.peb_count.into()),
        ("free_pebs", image.free_pebs().into()),
        ("spare_bytes", oob.into()),
        ("image_seq", seqs.collect::<Vec<_>>().into()),
        ("erase_count_min", counts.min.into()),
        ("erase_count_mean", counts.mean.into()),
        ("erase_count_max", counts.max.into()),
        ("erase_count_unknown", counts.unknown.into()),
        ("erase_counts", counts.histogram.iter().map(bar).collect::<Vec<_>>().into()),
        ("fastmap", fastmap.into()),
        ("volumes", image.volumes().iter().map(object).collect::<Vec<_>>().into()),
    ])
}
