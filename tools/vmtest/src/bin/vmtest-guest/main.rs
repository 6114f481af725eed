//! The guest's first and only program: does the job in `/job.json`, writes the report to a disk, powers off.

mod device;
mod flash;
mod kernel_log;
mod step;
mod switch_root;
mod walk;
mod wrapper;

use std::env;
use std::fs;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::process::ExitCode;
use std::time::Instant;

use rustix::mount::{MountFlags, mount};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::system::{RebootCommand, reboot};
use vmtest::protocol::{Bytes, JOB_PATH, Job, Line, Outcome, REPORT_DISK, Step};

use kernel_log::KernelLog;
use switch_root::{Successor, switch_root};

/// Open files that a walk may need: one for every level of directories.
const OPEN_FILES: u64 = 65_536;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    if let Some(code) = wrapper::wrapped(&arguments) {
        return code;
    }
    if let Err(error) = run(&arguments) {
        // The console: the host shows its end when a report is not complete.
        println!("vmtest-guest: {error}");
    }
    let _ = io::stdout().flush();
    rustix::fs::sync();
    let failed = reboot(RebootCommand::PowerOff);
    println!("vmtest-guest: cannot power off: {failed:?}");
    ExitCode::FAILURE
}

fn run(arguments: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let (job, mut report, done) = match Successor::of(arguments) {
        None => start()?,
        Some(successor) => take_over(&successor)?,
    };
    for (index, step) in job.steps.iter().enumerate().skip(done) {
        let start = Instant::now();
        let mut outcome = match step {
            Step::SwitchRoot { at, init } => {
                report.flush(Some(index))?;
                let successor = Successor { step: index, offset: report.offset()? };
                let error = switch_root(at, init, &job, &successor);
                Outcome { error: Some(error.to_string()), ..Outcome::default() }
            }
            _ => {
                let mut node = |node| report.line(&Line::Node { step: index, node });
                step::perform(step, &mut node)
            }
        };
        outcome.nanoseconds = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        report.flush(Some(index))?;
        report.line(&Line::Done { step: index, outcome })?;
    }
    report.line(&Line::End)?;
    report.flush(None)?;
    Ok(())
}

/// The first program of the machine: everything is still to be done.
fn start() -> Result<(Job, Report, usize), Box<dyn std::error::Error>> {
    mount_basics()?;
    setrlimit(Resource::Nofile, Rlimit { current: Some(OPEN_FILES), maximum: Some(OPEN_FILES) })?;
    let job: Job = serde_json::from_slice(&fs::read(JOB_PATH)?)?;
    step::load_modules(&job.modules)?;
    let mut report = Report::open(0, KernelLog::open()?)?;
    report.flush(None)?;
    Ok((job, report, 0))
}

/// The program of a new root: says that it runs, and goes on with the next step.
fn take_over(successor: &Successor) -> Result<(Job, Report, usize), Box<dyn std::error::Error>> {
    let job = switch_root::inherited_job()?;
    let mut report = Report::open(successor.offset, KernelLog::open_at_end()?)?;
    let program = fs::read_link("/proc/self/exe")?;
    let said = format!("{} runs as process {}", program.display(), std::process::id());
    let outcome = Outcome { data: Some(Bytes(said.into_bytes())), ..Outcome::default() };
    report.line(&Line::Done { step: successor.step, outcome })?;
    Ok((job, report, successor.step + 1))
}

fn mount_basics() -> io::Result<()> {
    let basics = [
        ("devtmpfs", "/dev"),
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("tmpfs", "/tmp"),
        ("debugfs", "/sys/kernel/debug"),
    ];
    for (fs, at) in basics {
        mount(fs, at, fs, MountFlags::empty(), None)?;
    }
    Ok(())
}

struct Report {
    output: BufWriter<fs::File>,
    log: KernelLog,
}

impl Report {
    /// The report, to be written from byte `offset` of its disk on.
    fn open(offset: u64, log: KernelLog) -> io::Result<Self> {
        let disk = device::resolve(&format!("disk:{REPORT_DISK}"))?;
        let mut disk = fs::OpenOptions::new().write(true).open(disk)?;
        disk.seek(SeekFrom::Start(offset))?;
        Ok(Report { output: BufWriter::with_capacity(1 << 20, disk), log })
    }

    /// Where the next line goes.
    fn offset(&mut self) -> io::Result<u64> {
        self.output.stream_position()
    }

    fn line(&mut self, line: &Line) -> io::Result<()> {
        serde_json::to_writer(&mut self.output, line)?;
        self.output.write_all(b"\n")
    }

    /// Adds what the kernel has said since the last call, and brings everything to the host.
    fn flush(&mut self, step: Option<usize>) -> io::Result<()> {
        for message in self.log.new_messages() {
            self.line(&Line::Log { step, message })?;
        }
        self.output.flush()?;
        self.output.get_ref().sync_data()
    }
}
