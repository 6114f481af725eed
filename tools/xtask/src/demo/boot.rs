//! Boots the router in QEMU, under plain emulation, with Debian's stock kernel.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::{cargo, command, run};
use crate::tools::ensure_machine;

/// Drivers without which the router's disk is not seen, or not understood.
const MODULES: [&str; 3] = ["virtio_pci", "virtio_blk", "squashfs"];
/// What the router prints last.
const UP: &str = "router: up";
/// Plain emulation on a slow host needs minutes.
const TIMEOUT: Duration = Duration::from_secs(300);

/// An emulator and a kernel with its modules.
pub(super) struct Machine {
    qemu: PathBuf,
    kernel: PathBuf,
}

impl Machine {
    /// The machine, installed when it can be; `None`, after a message, when something is missing.
    pub(super) fn find() -> Option<Self> {
        let missing = ensure_machine();
        let folder = vmtest::peers_dir().join("vm/amd64");
        let kernel = folder.join("vmlinuz");
        match vmtest::find_program("qemu-system-x86_64") {
            Some(qemu) if kernel.exists() => Some(Machine { qemu, kernel }),
            _ => {
                missing.iter().for_each(|missing| println!("skipped: {missing}"));
                println!("skipped: booting needs qemu-system-x86_64 and a kernel; see cargo xtask tools");
                None
            }
        }
    }

    /// Writes the modules that are needed into `folder`, with a file `order` that says in which order they load.
    pub(super) fn modules(&self, folder: &Path) -> Result<()> {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder)?;
        let mut writer = cargo();
        writer.args(["run", "--locked", "--quiet", "--package", "vmtest", "--bin", "vmtest-modules", "--"]);
        run(writer.arg(folder).args(MODULES))
    }

    /// Boots `router.squashfs` with `initramfs.cpio`, both in `folder`.
    pub(super) fn boot(&self, folder: &Path, shell: bool) -> Result<()> {
        let mut qemu = command(&self.qemu);
        let drive =
            format!("if=virtio,format=raw,readonly=on,file={}", folder.join("router.squashfs").display());
        qemu.args(["-machine", "pc,accel=tcg", "-cpu", "max", "-m", "256", "-nodefaults", "-no-reboot"]);
        qemu.args(["-display", "none", "-nic", "none", "-drive", &drive, "-serial"]);
        qemu.arg(if shell { "mon:stdio" } else { "stdio" });
        qemu.arg("-kernel").arg(&self.kernel).arg("-initrd").arg(folder.join("initramfs.cpio"));
        let arguments = "console=ttyS0 quiet loglevel=3 panic=-1 mitigations=off";
        if shell {
            qemu.args(["-append", arguments]).stdin(Stdio::inherit());
            println!("$ qemu-system-x86_64 … (leave with `poweroff -f` or Ctrl-A X)");
            return run(&mut qemu);
        }
        qemu.args(["-append", &format!("{arguments} demo")]);
        println!("$ qemu-system-x86_64 -drive {drive} …");
        watch(&mut qemu)
    }
}

/// Shows what the router prints until it is up, or gives up.
fn watch(qemu: &mut Command) -> Result<()> {
    let mut child = qemu.stdout(Stdio::piped()).spawn().context("cannot run qemu")?;
    let result = follow(&mut child);
    let _ = child.kill();
    child.wait()?;
    result
}

fn follow(child: &mut Child) -> Result<()> {
    let stdout = child.stdout.take().context("qemu has no output")?;
    let (sender, lines) = channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(stdout);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            if sender.send(text).is_err() {
                return;
            }
        }
    });
    until_up(&lines)
}

fn until_up(lines: &Receiver<String>) -> Result<()> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                println!("  {line}");
                if line.trim() == UP {
                    return Ok(());
                }
            }
            Err(RecvTimeoutError::Timeout) => bail!("the router was not up after {} s", TIMEOUT.as_secs()),
            Err(RecvTimeoutError::Disconnected) => bail!("the router went down before it was up"),
        }
    }
}
