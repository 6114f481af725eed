//! How much memory `flashw` takes on a device, and that two of them do not write to the same flash.

mod common;

use common::{end_of, filled, json, nand_ubi, noise, put};
use flashwright_media::UbiGeometry;
use flashwright_ubi::Options;
use flashwright_ubi::format::VolumeType;
use vmtest::protocol::Step;
use vmtest::{Report, StepId, Vm};

const NOR: &str = "User FS";
const NAND: &str = "NAND simulator partition 0";
/// Bytes besides two eraseblocks.
const LIMIT: u64 = 2 << 20;

/// A write, and where the bytes that it took are told.
struct Measured {
    written: StepId,
    memory: StepId,
    eraseblock: u64,
}

impl Measured {
    fn steps(vm: &mut Vm, image: &str, bytes: &[u8], mtd: &str, eraseblock: u64) -> Option<Self> {
        put(vm, image, bytes);
        let path = format!("/tmp{image}.memory");
        let flashw = vm.flashw().unwrap()?.measured(&path);
        let written = json(vm, &flashw, &["write", image, &format!("mtd:{mtd}")]);
        Some(Measured { written, memory: vm.step(Step::Read { path }), eraseblock })
    }

    fn check(&self, report: &Report, name: &str) {
        assert!(end_of(report, self.written, 0, "report")["erases"].as_u64().unwrap() > 20);
        let memory: u64 = report.outcome(self.memory).data.clone().unwrap().to_string().parse().unwrap();
        eprintln!("{name}: {memory} bytes");
        assert!(memory > 100_000 && memory <= LIMIT + 2 * self.eraseblock, "{name}: {memory} bytes");
    }
}

fn nor_ubi(bytes: Vec<u8>) -> Vec<u8> {
    let options = Options::new(UbiGeometry::new(64 << 10, 1, None, None).unwrap());
    let mut image = Vec::new();
    let volumes = [filled("data", VolumeType::Dynamic, bytes)];
    flashwright_ubi::plan(&volumes, &options).unwrap().write_to(&mut image, &mut |_| ()).unwrap();
    image
}

#[test]
fn a_device_has_memory_enough() {
    let Some(mut vm) = Vm::mips_be() else { return };
    let folder = tempfile::tempdir().unwrap();
    let nor = folder.path().join("nor");
    std::fs::write(&nor, vec![0xff; 4 << 20]).unwrap();
    vm.nor_flash(&nor);
    vm.kernel_arguments("nandsim.id_bytes=0x20,0xa1,0x00,0x15");
    let nand = nand_ubi(&[filled("data", VolumeType::Dynamic, noise(6_000_000, 2))]);
    let images = [
        ("/nor", noise(2_800_000, 1), NOR, 64 << 10),
        ("/nor-ubi", nor_ubi(noise(2_000_000, 3)), NOR, 64 << 10),
        // The whole chip: 1024 PEBs.
        ("/nand-ubi", nand, NAND, 128 << 10),
    ];
    let mut measured = Vec::new();
    for (image, bytes, mtd, eraseblock) in images {
        let Some(one) = Measured::steps(&mut vm, image, &bytes, mtd, eraseblock) else { return };
        measured.push((one, image));
    }
    let flock = vm.program("flock").unwrap().expect("BusyBox is there, as the kernel is");
    let words = ["/dev/mtd2", "/peers/flashw", "write", "/nor-ubi", &format!("mtd:{NOR}"), "--json"];
    let locked = vm.run_program(&flock, &words);
    let plan = vm.run_program(&flock, &[&words[..5], &["--plan", "--json"]].concat());
    let report = vm.run().unwrap();
    let error = end_of(&report, locked, 1, "error");
    assert_eq!(error["help"], "wait until the other flashw has ended", "{error}");
    end_of(&report, plan, 0, "plan");
    measured.iter().for_each(|(measured, name)| measured.check(&report, name));
}
