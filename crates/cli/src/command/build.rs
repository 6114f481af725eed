//! `build`: every image that an `image.toml` describes, from one tree.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use flashwright_manifest::{self as manifest, Note, Origins, Output, SourceKind, SourceSpec};
use flashwright_tree::Tree;

use crate::args::{BuildArgs, RunFlags};
use crate::command::ubi::{self, UbiPlan};
use crate::console::Console;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::formats::Job;
use crate::interrupt;
use crate::output::{Pending, Target};
use crate::report::{self, Finished};
use crate::suggest::closest;

/// One image that is to be written.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Name of the output in `image.toml`.
    pub(crate) name: Option<String>,
    pub(crate) target: Target,
    pub(crate) job: Job,
    /// The most it may take, bytes.
    pub(crate) max_size: Option<u64>,
}

pub(crate) fn run(args: &BuildArgs) -> Result<(), Failure> {
    let epoch = args.run.source_date_epoch()?;
    if args.image.is_dir() {
        let message = format!("{} is a directory", args.image.display());
        let inside = args.image.join("image.toml");
        return Err(Failure::new(Exit::Usage, message).help(format!("name the file: {}", inside.display())));
    }
    let image = manifest::load_image(&args.image, &load_options(&args.run, epoch))?;
    let manifest::Image { tree, outputs, notes, inputs, origins, .. } = &image;
    Console::new(&args.run).notes(notes);
    let all = outputs;
    let outputs = chosen(outputs, args)?;
    let (ubis, outputs): (Vec<_>, Vec<_>) = outputs.into_iter().partition(|output| output.is_ubi());
    let outputs = with_needed(outputs, &ubi::needed(&ubis)?, all);
    let jobs = outputs.iter().map(|output| Job::of_output(output, epoch)).collect::<Result<Vec<_>, _>>()?;
    let both: Vec<&Output> = outputs.iter().chain(&ubis).copied().collect();
    let made = OutDir::make(&args.out, &both)?;
    let plan = |(output, (job, max_size)): (&&Output, _)| -> Result<Plan, Failure> {
        let target = Target::new(&join(&args.out, &output.file))?;
        Ok(Plan { name: Some(output.name.clone()), target, job, max_size })
    };
    let plans = outputs.iter().zip(jobs).map(plan).collect::<Result<Vec<_>, _>>()?;
    let base = args.image.parent().unwrap_or(Path::new(""));
    let ubis = ubi::plans(&ubis, all, base, |file| join(&args.out, file))?;
    write_all(&Material { tree, notes, inputs, origins }, plans, ubis, &args.run)?;
    made.keep();
    Ok(())
}

/// `file` in the directory `out`, without a `./` that nobody wrote.
fn join(out: &Path, file: &Path) -> PathBuf {
    if out == Path::new(".") { file.to_owned() } else { out.join(file) }
}

/// What the library must be told.
pub(crate) fn load_options(run: &RunFlags, epoch: Option<u32>) -> manifest::Options {
    let mut options = manifest::Options::default();
    options.source_date_epoch = epoch.map(i64::from);
    options.allow_commands = run.allow_commands;
    options.temp_dir = std::env::temp_dir();
    options
}

/// The outputs that `--only` names; all without it.
fn chosen<'o>(outputs: &'o [Output], args: &BuildArgs) -> Result<Vec<&'o Output>, Failure> {
    let names: Vec<&str> = outputs.iter().map(|output| output.name.as_str()).collect();
    if names.is_empty() {
        let message = format!("{} describes no output", args.image.display());
        let help = "add one: [[output]] with file = \"root.squashfs\" and format = \"squashfs\"; or use flashwright pack";
        return Err(Failure::new(Exit::Invalid, message).help(help));
    }
    if let Some(unknown) = args.only.iter().find(|name| !names.contains(&name.as_str())) {
        let message = format!("--only {unknown}: {} has no output of that name", args.image.display());
        let help = match closest(unknown, names.iter().copied()) {
            Some(meant) => format!("did you mean {meant}?"),
            None => format!("there are {}", names.join(", ")),
        };
        return Err(Failure::new(Exit::Usage, message).help(help));
    }
    let wanted = |output: &&Output| args.only.is_empty() || args.only.contains(&output.name);
    Ok(outputs.iter().filter(wanted).collect())
}

/// The chosen outputs, and those that volumes are made of.
fn with_needed<'o>(chosen: Vec<&'o Output>, needed: &[String], all: &'o [Output]) -> Vec<&'o Output> {
    let wanted = |output: &&Output| {
        chosen.iter().any(|chosen| chosen.name == output.name)
            || needed.contains(&output.name) && !output.is_ubi()
    };
    all.iter().filter(wanted).collect()
}

/// Directories that were made for the outputs; removed again unless the build ends well.
#[derive(Debug, Default)]
struct OutDir(Vec<PathBuf>);

impl OutDir {
    fn make(out: &Path, outputs: &[&Output]) -> Result<Self, Failure> {
        let mut made = OutDir::default();
        for output in outputs {
            let file = out.join(&output.file);
            let missing: Vec<&Path> = file.ancestors().skip(1).take_while(|dir| !dir.exists()).collect();
            for directory in missing.into_iter().rev().filter(|dir| !dir.as_os_str().is_empty()) {
                fs::create_dir(directory).map_err(|e| Failure::io("make", directory, &e))?;
                made.0.push(directory.to_owned());
            }
        }
        Ok(made)
    }

    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for OutDir {
    fn drop(&mut self) {
        // Those that something else was put into stay.
        self.0.iter().rev().for_each(|directory| drop(fs::remove_dir(directory)));
    }
}

/// What images are made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Material<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) notes: &'a [Note],
    /// The sources that the tree was made of.
    pub(crate) inputs: &'a [SourceSpec],
    pub(crate) origins: &'a Origins,
}

impl Material<'_> {
    /// Refuses outputs that would replace an input, or come into the image the next time.
    fn check(&self, target: &Target) -> Result<(), Failure> {
        for input in self.inputs {
            match input.kind {
                SourceKind::Directory => target.refuse_inside(&input.path, &input.at, self.tree)?,
                _ => target.refuse_over(&input.path)?,
            }
        }
        target.refuse_over_content(self.tree)
    }
}

/// Writes every image, then puts all of them in place, then tells.
pub(crate) fn write_all(
    material: &Material<'_>,
    plans: Vec<Plan>,
    ubis: Vec<UbiPlan>,
    run: &RunFlags,
) -> Result<(), Failure> {
    plans.iter().try_for_each(|plan| material.check(&plan.target))?;
    interrupt::watch();
    let mut pending = Vec::with_capacity(plans.len());
    let mut finished = Vec::with_capacity(plans.len());
    for plan in plans {
        let (output, report) = write(material, plan, run)?;
        pending.push(output);
        finished.push(report);
    }
    write_ubis(ubis, &mut pending, &mut finished, run)?;
    pending.into_iter().try_for_each(Pending::commit)?;
    let console = Console::new(run);
    for report in &finished {
        console.say(report.lines());
        report.written.warnings.iter().for_each(|warning| console.say(format_args!("warning: {warning}")));
    }
    if run.json {
        return print_json(&report::json(&finished, material.notes));
    }
    Ok(())
}

/// Volumes are made of outputs, so these come last.
fn write_ubis(
    ubis: Vec<UbiPlan>,
    pending: &mut Vec<Pending>,
    finished: &mut Vec<Finished>,
    run: &RunFlags,
) -> Result<(), Failure> {
    let names: Vec<_> = finished.iter().map(|report| report.name.clone()).collect();
    for plan in ubis {
        let outputs: Vec<_> = names.iter().cloned().zip(pending.iter()).collect();
        let (files, report) = ubi::write(plan, &outputs, run)?;
        pending.extend(files);
        finished.push(report);
    }
    Ok(())
}

fn write(material: &Material<'_>, plan: Plan, run: &RunFlags) -> Result<(Pending, Finished), Failure> {
    let start = Instant::now();
    let Plan { name, target, job, max_size } = plan;
    let mut output = Pending::create(target)?;
    let path = output.shown().to_owned();
    let bar = Console::new(run).bar(&path.display().to_string());
    let written = job
        .write(material.tree, run.threads(), (output.file(), &path), &mut |done, total| bar.set(done, total))
        .map_err(|failure| failure.locate(material.tree, material.origins))?;
    drop(bar);
    let bytes_out = output.finish(max_size)?;
    let sha256 = run.json.then(|| output.sha256()).transpose()?;
    let elapsed = start.elapsed();
    let format = job.format();
    Ok((output, Finished { name, path, format, written, bytes_out, max_size, sha256, elapsed }))
}

/// Prints one object on standard output.
pub(crate) fn print_json(value: &serde_json::Value) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{value:#}").and_then(|()| stdout.flush()).map_err(|e| Failure::stdout(&e))
}
