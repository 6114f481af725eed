//! Programs of others in the guest: the peers' tools with their libraries on the PC, BusyBox on the device.

use std::path::{Path, PathBuf};
use std::process::Command;

use flashwright_tree::{Content, Node};

use super::modules::read_maybe_xz;
use super::vm::{StepId, Vm};
use crate::protocol::{GUEST_PATH, MEASURED, Step, WITHOUT};
use crate::{Error, mips_folder, peers_dir, skip};

/// Where they are in the guest.
const GUEST_FOLDER: &str = "/peers";
/// Dynamic loader, from the root of the unpacked packages.
const LOADER: &str = "usr/lib64/ld-linux-x86-64.so.2";
/// Folder of the libraries, from there.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// A program that the guest can run, see [`Vm::program`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    argv: Vec<String>,
}

impl Program {
    /// The step that runs it with those arguments.
    #[must_use]
    pub fn with(&self, arguments: &[&str]) -> Step {
        let arguments = arguments.iter().map(|&argument| argument.to_owned());
        Step::Run { argv: self.argv.iter().cloned().chain(arguments).collect() }
    }

    /// The same, writing to `file` how many bytes of it were in memory at most, in decimal digits.
    #[must_use]
    pub fn measured(&self, file: &str) -> Self {
        self.wrapped(MEASURED, file)
    }

    /// The same on a kernel that does not know the ioctls of those numbers, on [`Vm::amd64`].
    #[must_use]
    pub fn without(&self, ioctls: &[u32]) -> Self {
        let numbers: Vec<_> = ioctls.iter().map(|number| format!("{number:x}")).collect();
        self.wrapped(WITHOUT, &numbers.join(","))
    }

    fn wrapped(&self, word: &str, value: &str) -> Self {
        let words = [GUEST_PATH, word, value].map(str::to_owned);
        Program { argv: words.into_iter().chain(self.argv.iter().cloned()).collect() }
    }
}

impl Vm {
    /// Puts a program of the peers into the guest: that of mtd-utils with its libraries on [`Vm::amd64`], BusyBox's applet
    /// of that name on [`Vm::mips_be`]. `None`, after a message, when there is none.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::GuestFile`].
    ///
    /// # Panics
    /// With `CI=true`, when it is missing.
    pub fn program(&mut self, name: &str) -> Result<Option<Program>, Error> {
        if self.is_pc() { self.peer_program(name) } else { self.applet(name) }
    }

    /// Puts `flashw` into the guest, as `cargo xtask tools` built it. `None`, after a message, when it is not there.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::GuestFile`].
    ///
    /// # Panics
    /// With `CI=true`, when it is missing.
    pub fn flashw(&mut self) -> Result<Option<Program>, Error> {
        let machine = if self.is_pc() { "amd64" } else { "mips-be" };
        let program = peers_dir().join("vm").join(machine).join("flashw");
        if !program.is_file() {
            skip(&format!("no flashw for {machine}: cargo xtask tools"));
            return Ok(None);
        }
        let path = format!("{GUEST_FOLDER}/flashw");
        self.add_once(&path, &program)?;
        Ok(Some(Program { argv: vec![path] }))
    }

    fn peer_program(&mut self, name: &str) -> Result<Option<Program>, Error> {
        let root = peers_dir().join("root");
        let places = ["usr/sbin", "usr/bin"].map(|folder| root.join(folder).join(name));
        let Some(program) = places.iter().find(|place| place.is_file()) else {
            skip(&format!("no {name} for the guest"));
            return Ok(None);
        };
        let loader = root.join(LOADER);
        for library in libraries(&loader, &root.join(LIBRARIES), program)? {
            let file_name = library.file_name().unwrap_or_default().to_string_lossy().into_owned();
            self.add_once(&format!("{GUEST_FOLDER}/lib/{file_name}"), &library)?;
        }
        self.add_once(&format!("{GUEST_FOLDER}/loader"), &loader)?;
        let path = format!("{GUEST_FOLDER}/{name}");
        self.add_once(&path, program)?;
        let words = [&format!("{GUEST_FOLDER}/loader"), "--argv0", name, "--library-path"];
        let more = [format!("{GUEST_FOLDER}/lib"), path];
        Ok(Some(Program { argv: words.into_iter().map(str::to_owned).chain(more).collect() }))
    }

    fn applet(&mut self, name: &str) -> Result<Option<Program>, Error> {
        let path = mips_folder().map(|folder| folder.join("busybox.xz")).filter(|path| path.is_file());
        let Some(busybox) = path else {
            skip("no busybox.xz for the guest");
            return Ok(None);
        };
        let path = format!("{GUEST_FOLDER}/busybox");
        self.add_once(&path, &busybox)?;
        Ok(Some(Program { argv: vec![path, name.to_owned()] }))
    }

    /// Puts a program of the host into the guest, unless it is there.
    fn add_once(&mut self, path: &str, from: &Path) -> Result<(), Error> {
        if self.has_file(path) {
            return Ok(());
        }
        let bytes = read_maybe_xz(from).map_err(Error::io(from))?;
        self.file(path, Node::file(0o755, Content::from_bytes(bytes)))
    }

    /// A step that runs `program`.
    pub fn run_program(&mut self, program: &Program, arguments: &[&str]) -> StepId {
        self.step(program.with(arguments))
    }
}

/// All libraries that a program needs, as the loader finds them.
fn libraries(loader: &Path, folder: &Path, program: &Path) -> Result<Vec<PathBuf>, Error> {
    let output = Command::new(loader).arg("--library-path").arg(folder).arg("--list").arg(program).output();
    let text = String::from_utf8_lossy(&output.map_err(Error::io(loader))?.stdout).into_owned();
    // `libz.so.1 => /…/libz.so.1 (0x…)`; the kernel's own and the loader have no arrow or are no file here.
    let found = text.lines().filter_map(|line| line.split(" => ").nth(1)?.split(" (").next());
    Ok(found.map(PathBuf::from).filter(|path| path.starts_with(folder)).collect())
}
