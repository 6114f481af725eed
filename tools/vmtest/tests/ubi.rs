//! UBI in the machines: every step that is about flash does what it says, on both of them.

use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};
use vmtest::Vm;
use vmtest::protocol::{Bytes, Step};

const NAND: &str = "NAND simulator partition 0";
const BLOCK: usize = 128 << 10;
const BLOCKS: usize = 64;
/// A PEB less a page of headers each, where there are no sub-pages.
const LEB: usize = BLOCK - 2 * 2048;

fn sha256(bytes: &[u8]) -> Option<String> {
    Some(Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect())
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|index| u8::try_from(index * index / 77 % 251).unwrap()).collect()
}

#[test]
fn a_pc_has_ubi() {
    let Some(mut vm) = Vm::amd64() else { return };
    vm.module("nandsim", "id_bytes=0x20,0xa1,0x00,0x15 parts=64 badblocks=3").unwrap();
    vm.module("ubi", "").unwrap();
    the_steps_do_what_they_say(vm);
}

#[test]
fn a_big_endian_device_has_ubi() {
    let Some(mut vm) = Vm::mips_be() else { return };
    vm.kernel_arguments("nandsim.id_bytes=0x20,0xa1,0x00,0x15 nandsim.parts=64 nandsim.badblocks=3");
    the_steps_do_what_they_say(vm);
}

fn the_steps_do_what_they_say(mut vm: Vm) {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let data = content(5 * LEB + 1000);
    let data_disk = vm.disk(&file("data", &data));
    // Whole eraseblocks, one that is mostly 0xFF among them.
    let mut raw = content(6 * BLOCK);
    raw[4 * BLOCK + 5000..5 * BLOCK].fill(0xff);
    let raw_disk = vm.disk(&file("raw", &raw));
    let empty = file("dump", &vec![0; BLOCK * BLOCKS]);
    let dump_disk = vm.writable_disk(&empty);
    let (mtd, name) = (|| NAND.to_owned(), || "data".to_owned());

    let facts = vm.step(Step::MtdFacts { mtd: mtd() });
    let (from, len) = (raw_disk.device(), raw.len() as u64);
    let write = vm.step(Step::MtdWrite { from, len, mtd: mtd(), whole: false });
    let dump = vm.step(Step::MtdDump { mtd: mtd(), to: dump_disk.device() });
    let erase = vm.step(Step::MtdErase { mtd: mtd() });
    let vid_hdr_offset = Some(2048);
    let attach = vm.step(Step::UbiAttach { mtd: mtd(), ubi: 3, vid_hdr_offset, max_beb_per1024: Some(40) });
    let bytes = 7 * LEB as u64;
    let make =
        Step::UbiMakeVolume { ubi: 3, name: name(), id: Some(5), bytes, alignment: 1, is_static: true };
    let make = vm.step(make);
    let (from, len) = (data_disk.device(), data.len() as u64);
    let update = vm.step(Step::UbiUpdate { ubi: 3, name: name(), from, len });
    let hash = vm.step(Step::Hash { path: "ubivol:3:data".into(), len: 1 << 40 });
    let ubi = vm.step(Step::UbiFacts { ubi: 3 });
    let block = vm.step(Step::UbiBlock { ubi: 3, name: name() });
    let sectors = (data.len() / 512 * 512) as u64;
    let block_hash = vm.step(Step::Hash { path: "ubiblock:3:data".into(), len: sectors });
    let unblock = vm.step(Step::UbiUnblock { ubi: 3, name: name() });
    // BusyBox has no such applet.
    let ubinfo = if vm.is_pc() { vm.program("ubinfo").unwrap() } else { None };
    let ubinfo = ubinfo.map(|program| vm.run_program(&program, &["-a"]));
    let remove = vm.step(Step::UbiRemoveVolume { ubi: 3, name: name() });
    let detach = vm.step(Step::UbiDetach { ubi: 3 });

    let report = vm.run().unwrap();
    for step in [write, dump, erase, attach, make, update, block, unblock, remove, detach] {
        let _ = report.outcome(step);
    }
    let facts = report.outcome(facts).mtd.clone().unwrap();
    assert_eq!((facts.len, facts.erase_size, facts.write_size), ((BLOCK * BLOCKS) as u64, 128 << 10, 2048));
    assert_eq!((facts.sub_page_size, facts.oob_size), (512, 64));
    assert_eq!(facts.bad, [3 * BLOCK as u64]);
    assert_dump(&empty, &raw);
    assert_eq!(report.outcome(hash).sha256, sha256(&data));
    assert_eq!(report.outcome(block_hash).sha256, sha256(&data[..data.len() / 512 * 512]));
    let ubi = report.outcome(ubi).ubi.clone().unwrap();
    assert_eq!((ubi.number("total_eraseblocks"), ubi.number("bad_peb_count")), (Some(63), Some(1)));
    let volume = ubi.volume("data").unwrap();
    let fact = |name: &str| volume.get(name).map(String::as_str);
    assert_eq!(
        (fact("type"), fact("reserved_ebs"), fact("corrupted")),
        (Some("static"), Some("7"), Some("0"))
    );
    if let Some(step) = ubinfo {
        let run = report.outcome(step).run.clone().unwrap();
        assert_eq!((run.code, run.stderr), (Some(0), Bytes::default()));
        assert!(
            String::from_utf8_lossy(&run.stdout.0).contains("Volume ID:   5 (on ubi3)"),
            "{}",
            run.stdout
        );
    }
}

/// The bad block is skipped, and the rest is erased.
fn assert_dump(dump: &Path, raw: &[u8]) {
    let dump = fs::read(dump).unwrap();
    let block = |index: usize| &dump[index * BLOCK..(index + 1) * BLOCK];
    for index in 0..6 {
        let at = if index < 3 { index } else { index + 1 };
        assert_eq!(block(at), &raw[index * BLOCK..(index + 1) * BLOCK], "eraseblock {at}");
    }
    for erased in [3].into_iter().chain(7..BLOCKS) {
        assert!(block(erased).iter().all(|&byte| byte == 0xff), "eraseblock {erased}");
    }
}
