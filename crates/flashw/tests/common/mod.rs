//! What the tests share: trees, images of them, what `flashw --json` prints, and files and programs in the guest.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

pub mod cli;

use std::num::NonZeroUsize;

use flashwright_media::UbiGeometry;
use flashwright_tree::{Content, Node, Timestamp, Tree};
use flashwright_ubi::format::VolumeType;
use flashwright_ubi::{Options, Volume};
use serde_json::Value;
use sha2::{Digest, Sha256};
use vmtest::protocol::{RunReport, Step};
use vmtest::{Program, Report, StepId, Vm};

/// Bytes that no compressor makes smaller, the same for the same seed.
pub fn noise(len: usize, seed: u32) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15 ^ u64::from(seed);
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// A few files, one of them `len` bytes long.
pub fn tree(len: usize) -> Tree {
    let mut tree = Tree::new();
    tree.node_mut(Tree::ROOT).metadata.mtime = Timestamp::from_seconds(1_000_000_000);
    for (number, len) in (0u32..).zip([0usize, 10, 4096, len]) {
        let mut node = Node::file(0o640, Content::from_bytes(noise(len, number)));
        node.metadata.mtime = Timestamp::from_seconds(1_000_000_000 + i64::from(number));
        tree.insert(Tree::ROOT, format!("file{number}").as_bytes(), node).unwrap();
    }
    tree
}

/// That tree as SquashFS.
pub fn squashfs(tree: &Tree) -> Vec<u8> {
    let mut file = tempfile::tempfile().unwrap();
    let options = flashwright_squashfs::Options::default();
    flashwright_squashfs::write(tree, &options, NonZeroUsize::MIN, &mut file, &mut |_| ()).unwrap();
    let mut bytes = Vec::new();
    std::io::Seek::rewind(&mut file).unwrap();
    std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
    bytes
}

/// The events of that name.
pub fn events(stdout: &[u8], name: &str) -> Vec<Value> {
    let text = String::from_utf8(stdout.to_vec()).unwrap();
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).expect(line));
    let events: Vec<_> = events.collect();
    assert!(events.iter().all(|event| event["version"] == 1), "{text}");
    events.into_iter().filter(|event| event["event"] == name).collect()
}

/// SHA-256 in hexadecimal digits, as [`Step::Hash`] has it.
pub fn sha256(bytes: &[u8]) -> Option<String> {
    Some(Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A volume with that content.
pub fn filled(name: &str, volume_type: VolumeType, bytes: Vec<u8>) -> Volume {
    let mut volume = Volume::new(name);
    (volume.volume_type, volume.content) = (volume_type, Some(flashwright_ubi::Content::from_bytes(bytes)));
    volume
}

/// A UBI image for NAND with PEBs of 128 KiB.
pub fn nand_ubi(volumes: &[Volume]) -> Vec<u8> {
    let options = Options::new(UbiGeometry::new(128 << 10, 2048, Some(512), None).unwrap());
    let mut bytes = Vec::new();
    flashwright_ubi::plan(volumes, &options).unwrap().write_to(&mut bytes, &mut |_| ()).unwrap();
    bytes
}

/// A file in the guest.
pub fn put(vm: &mut Vm, path: &str, bytes: &[u8]) {
    vm.file(path, Node::file(0o644, Content::from_bytes(bytes.to_vec()))).unwrap();
}

/// A step that runs `flashw … --json`.
pub fn json(vm: &mut Vm, flashw: &Program, words: &[&str]) -> StepId {
    let words: Vec<_> = words.iter().copied().chain(["--json"]).collect();
    vm.run_program(flashw, &words)
}

/// A step that hashes a file or device of the guest, the first `len` bytes.
pub fn hash(vm: &mut Vm, path: &str, len: usize) -> StepId {
    vm.step(Step::Hash { path: path.into(), len: len as u64 })
}

/// How a program ended.
pub fn run(report: &Report, step: StepId) -> RunReport {
    report.outcome(step).run.clone().unwrap()
}

/// All that a program said.
pub fn said(run: &RunReport) -> String {
    String::from_utf8_lossy(&run.stdout.0).into_owned() + &String::from_utf8_lossy(&run.stderr.0)
}

/// Fails unless the program ended well; what it said.
pub fn well(report: &Report, step: StepId) -> String {
    let run = run(report, step);
    assert_eq!(run.code, Some(0), "{}", said(&run));
    said(&run)
}

/// The events of that name; the run must have ended with that exit code.
pub fn events_of(report: &Report, step: StepId, code: i32, event: &str) -> Vec<Value> {
    let run = run(report, step);
    assert_eq!(run.code, Some(code), "{}", said(&run));
    events(&run.stdout.0, event)
}

/// The last of them.
pub fn end_of(report: &Report, step: StepId, code: i32, event: &str) -> Value {
    let found = events_of(report, step, code, event).pop();
    found.unwrap_or_else(|| panic!("no {event}: {}", said(&run(report, step))))
}
