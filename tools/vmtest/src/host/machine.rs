//! The machines: which kernel, which program emulates it, and how its disks are attached.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::{find_program, mips_folder, peers_dir, skip};

/// Kernel command line that every machine has: quiet, no watchdogs that a slow host would wake, and an end to the
/// machine when the kernel oopses or panics.
const COMMON_ARGUMENTS: &str = "quiet loglevel=4 panic=-1 oops=panic nowatchdog rcupdate.rcu_cpu_stall_suppress=1 \
                                log_buf_len=4M printk.devkmsg=on";

#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) qemu: PathBuf,
    pub(crate) kernel: PathBuf,
    /// `None` for a kernel without modules.
    pub(crate) modules: Option<PathBuf>,
    pub(crate) guest: PathBuf,
    /// Modules without which no disk is seen.
    pub(crate) base_modules: &'static [&'static str],
    arguments: &'static [&'static str],
    /// As qemu takes it.
    memory: &'static str,
    kernel_arguments: &'static str,
    /// PCI slots, 8 disks each.
    first_slot: u8,
}

impl Machine {
    /// Debian's stock amd64 kernel on a plain PC.
    pub(crate) fn amd64() -> Option<Self> {
        let folder = peers_dir().join("vm/amd64");
        let machine = Machine {
            qemu: program("qemu-system-x86_64")?,
            kernel: file(folder.join("vmlinuz"))?,
            modules: Some(file(folder.join("modules"))?),
            guest: file(folder.join("vmtest-guest"))?,
            base_modules: &["virtio_pci", "virtio_blk"],
            arguments: &["-machine", "pc,accel=tcg", "-cpu", "max"],
            memory: "512M",
            kernel_arguments: "console=ttyS0 tsc=reliable mitigations=off",
            first_slot: 4,
        };
        Some(machine)
    }

    /// A big-endian MIPS machine (Malta) with CFI NOR. Its kernel, `vmlinux` or `vmlinux.xz`, is in the folder that
    /// `FLASHWRIGHT_VM_MIPS` names, or in `../shared/vm/mips-be` beside the workspace. It is an extra: without that folder
    /// its tests are left out, also with `CI=true`.
    pub(crate) fn mips_be() -> Option<Self> {
        let Some(folder) = mips_folder() else {
            eprintln!(
                "skipped: no big-endian MIPS kernel; FLASHWRIGHT_VM_MIPS names the folder with its vmlinux.xz"
            );
            return None;
        };
        let machine = Machine {
            qemu: program("qemu-system-mips")?,
            kernel: first_file(&folder, &["vmlinux", "vmlinux.xz"])?,
            modules: None,
            guest: file(peers_dir().join("vm/mips-be/vmtest-guest"))?,
            base_modules: &[],
            arguments: &["-machine", "malta,accel=tcg", "-cpu", "24Kf"],
            memory: "256M",
            kernel_arguments: "console=ttyS0",
            first_slot: 18,
        };
        Some(machine)
    }

    pub(crate) fn kernel_arguments(&self, more: &str) -> String {
        format!("{COMMON_ARGUMENTS} {} {more}", self.kernel_arguments)
    }

    /// What qemu is told apart from kernel, initramfs and disks.
    pub(crate) fn arguments(&self, console: &Path) -> Vec<OsString> {
        let fixed = ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-nic", "none"];
        let time = ["-rtc", "base=2030-01-01T00:00:00", "-monitor", "none"];
        let memory = ["-m", self.memory];
        let all = self.arguments.iter().chain(&memory).chain(&fixed).chain(&time);
        let mut arguments: Vec<OsString> = all.map(OsString::from).collect();
        let mut serial = OsString::from("file:");
        serial.push(console);
        arguments.extend([OsString::from("-serial"), serial]);
        arguments
    }

    /// Arguments that keep the memory in a file.
    pub(crate) fn memory(&self, file: &Path) -> Vec<OsString> {
        let mut object = OsString::from("memory-backend-file,id=memory,share=on,size=");
        object.push(self.memory);
        object.push(",mem-path=");
        object.push(comma_escaped(file));
        ["-object".into(), object, "-machine".into(), "memory-backend=memory".into()].into()
    }

    /// Arguments that attach a disk; `index` counts all disks of the machine.
    pub(crate) fn disk(&self, index: usize, image: &Path, serial: &str, read_only: bool) -> Vec<OsString> {
        let mut drive = OsString::from(format!("if=none,id=d{index},format=raw,cache=unsafe,readonly="));
        drive.push(if read_only { "on,file=" } else { "off,file=" });
        drive.push(comma_escaped(image));
        let (slot, function) = (usize::from(self.first_slot) + index / 8, index % 8);
        let device = format!(
            "virtio-blk-pci,drive=d{index},serial={serial},addr={slot:#x}.{function:#x},multifunction=on"
        );
        vec!["-drive".into(), drive, "-device".into(), device.into()]
    }
}

/// qemu takes a comma as the end of a file name unless it is doubled.
pub(crate) fn comma_escaped(path: &Path) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let bytes = path.as_os_str().as_bytes();
    OsString::from_vec(bytes.split(|&byte| byte == b',').collect::<Vec<_>>().join(&b",,"[..]))
}

fn program(name: &str) -> Option<PathBuf> {
    let found = find_program(name);
    if found.is_none() {
        skip(&format!("kernel tests: no {name}"));
    }
    found
}

fn file(path: PathBuf) -> Option<PathBuf> {
    if path.exists() {
        return Some(path);
    }
    skip(&format!("kernel tests: no {}", path.display()));
    None
}

fn first_file(folder: &Path, names: &[&str]) -> Option<PathBuf> {
    let found = names.iter().map(|name| folder.join(name)).find(|path| path.exists());
    if found.is_none() {
        skip(&format!("kernel tests: none of {names:?} in {}", folder.display()));
    }
    found
}
