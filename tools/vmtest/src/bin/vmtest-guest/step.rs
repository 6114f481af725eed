//! One step of the job.

use std::ffi::CString;
use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, statvfs, utimensat};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::system::{delete_module, init_module};
use sha2::{Digest, Sha256};
use vmtest::protocol::{Bytes, Module, NodeReport, Outcome, RunReport, StatfsReport, Step};

use crate::device::resolve;
use crate::flash;
use crate::walk::{hex, walk};

/// Where `block2mtd` is told what to do.
const BLOCK2MTD: &str = "/sys/module/block2mtd/parameters/block2mtd";

type Emit<'a> = &'a mut dyn FnMut(NodeReport) -> io::Result<()>;

pub(crate) fn perform(step: &Step, emit: Emit<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    if let Err(error) = try_perform(step, emit, &mut outcome) {
        outcome.error = Some(error.to_string());
    }
    outcome
}

fn try_perform(step: &Step, emit: Emit<'_>, outcome: &mut Outcome) -> io::Result<()> {
    match step {
        Step::Mount { fs, device, at, options, read_only } => mount_at(fs, device, at, options, *read_only)?,
        Step::Unmount { at } => unmount(at, UnmountFlags::empty())?,
        Step::Statfs { at } => outcome.statfs = Some(statfs(at)?),
        Step::Walk { at, hash_up_to } => walk(Path::new(at), *hash_up_to, emit)?,
        Step::Load { modules } => load_modules(modules)?,
        Step::Unload { module } => unload(module)?,
        Step::Copy { from, to, block_size } => copy(from, to, *block_size)?,
        Step::Write { path, offset, data } => write(path, *offset, &data.0)?,
        Step::Read { path } => outcome.data = Some(Bytes(fs::read(path)?)),
        Step::Remove { path } => remove(path)?,
        Step::Rename { from, to } => fs::rename(from, to)?,
        Step::MakeDirectory { path } => fs::create_dir(path)?,
        Step::SetTime { path, seconds } => set_time(path, *seconds)?,
        Step::Sync => rustix::fs::sync(),
        Step::MtdOfDisk { disk, eraseblock, name } => mtd_of_disk(disk, *eraseblock, name)?,
        Step::BytesRead { disk } => outcome.bytes_read = Some(bytes_read(disk)?),
        // The caller does it: nothing comes back from there.
        Step::SwitchRoot { .. } => return Err(io::ErrorKind::Unsupported.into()),
        Step::Run { argv } => outcome.run = Some(run(argv)?),
        Step::Hash { path, len } => outcome.sha256 = Some(hash(path, *len)?),
        Step::MtdFacts { mtd } => outcome.mtd = Some(flash::facts(mtd)?),
        Step::UbiFacts { ubi } => outcome.ubi = Some(flash::ubi_facts(*ubi)?),
        _ => flash::perform(step)?,
    }
    Ok(())
}

fn hash(path: &str, len: u64) -> io::Result<String> {
    let mut input = File::open(resolve(path)?)?.take(len);
    let (mut digest, mut buffer) = (Sha256::new(), vec![0; 1 << 18]);
    loop {
        match input.read(&mut buffer)? {
            0 => return Ok(hex(&digest.finalize())),
            len => digest.update(&buffer[..len]),
        }
    }
}

pub(crate) fn load_modules(modules: &[Module]) -> io::Result<()> {
    for module in modules {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", module.path));
        let parameters = CString::new(module.parameters.as_str())?;
        let image = fs::read(&module.path).map_err(named)?;
        match init_module(&image, &parameters) {
            // Two lists of modules may share some.
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(named(error.into())),
        }
    }
    Ok(())
}

fn unload(module: &str) -> io::Result<()> {
    let name = CString::new(module)?;
    // Flags would be for modules that are in use, which are refused.
    flash::patient(|| Ok(delete_module(&name, 0)?))
}

fn mount_at(fs: &str, device: &str, at: &str, options: &str, read_only: bool) -> io::Result<()> {
    fs::create_dir_all(at)?;
    let flags = if read_only { MountFlags::RDONLY } else { MountFlags::empty() };
    let options = CString::new(options)?;
    Ok(mount(resolve(device)?, at, fs, flags, options.as_c_str())?)
}

fn statfs(at: &str) -> io::Result<StatfsReport> {
    let found = statvfs(at)?;
    Ok(StatfsReport {
        block_size: found.f_bsize,
        blocks: found.f_blocks,
        free_blocks: found.f_bfree,
        files: found.f_files,
        name_max: found.f_namemax,
    })
}

fn copy(from: &str, to: &str, block_size: usize) -> io::Result<()> {
    let from = File::open(resolve(from)?)?;
    let mut to = OpenOptions::new().write(true).open(resolve(to)?)?;
    let mut block = Vec::new();
    loop {
        block.clear();
        (&from).take(block_size as u64).read_to_end(&mut block)?;
        if block.is_empty() {
            return Ok(());
        }
        block.resize(block_size, 0xff);
        to.write_all(&block)?;
    }
}

fn write(path: &str, offset: Option<u64>, data: &[u8]) -> io::Result<()> {
    match offset {
        None => fs::write(path, data),
        Some(offset) => OpenOptions::new().write(true).open(path)?.write_all_at(data, offset),
    }
}

fn remove(path: &str) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) }
}

fn set_time(path: &str, seconds: i64) -> io::Result<()> {
    let kind = fs::symlink_metadata(path)?.file_type();
    if let (true, Ok(seconds)) = (kind.is_file() || kind.is_dir(), u64::try_from(seconds)) {
        // rustix hands musl on 32-bit CPUs a structure of another layout than it takes.
        let time = UNIX_EPOCH + Duration::from_secs(seconds);
        return File::open(path)?.set_times(FileTimes::new().set_accessed(time).set_modified(time));
    }
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// The driver's parameter is all it has for being told; each write adds an MTD.
fn mtd_of_disk(disk: &str, eraseblock: u32, name: &str) -> io::Result<()> {
    let disk = resolve(disk)?;
    fs::write(BLOCK2MTD, format!("{},{eraseblock},{name}", disk.display()))
}

/// The third number of `stat`, in units that are 512 bytes whatever the disk.
fn bytes_read(disk: &str) -> io::Result<u64> {
    let disk = resolve(disk)?;
    let name = disk.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let stat = fs::read_to_string(Path::new("/sys/class/block").join(name).join("stat"))?;
    let sectors = stat.split_whitespace().nth(2).and_then(|number| number.parse::<u64>().ok());
    Ok(sectors.ok_or(io::ErrorKind::InvalidData)? * 512)
}

fn run(argv: &[String]) -> io::Result<RunReport> {
    let (program, arguments) = argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let output = Command::new(program).args(arguments).output()?;
    Ok(RunReport { code: output.status.code(), stdout: Bytes(output.stdout), stderr: Bytes(output.stderr) })
}
