//! A machine with its disks and its job.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use flashwright_tree::{Content, Device, Metadata, Node, NodeId, NodeKind, Tree};

use super::machine::{Machine, comma_escaped};
use super::modules::{ModuleTree, read_maybe_xz};
use super::report::Report;
use crate::Error;
use crate::protocol::{GUEST_PATH, JOB_PATH, Job, Module, REPORT_DISK, Step};

/// Room for the report; the file is sparse.
const REPORT_LEN: u64 = 4 << 30;
/// Time for a boot and its steps, unless [`Vm::timeout`] says otherwise. The emulation runs at a twentieth of the host's
/// speed, and the host may be busy.
const TIMEOUT: Duration = Duration::from_secs(600);
/// Lines of the console that an error shows.
const CONSOLE_LINES: usize = 40;
/// Where [`Vm::visit`] mounts.
const MOUNT_POINT: &str = "/mnt";

/// A machine that is going to be started: images, modules and steps.
#[derive(Debug)]
pub struct Vm {
    machine: Machine,
    modules: Option<ModuleTree>,
    initramfs: Tree,
    job: Job,
    disks: Vec<(PathBuf, bool)>,
    pflash: Option<PathBuf>,
    kernel_arguments: String,
    memory: Option<PathBuf>,
    boots_itself: bool,
    compression: flashwright_cpio::Compression,
    timeout: Duration,
    qemu_arguments: Vec<String>,
}

/// An image that the guest sees; as a string the name by which steps call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk(usize);

impl Disk {
    /// Name in a [`Step`]: `disk:0`.
    #[must_use]
    pub fn device(&self) -> String {
        format!("disk:{}", self.0)
    }
}

/// A step, to find it in the [`Report`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StepId(pub(crate) usize);

/// The steps that look at one file system; see [`Vm::visit`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// What messages of this file system have in them.
    pub fs: String,
    /// Mounts it.
    pub mount: StepId,
    /// Asks for its size.
    pub statfs: StepId,
    /// Reports every node.
    pub walk: StepId,
    /// Unmounts it.
    pub unmount: StepId,
}

impl Vm {
    /// A PC with Debian's stock amd64 kernel, which has its file systems and MTD drivers as modules. `None`, after a
    /// message, when something is missing.
    ///
    /// # Panics
    /// With `CI=true`, when something is missing.
    #[must_use]
    pub fn amd64() -> Option<Self> {
        Machine::amd64().map(Vm::new)
    }

    /// A big-endian MIPS device with NOR flash, everything built into its kernel. `None`, after a message, when something
    /// is missing.
    ///
    /// # Panics
    /// With `CI=true`, when its kernel is there and something else is missing.
    #[must_use]
    pub fn mips_be() -> Option<Self> {
        Machine::mips_be().map(Vm::new)
    }

    fn new(machine: Machine) -> Self {
        Vm {
            machine,
            modules: None,
            initramfs: Tree::new(),
            job: Job::default(),
            disks: Vec::new(),
            pflash: None,
            kernel_arguments: String::new(),
            memory: None,
            boots_itself: false,
            compression: flashwright_cpio::Compression::None,
            timeout: TIMEOUT,
            qemu_arguments: Vec::new(),
        }
    }

    /// The program that runs in the machine: static, so that it runs from any root, see [`Step::SwitchRoot`].
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn guest_program(&self) -> Result<Vec<u8>, Error> {
        fs::read(&self.machine.guest).map_err(Error::io(&self.machine.guest))
    }

    /// Time after which the machine is stopped and [`Vm::run`] fails. Default 600 s.
    pub fn timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Gives the machine that much memory, in MiB. Default: 512 for [`Vm::amd64`], 256 for [`Vm::mips_be`].
    pub fn memory_size(&mut self, mebibytes: u32) {
        self.qemu_arguments.extend(["-m".to_owned(), mebibytes.to_string()]);
    }

    /// Has the machine's clock count its instructions, 2 nanoseconds each: what a step takes is the same whatever else the
    /// host does, as on a CPU that does 500 million instructions a second and waits for nothing but its devices.
    pub fn instruction_clock(&mut self) {
        self.qemu_arguments.extend(["-icount", "shift=1,sleep=off"].map(str::to_owned));
    }

    /// Adds to the kernel's command line, with a blank before it.
    pub fn kernel_arguments(&mut self, arguments: &str) {
        self.kernel_arguments.push(' ');
        self.kernel_arguments.push_str(arguments);
    }

    /// Keeps the machine's memory in a file, made when it is missing: the next machine with that file finds in its memory what
    /// this one left there, as after a reset.
    pub fn memory(&mut self, file: &Path) {
        self.memory = Some(file.to_owned());
    }

    /// Boots without an initramfs, from the root device that the kernel's arguments name. That has the guest program as
    /// `/init`, [`Vm::job`] as [`JOB_PATH`], and the directories `/dev`, `/proc`, `/sys`, `/tmp` and `/mnt`.
    pub fn boots_itself(&mut self) {
        self.boots_itself = true;
    }

    /// The steps so far, as the guest program reads them.
    ///
    /// # Errors
    /// [`Error::Report`], which does not happen.
    pub fn job(&self) -> Result<Vec<u8>, Error> {
        // serde_json fails on maps with keys that are no strings, and on nothing else here.
        serde_json::to_vec(&self.job).map_err(|error| Error::Report { number: 0, error })
    }

    /// Compresses the initramfs that the machine boots from. Default: not at all.
    pub fn compress_initramfs(&mut self, compression: flashwright_cpio::Compression) {
        self.compression = compression;
    }

    /// Attaches an image, read-only. Its length seen by the guest is rounded up to 512 bytes.
    pub fn disk(&mut self, image: &Path) -> Disk {
        self.disks.push((image.to_owned(), true));
        Disk(self.disks.len() - 1)
    }

    /// Attaches an image that the guest may write to; what it writes stays in the file.
    pub fn writable_disk(&mut self, image: &Path) -> Disk {
        self.disks.push((image.to_owned(), false));
        Disk(self.disks.len() - 1)
    }

    /// Puts an image into the NOR flash of a machine that has one (4 MiB on [`Vm::mips_be`]); what the guest writes stays
    /// in the file.
    pub fn nor_flash(&mut self, image: &Path) {
        self.pflash = Some(image.to_owned());
    }

    /// Loads a kernel module, with those it needs, before the first step. `parameters` as `modprobe` takes them. No effect
    /// on a machine whose kernel has everything built in.
    ///
    /// # Errors
    /// [`Error::NoModule`], [`Error::Io`].
    pub fn module(&mut self, name: &str, parameters: &str) -> Result<(), Error> {
        let modules = self.guest_modules(name, parameters)?;
        self.job.modules.extend(modules);
        Ok(())
    }

    /// A step that loads a kernel module, with those it needs.
    ///
    /// # Errors
    /// As [`Vm::module`].
    pub fn load_module(&mut self, name: &str, parameters: &str) -> Result<StepId, Error> {
        let modules = self.guest_modules(name, parameters)?;
        Ok(self.step(Step::Load { modules }))
    }

    fn guest_modules(&mut self, name: &str, parameters: &str) -> Result<Vec<Module>, Error> {
        let Some(folder) = &self.machine.modules else { return Ok(Vec::new()) };
        let tree = match &self.modules {
            Some(tree) => tree,
            None => self.modules.insert(ModuleTree::open(folder)?),
        };
        let found = tree.with_dependencies(name)?;
        let last = found.len().saturating_sub(1);
        let mut modules = Vec::new();
        for (index, module) in found.into_iter().enumerate() {
            let path = format!("/modules/{}.ko", module.name);
            let parameters = if index == last { parameters.to_owned() } else { String::new() };
            if self.initramfs.resolve(path.as_bytes()).is_none() {
                self.file(&path, Node::file(0o644, Content::from_bytes(module.image)))?;
            }
            modules.push(Module { path, parameters });
        }
        Ok(modules)
    }

    /// Puts a node into the guest's root file system, with the directories above it.
    ///
    /// # Errors
    /// [`Error::GuestFile`] when the path is taken or is none.
    pub fn file(&mut self, path: &str, node: Node) -> Result<(), Error> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let result = self.directory(parent).and_then(|id| self.initramfs.insert(id, name.as_bytes(), node));
        result.map(drop).map_err(|error| Error::GuestFile { path: path.to_owned(), error })
    }

    /// True for [`Vm::amd64`].
    #[must_use]
    pub const fn is_pc(&self) -> bool {
        self.machine.modules.is_some()
    }

    /// True when the guest's root file system has something at that path.
    pub(crate) fn has_file(&self, path: &str) -> bool {
        self.initramfs.resolve(path.trim_start_matches('/').as_bytes()).is_some()
    }

    /// Puts a whole tree into the guest's root file system; its root becomes the directory `path`, which must be new.
    ///
    /// # Errors
    /// As [`Vm::file`].
    pub fn tree(&mut self, path: &str, tree: &Tree) -> Result<(), Error> {
        self.graft(path, tree).map_err(|error| Error::GuestFile { path: path.to_owned(), error })
    }

    fn graft(&mut self, path: &str, tree: &Tree) -> Result<(), flashwright_tree::TreeError> {
        let mut ids: Vec<Option<NodeId>> = vec![None; tree.arena_len()];
        let root = self.directory(path)?;
        self.initramfs.node_mut(root).metadata = tree.root().metadata.clone();
        ids[Tree::ROOT.index()] = Some(root);
        for entry in tree.walk().skip(1) {
            // The walk gives parents first, so the directory is there.
            let parent = ids[entry.parent.index()].unwrap_or(Tree::ROOT);
            let name = entry.path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
            let known = &mut ids[entry.id.index()];
            match *known {
                Some(id) => self.initramfs.link(parent, name, id)?,
                None => *known = Some(self.initramfs.insert(parent, name, entry.node)?),
            }
        }
        Ok(())
    }

    fn directory(&mut self, path: &str) -> Result<NodeId, flashwright_tree::TreeError> {
        let mut id = Tree::ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            id = match self.initramfs.lookup(id, name.as_bytes()) {
                Some(id) => id,
                None => self.initramfs.insert(id, name.as_bytes(), Node::directory(0o755))?,
            };
        }
        Ok(id)
    }

    /// Adds a step; steps are done in the order in which they were added.
    pub fn step(&mut self, step: Step) -> StepId {
        self.job.steps.push(step);
        StepId(self.job.steps.len() - 1)
    }

    /// Mounts a disk read-only, asks for its size, reports every node, unmounts.
    pub fn visit(&mut self, fs: &str, disk: &Disk) -> Visit {
        self.visit_device(fs, &disk.device(), "", true)
    }

    /// As [`Vm::visit`], for any device (see [`Step`]), with mount options, read-only or not.
    pub fn visit_device(&mut self, fs: &str, device: &str, options: &str, read_only: bool) -> Visit {
        let (fs, device, options) = (fs.to_owned(), device.to_owned(), options.to_owned());
        let at = || MOUNT_POINT.to_owned();
        Visit {
            fs: fs.clone(),
            mount: self.step(Step::Mount { fs, device, at: at(), options, read_only }),
            statfs: self.step(Step::Statfs { at: at() }),
            walk: self.step(Step::Walk { at: at(), hash_up_to: u64::MAX }),
            unmount: self.step(Step::Unmount { at: at() }),
        }
    }

    /// Starts the machine and waits until it has done everything.
    ///
    /// # Errors
    /// [`Error::Timeout`], [`Error::Incomplete`] when the kernel dies, and what keeps the machine from starting. A
    /// step that fails is no error here: see [`Report`].
    pub fn run(mut self) -> Result<Report, Error> {
        let folder = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
        let console = folder.path().join("console");
        let report = folder.path().join("report");
        File::create(&report).and_then(|file| file.set_len(REPORT_LEN)).map_err(Error::io(&report))?;
        let mut command = self.command(folder.path(), &console, &report)?;
        let stderr = folder.path().join("stderr");
        let errors = File::create(&stderr).map_err(Error::io(&stderr))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        let child = command.spawn().map_err(Error::io(&self.machine.qemu))?;
        let status = wait(child, self.timeout).map_err(Error::io(&self.machine.qemu))?;
        let console = last_lines(&console);
        let Some(status) = status else { return Err(Error::Timeout { limit: self.timeout, console }) };
        let report = Report::read(&report, self.job.steps.len())?;
        if report.is_complete() {
            return Ok(report);
        }
        let status = format!("{status}; {}", last_lines(&stderr).trim());
        Err(Error::Incomplete { steps: report.steps_done(), status, console })
    }

    fn command(&mut self, folder: &Path, console: &Path, report: &Path) -> Result<Command, Error> {
        let mut command = Command::new(&self.machine.qemu);
        command.args(self.machine.arguments(console)).args(&self.qemu_arguments);
        if let Some(file) = &self.memory {
            command.args(self.machine.memory(file));
        }
        command.arg("-kernel").arg(plain_kernel(&self.machine.kernel, folder)?);
        if !self.boots_itself {
            let initramfs = folder.join("initramfs");
            self.write_initramfs(&initramfs)?;
            command.arg("-initrd").arg(&initramfs);
        }
        command.arg("-append").arg(self.machine.kernel_arguments(&self.kernel_arguments));
        command.args(self.machine.disk(0, report, REPORT_DISK, false));
        for (index, (image, read_only)) in self.disks.iter().enumerate() {
            command.args(self.machine.disk(index + 1, image, &format!("disk{index}"), *read_only));
        }
        if let Some(image) = &self.pflash {
            let mut drive = std::ffi::OsString::from("if=pflash,format=raw,file=");
            drive.push(comma_escaped(image));
            command.arg("-drive").arg(drive);
        }
        Ok(command)
    }

    fn write_initramfs(&mut self, path: &Path) -> Result<(), Error> {
        let mut base = Vec::new();
        for name in self.machine.base_modules {
            base.extend(self.guest_modules(name, "")?);
        }
        self.job.modules.splice(0..0, base);
        let guest = fs::read(&self.machine.guest).map_err(Error::io(&self.machine.guest))?;
        self.file(GUEST_PATH, Node::file(0o755, Content::from_bytes(guest)))?;
        let job = self.job()?;
        self.file(JOB_PATH, Node::file(0o644, Content::from_bytes(job)))?;
        let console = NodeKind::CharDevice(Device { major: 5, minor: 1 });
        self.file("/dev/console", Node::new(Metadata::new(0o600), console))?;
        for directory in ["/proc", "/sys", "/tmp", MOUNT_POINT] {
            let missing = |error| Error::GuestFile { path: directory.to_owned(), error };
            self.directory(directory).map_err(missing)?;
        }
        let mut output = BufWriter::new(File::create(path).map_err(Error::io(path))?);
        let mut options = flashwright_cpio::Options::default();
        options.compression = self.compression;
        flashwright_cpio::write(&self.initramfs, &options, &mut output)?;
        output.flush().map_err(Error::io(path))
    }
}

/// The kernel as qemu takes it.
fn plain_kernel(kernel: &Path, folder: &Path) -> Result<PathBuf, Error> {
    if kernel.extension().is_none_or(|extension| extension != "xz") {
        return Ok(kernel.to_owned());
    }
    let plain = folder.join("kernel");
    let bytes = read_maybe_xz(kernel).map_err(Error::io(kernel))?;
    fs::write(&plain, bytes).map_err(Error::io(&plain))?;
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o644)).map_err(Error::io(&plain))?;
    Ok(plain)
}

/// `None` when the child was stopped because the time was over.
fn wait(mut child: Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        sleep(Duration::from_millis(50));
    }
}

fn last_lines(path: &Path) -> String {
    let text = fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(CONSOLE_LINES)..].join("\n")
}
