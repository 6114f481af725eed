//! Programs run in another way than as they are: on a kernel that does not know some calls, or with their memory measured.

use std::fs;
use std::io;
use std::process::{Command, ExitCode};
use std::thread::sleep;
use std::time::Duration;

use vmtest::protocol::{MEASURED, WITHOUT};

/// Does what the arguments ask for, when they ask for that; the exit code of the program.
pub(crate) fn wrapped(arguments: &[String]) -> Option<ExitCode> {
    let [_, word, value, program @ ..] = arguments else { return None };
    let (name, arguments) = program.split_first()?;
    let mut command = Command::new(name);
    command.args(arguments);
    let result = match word.as_str() {
        MEASURED => measure(command, value),
        WITHOUT => without(command, value),
        _ => return None,
    };
    Some(result.unwrap_or_else(|error| {
        eprintln!("vmtest-guest: {name}: {error}");
        ExitCode::FAILURE
    }))
}

/// Writes how many bytes of the program were in memory at most to a file. Looked at each millisecond: wait4 has the number
/// too, but musl and the crate that would call it do not agree where on 32-bit CPUs.
fn measure(mut command: Command, file: &str) -> io::Result<ExitCode> {
    let mut child = command.spawn()?;
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    let ended = loop {
        most = peak(&fs::read_to_string(&status).unwrap_or_default()).unwrap_or(most);
        match child.try_wait()? {
            Some(ended) => break ended,
            None => sleep(Duration::from_millis(1)),
        }
    };
    fs::write(file, most.to_string())?;
    let code = ended.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Bytes of `VmHWM:     1234 kB`; not there once a program has ended.
fn peak(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// Becomes the program, for which ioctls of those numbers, in hexadecimal digits, are unknown.
#[cfg(target_arch = "x86_64")]
fn without(mut command: Command, numbers: &str) -> io::Result<ExitCode> {
    use std::os::unix::process::CommandExt;
    let numbers: Result<Vec<_>, _> =
        numbers.split(',').map(|number| u32::from_str_radix(number, 16)).collect();
    let numbers = numbers.map_err(io::Error::other)?;
    filter(&numbers).map_err(io::Error::other)?;
    Err(command.exec())
}

#[cfg(target_arch = "x86_64")]
fn filter(numbers: &[u32]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule, TargetArch, apply_filter,
    };
    /// `__NR_ioctl`.
    const IOCTL: i64 = 16;
    /// `ENOTTY`, as of a driver that does not know the number.
    const UNKNOWN: u32 = 25;
    let rule = |number: &u32| {
        let is_it = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, (*number).into())?;
        SeccompRule::new(vec![is_it])
    };
    let rules = numbers.iter().map(rule).collect::<Result<Vec<_>, _>>()?;
    let (allow, unknown) = (SeccompAction::Allow, SeccompAction::Errno(UNKNOWN));
    let filter = SeccompFilter::new([(IOCTL, rules)].into(), allow, unknown, TargetArch::x86_64)?;
    apply_filter(&BpfProgram::try_from(filter)?)?;
    Ok(())
}

#[cfg(not(target_arch = "x86_64"))]
fn without(_: Command, _: &str) -> io::Result<ExitCode> {
    Err(io::ErrorKind::Unsupported.into())
}
