//! The end of a boot: from the initramfs to the root file system.

use std::env::set_current_dir;
use std::fs;
use std::io;
use std::os::unix::fs::chroot;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::mount::mount_move;
use vmtest::protocol::Job;

/// First argument of a program that takes over.
const AFTER: &str = "--after";
/// Where the job waits for it, on a file system that moves along.
const JOB: &str = "/tmp/job.json";
/// What moves along.
const MOUNTS: [&str; 4] = ["/dev", "/proc", "/sys", "/tmp"];

/// What the program of the new root has to know.
pub(crate) struct Successor {
    /// Index of the step that it ends.
    pub(crate) step: usize,
    /// Where the report goes on, bytes.
    pub(crate) offset: u64,
}

impl Successor {
    /// From the arguments of a program; `None` for the first program of the machine.
    pub(crate) fn of(arguments: &[String]) -> Option<Self> {
        let [_, after, step, offset] = arguments else { return None };
        (after == AFTER).then_some(())?;
        Some(Successor { step: step.parse().ok()?, offset: offset.parse().ok()? })
    }
}

/// The job of the program before.
pub(crate) fn inherited_job() -> io::Result<Job> {
    Ok(serde_json::from_slice(&fs::read(JOB)?)?)
}

/// Makes `at` the root and becomes its program `init`; returns only when that fails.
pub(crate) fn switch_root(at: &str, init: &str, job: &Job, successor: &Successor) -> io::Error {
    match enter(at, job) {
        Ok(()) => Command::new(init)
            .args([AFTER, &successor.step.to_string(), &successor.offset.to_string()])
            .exec(),
        Err(error) => error,
    }
}

fn enter(at: &str, job: &Job) -> io::Result<()> {
    fs::write(JOB, serde_json::to_vec(job)?)?;
    for mount in MOUNTS {
        mount_move(mount, format!("{at}{mount}"))?;
    }
    set_current_dir(at)?;
    mount_move(".", "/")?;
    chroot(".")?;
    set_current_dir("/")
}
