//! The programs of mtd-utils and `flashw` take turns on the same flash: each accepts what the other wrote, and both, and the kernel,
//! agree about every erase count.

mod common;

use std::collections::BTreeMap;

use common::{end_of, filled, json, nand_ubi, noise, put, run, said, sha256, squashfs, tree, well};
use flashwright_ubi::format::VolumeType;
use serde_json::Value;
use vmtest::{Report, StepId, Vm};

const PEB: usize = 128 << 10;
const PEBS: u64 = 60;
const RAW: usize = 10 * PEB - 3000;

/// What has to come of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// It ends well.
    Well,
    /// It ends well and says that.
    Says(&'static str),
    /// `flashw verify`: that is the image.
    Equal,
    /// `flashw verify`: it is not.
    Differs,
    /// `flashw write`: everything is right already.
    NothingToDo,
    /// `flashw write`: written.
    Written,
    /// `flashw ubi health`: every PEB has that many erases more than at the last look.
    Health(u64),
    /// `flashw ubi health`: any counts; noted for the next look.
    Look,
    /// `flashw ubi health`: no PEB has a header.
    Blank,
    /// Attached: the kernel sees the counts that `flashw` saw last.
    Attached,
}

use Expect::{Attached, Blank, Differs, Equal, Health, Look, NothingToDo, Says, Well, Written};

/// Program and arguments; `flashw` gets `--json` besides. `hash FILE IMAGE` compares files, of which the first may be longer.
const TURNS: &[(&str, Expect)] = &[
    // Raw NAND.
    ("flash_erase -q /dev/mtd0 0 0", Well),
    ("nandwrite -q -p /dev/mtd0 /raw1", Well),
    ("flashw verify /raw1 /dev/mtd0", Equal),
    ("flashw write /raw1 /dev/mtd0", NothingToDo),
    ("flashw write /raw2 /dev/mtd0", Written),
    ("nanddump -q --bb=skipbad -l 1307720 -f /tmp/nand /dev/mtd0", Well),
    ("hash /tmp/nand /raw2", Well),
    ("flash_erase -q /dev/mtd0 0 0", Well),
    ("flashw verify /raw2 /dev/mtd0", Differs),
    ("flashw write /raw2 /dev/mtd0", Written),
    // Memory without bad blocks.
    ("flashcp -v /raw1 /dev/mtd3", Well),
    ("flashw verify /raw1 /dev/mtd3", Equal),
    ("flashw write /raw1 /dev/mtd3", NothingToDo),
    ("flashw write /raw2 /dev/mtd3", Written),
    ("mtd_debug read /dev/mtd3 0 1307720 /tmp/ram", Well),
    ("hash /tmp/ram /raw2", Well),
    ("flashcp -v -p /raw2 /dev/mtd3", Well),
    // UBI by them.
    ("ubiformat -y -q -e 7 -f /ubi1 /dev/mtd1", Well),
    ("flashw verify /ubi1 /dev/mtd1", Equal),
    ("flashw write /ubi1 /dev/mtd1", NothingToDo),
    ("mtdinfo -u /dev/mtd1", Says("Default UBI VID header offset")),
    ("flashw ubi health /dev/mtd1", Look),
    ("ubiattach -m 1", Attached),
    ("flashw verify /root ubi:root", Equal),
    ("ubimkvol /dev/ubi0 -N extra -s 1MiB", Well),
    ("ubiupdatevol /dev/ubi0_2 /data", Well),
    ("flashw verify /data ubi:extra", Equal),
    ("flashw write /data ubi:extra", NothingToDo),
    ("ubidetach -m 1", Well),
    // UBI by us.
    ("flashw write /ubi2 /dev/mtd1", Written),
    ("flashw ubi health /dev/mtd1", Look),
    ("ubiattach -m 1", Attached),
    ("ubinfo -a", Says("Name:        data")),
    ("flashw ubi mkvol ubi0 more --size 1M", Well),
    ("ubiupdatevol /dev/ubi0_2 /data", Well),
    ("flashw verify /data ubi:more", Equal),
    ("flashw write /data2 ubi:more", Written),
    ("nanddump -q --bb=skipbad -f /tmp/ubi /dev/mtd1", Well),
    ("ubirename /dev/ubi0 more again", Well),
    ("flashw verify /data2 ubi:again", Equal),
    ("ubirsvol /dev/ubi0 -N again -s 2MiB", Well),
    ("flashw ubi rename ubi0 again last", Well),
    ("ubirmvol /dev/ubi0 -N last", Well),
    ("flashw ubi detach ubi0", Well),
    ("flashw ubi health /dev/mtd1", Look),
    ("flashw ubi health /dev/mtd1", Health(0)),
    ("ubiformat -y -q /dev/mtd1", Well),
    ("flashw ubi health /dev/mtd1", Health(1)),
    ("flashw ubi format /dev/mtd1", NothingToDo),
    ("flashw ubi health /dev/mtd1", Health(0)),
    ("flashw ubi attach /dev/mtd1", Attached),
    ("ubidetach -d 0", Well),
    ("flashw write /ubi1 /dev/mtd1", Written),
    ("ubiformat -y -q -f /ubi2 /dev/mtd1", Well),
    ("flashw verify /ubi2 /dev/mtd1", Equal),
    ("flashw ubi health /dev/mtd1", Look),
    ("ubiattach -m 1", Attached),
    ("ubidetach -m 1", Well),
    ("flash_erase -q /dev/mtd1 0 0", Well),
    ("flashw ubi health /dev/mtd1", Blank),
    ("flashw ubi format /dev/mtd1 --erase-counter 20", Written),
    ("ubiattach -m 1", Well),
    ("ubinfo -d 0", Says("Current maximum erase counter value:     21")),
];

fn ubi(seed: u32) -> Vec<u8> {
    nand_ubi(&[
        filled("root", VolumeType::Static, squashfs(&tree(100_000))),
        filled("data", VolumeType::Dynamic, noise(900_000, seed)),
    ])
}

/// Files in the guest.
fn files() -> BTreeMap<&'static str, Vec<u8>> {
    let root = squashfs(&tree(100_000));
    let more = [("/data", noise(700_000, 5)), ("/data2", noise(800_000, 6)), ("/root", root)];
    let images = [("/raw1", noise(RAW, 1)), ("/raw2", noise(RAW, 2)), ("/ubi1", ubi(3)), ("/ubi2", ubi(4))];
    more.into_iter().chain(images).collect()
}

fn steps(vm: &mut Vm, files: &BTreeMap<&str, Vec<u8>>) -> Option<Vec<StepId>> {
    let flashw = vm.flashw().unwrap()?;
    let mut steps = Vec::new();
    for (turn, _) in TURNS {
        let words: Vec<_> = turn.split(' ').collect();
        steps.push(match words[0] {
            "flashw" => json(vm, &flashw, &words[1..]),
            "hash" => common::hash(vm, words[1], files[words[2]].len()),
            name => {
                let program = vm.program(name).unwrap()?;
                vm.run_program(&program, &words[1..])
            }
        });
    }
    Some(steps)
}

/// Erase counts: lowest, mean, highest.
type Counts = [u64; 3];

fn counts(health: &Value) -> Counts {
    assert_eq!((&health["known"], &health["bad"]), (&PEBS.into(), &0.into()), "{health}");
    ["min", "mean", "max"].map(|name| health[name].as_u64().unwrap())
}

/// What the kernel says when it attaches: highest and mean.
fn seen_by_kernel(report: &Report, step: StepId) -> (u64, u64) {
    let log = report.step(step).log.iter();
    let text = log.filter_map(|message| message.text.split("max/mean erase counter: ").nth(1)).next();
    let text = text.expect("the kernel tells").split(',').next().unwrap();
    let (max, mean) = text.split_once('/').unwrap();
    (max.parse().unwrap(), mean.parse().unwrap())
}

fn check(report: &Report, step: StepId, expect: Expect, last: &mut Counts) {
    match expect {
        Well => drop(well(report, step)),
        Says(words) => {
            let text = well(report, step);
            assert!(text.contains(words), "{text}");
        }
        Equal => assert_eq!(end_of(report, step, 0, "verdict")["equal"], true),
        Differs => assert_eq!(end_of(report, step, 5, "verdict")["equal"], false),
        NothingToDo | Written => {
            let end = end_of(report, step, 0, "report");
            assert_eq!(
                (&end["done"], end["programmed"] == 0),
                (&true.into(), expect == NothingToDo),
                "{end}"
            );
        }
        Look => *last = counts(&end_of(report, step, 0, "health")),
        Health(more) => {
            let now = counts(&end_of(report, step, 0, "health"));
            assert_eq!(now, last.map(|count| count + more));
            *last = now;
        }
        Blank => {
            let health = end_of(report, step, 0, "health");
            assert_eq!((&health["known"], &health["erased"]), (&0.into(), &PEBS.into()), "{health}");
        }
        Attached => {
            well(report, step);
            let (max, mean) = seen_by_kernel(report, step);
            // The kernel rounds the mean down, `flashw` to the nearest.
            assert!(max == last[2] && (mean == last[1] || mean + 1 == last[1]), "{max}/{mean}, {last:?}");
        }
    }
}

#[test]
fn both_agree_about_the_same_flash() {
    let Some(mut vm) = Vm::amd64() else { return };
    vm.module("nandsim", "id_bytes=0x20,0xa1,0x00,0x15 parts=20,60").unwrap();
    vm.module("ubi", "").unwrap();
    vm.module("mtdram", "total_size=2048 erase_size=64").unwrap();
    let files = files();
    for (path, bytes) in &files {
        put(&mut vm, path, bytes);
    }
    let Some(steps) = steps(&mut vm, &files) else { return };
    let report = vm.run().unwrap();
    let mut last = [0; 3];
    for ((turn, expect), step) in TURNS.iter().zip(steps) {
        eprintln!("{turn}");
        match turn.strip_prefix("hash ").and_then(|words| words.split(' ').nth(1)) {
            Some(image) => assert_eq!(report.outcome(step).sha256, sha256(&files[image])),
            None => {
                eprintln!("{}", said(&run(&report, step)));
                check(&report, step, *expect, &mut last);
            }
        }
    }
}
