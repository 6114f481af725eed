//! The guest's first and only program: does the job in `/job.json`, writes the report to a disk, powers off.

mod device;
mod flash;
mod kernel_log;
mod step;
mod walk;

use std::fs;
use std::io::{self, BufWriter, Write};
use std::time::Instant;

use rustix::mount::{MountFlags, mount};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::system::{RebootCommand, reboot};
use vmtest::protocol::{JOB_PATH, Job, Line, REPORT_DISK};

use kernel_log::KernelLog;

/// Open files that a walk may need: one for every level of directories.
const OPEN_FILES: u64 = 65_536;

fn main() {
    if let Err(error) = run() {
        // The console: the host shows its end when a report is not complete.
        println!("vmtest-guest: {error}");
    }
    let _ = io::stdout().flush();
    rustix::fs::sync();
    let failed = reboot(RebootCommand::PowerOff);
    println!("vmtest-guest: cannot power off: {failed:?}");
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    mount_basics()?;
    setrlimit(Resource::Nofile, Rlimit { current: Some(OPEN_FILES), maximum: Some(OPEN_FILES) })?;
    let job: Job = serde_json::from_slice(&fs::read(JOB_PATH)?)?;
    step::load_modules(&job.modules)?;
    let disk = device::resolve(&format!("disk:{REPORT_DISK}"))?;
    let disk = fs::OpenOptions::new().write(true).open(disk)?;
    let mut report = Report { output: BufWriter::with_capacity(1 << 20, disk), log: KernelLog::open()? };
    report.flush(None)?;
    for (index, step) in job.steps.iter().enumerate() {
        let start = Instant::now();
        let mut node = |node| report.line(&Line::Node { step: index, node });
        let mut outcome = step::perform(step, &mut node);
        outcome.nanoseconds = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        report.flush(Some(index))?;
        report.line(&Line::Done { step: index, outcome })?;
    }
    report.line(&Line::End)?;
    report.flush(None)?;
    Ok(())
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
