//! Where and with what a benchmark was run: without that, its figures say nothing.

use std::fs;
use std::path::Path;
use std::thread::available_parallelism;

use crate::process::{command, output};

/// Lines for the report: processor, memory, kernel, and the versions of both sides.
pub(super) fn describe(peer: Option<&Path>) -> String {
    let cpu = value_of("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".into());
    let memory = value_of("/proc/meminfo", "MemTotal").unwrap_or_else(|| "unknown".into());
    let threads = available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut text = format!(
        "- Machine: {cpu}, {threads} hardware threads, {memory} of memory, Linux {}\n- flashwright: {}\n",
        kernel.trim(),
        revision()
    );
    if let Some(peer) = peer {
        text.push_str(&format!("- Peer: {}\n", version(peer)));
    }
    text
}

fn value_of(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn revision() -> String {
    let mut git = command("git");
    git.current_dir(vmtest::workspace_dir()).args(["describe", "--always", "--dirty", "--tags"]);
    output(&mut git)
        .map_or_else(|_| "of no known revision".into(), |text| format!("revision {}", text.trim()))
}

/// First line that the program prints when asked for its version.
fn version(program: &Path) -> String {
    // mksquashfs knows the first and exits with 1 after it, mtd-utils know the second.
    let said = ["-version", "--version"].map(|argument| {
        let output = command(program).arg(argument).output().map(|output| output.stdout).unwrap_or_default();
        String::from_utf8_lossy(&output).lines().next().unwrap_or_default().to_owned()
    });
    said.into_iter().find(|line| !line.is_empty()).unwrap_or_else(|| "unknown version".into())
}
