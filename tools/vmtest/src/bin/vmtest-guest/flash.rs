//! Steps that are about flash itself: MTD devices by eraseblock, UBI devices and their volumes.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::thread::sleep;
use std::time::Duration;

use flashwright_mtd::mtd::{self, Mtd};
use flashwright_mtd::ubi::{self, Attach, NewVolume, Update};
use vmtest::protocol::{MtdReport, Step, UbiReport};

use crate::device::resolve;

/// How often a device that is still in use is tried again, 20 ms apart: the kernel lets go of some a little later.
const TRIES: u32 = 100;

pub(crate) fn perform(step: &Step) -> io::Result<()> {
    match step {
        Step::MtdErase { mtd } => erase(&open(mtd, true)?, 0),
        Step::MtdWrite { from, len, mtd, whole } => write(from, *len, &open(mtd, true)?, *whole),
        Step::MtdDump { mtd, to } => dump(&open(mtd, false)?, to),
        Step::UbiAttach { mtd, ubi, vid_hdr_offset, max_beb_per1024 } => {
            let (vid_hdr_offset, max_beb_per1024) = (*vid_hdr_offset, *max_beb_per1024);
            let attach = Attach { mtd: number(mtd)?, ubi: Some(*ubi), vid_hdr_offset, max_beb_per1024 };
            Ok(ubi::attach(&attach).map(drop)?)
        }
        Step::UbiDetach { ubi } => patient(|| Ok(ubi::detach(*ubi)?)),
        Step::UbiMakeVolume { ubi, name, id, bytes, alignment, is_static } => {
            let (id, bytes, alignment, is_static) = (*id, *bytes, *alignment, *is_static);
            let new =
                NewVolume { name: name.clone().into(), id, bytes, alignment, is_static, skip_check: false };
            Ok(ubi::make_volume(*ubi, &new).map(drop)?)
        }
        Step::UbiRemoveVolume { ubi, name } => {
            let id = volume(*ubi, name)?;
            patient(|| Ok(ubi::remove_volume(*ubi, id)?))
        }
        Step::UbiUpdate { ubi, name, from, len } => update(*ubi, name, from, *len),
        Step::UbiBlock { ubi, name } => Ok(ubi::make_block(*ubi, volume(*ubi, name)?)?),
        Step::UbiUnblock { ubi, name } => {
            let id = volume(*ubi, name)?;
            patient(|| Ok(ubi::remove_block(*ubi, id)?))
        }
        _ => Err(io::Error::other("a step of another kind")),
    }
}

pub(crate) fn patient(mut action: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    for _ in 1..TRIES {
        match action() {
            Err(error) if is_in_use(&error) => sleep(Duration::from_millis(20)),
            result => return result,
        }
    }
    action()
}

fn is_in_use(error: &io::Error) -> bool {
    // The second is what a module says.
    matches!(error.kind(), io::ErrorKind::ResourceBusy | io::ErrorKind::WouldBlock)
}

fn number(name: &str) -> io::Result<u32> {
    mtd::find(name).ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no MTD {name}")))
}

fn open(name: &str, write: bool) -> io::Result<Mtd> {
    Ok(Mtd::open(number(name)?, write)?)
}

fn volume(ubi: u32, name: &str) -> io::Result<u32> {
    let missing = || io::Error::new(io::ErrorKind::NotFound, format!("no volume {name} on ubi{ubi}"));
    ubi::find_volume(ubi, name)?.ok_or_else(missing)
}

/// Offsets of all eraseblocks from that one on.
fn eraseblocks(mtd: &Mtd, from: u64) -> impl Iterator<Item = u64> + use<> {
    let facts = mtd.facts();
    (from..facts.len).step_by(facts.erase_size as usize)
}

pub(crate) fn facts(name: &str) -> io::Result<MtdReport> {
    let mtd = open(name, false)?;
    let mut bad = Vec::new();
    for offset in eraseblocks(&mtd, 0) {
        if mtd.is_bad(offset)? {
            bad.push(offset);
        }
    }
    let facts = mtd.facts();
    Ok(MtdReport {
        number: facts.number,
        len: facts.len,
        erase_size: facts.erase_size,
        write_size: facts.write_size,
        sub_page_size: facts.sub_page_size,
        oob_size: facts.oob_size,
        bad,
    })
}

/// Erases from that offset on.
fn erase(mtd: &Mtd, from: u64) -> io::Result<()> {
    for offset in eraseblocks(mtd, from) {
        if !mtd.is_bad(offset)? {
            mtd.erase(offset, mtd.facts().erase_size.into())?;
        }
    }
    Ok(())
}

fn write(from: &str, len: u64, mtd: &Mtd, whole: bool) -> io::Result<()> {
    let facts = mtd.facts();
    let mut input = File::open(resolve(from)?)?.take(len);
    let mut block = Vec::new();
    let mut next = 0;
    for offset in eraseblocks(mtd, 0) {
        if mtd.is_bad(offset)? {
            continue;
        }
        block.clear();
        input.by_ref().take(facts.erase_size.into()).read_to_end(&mut block)?;
        if block.is_empty() {
            break;
        }
        block.resize(facts.erase_size as usize, 0xff);
        if !whole {
            let used = block.iter().rposition(|&byte| byte != 0xff).map_or(0, |last| last + 1);
            block.truncate(used.next_multiple_of(facts.write_size as usize));
        }
        mtd.erase(offset, facts.erase_size.into())?;
        mtd.write(offset, &block)?;
        next = offset + u64::from(facts.erase_size);
    }
    if input.limit() > 0 {
        let what = format!("{} bytes of {from} are left: it is shorter, or the MTD too small", input.limit());
        return Err(io::Error::other(what));
    }
    erase(mtd, next)
}

fn dump(mtd: &Mtd, to: &str) -> io::Result<()> {
    let mut output = OpenOptions::new().write(true).create(true).truncate(false).open(resolve(to)?)?;
    let mut block = vec![0; mtd.facts().erase_size as usize];
    for offset in eraseblocks(mtd, 0) {
        if mtd.is_bad(offset)? {
            block.fill(0xff);
        } else {
            mtd.read(offset, &mut block)?;
        }
        output.write_all(&block)?;
    }
    output.sync_all()
}

fn update(ubi: u32, name: &str, from: &str, len: u64) -> io::Result<()> {
    let mut input = File::open(resolve(from)?)?.take(len);
    let mut update = Update::start(ubi, volume(ubi, name)?, len)?;
    let copied = io::copy(&mut input, &mut update)?;
    if copied != len {
        return Err(io::Error::other(format!("{from} has {copied} bytes, {len} were announced")));
    }
    Ok(())
}

pub(crate) fn ubi_facts(ubi: u32) -> io::Result<UbiReport> {
    let volumes = ubi::volumes(ubi)?.into_iter().map(|(id, attributes)| (id.to_string(), attributes));
    Ok(UbiReport { device: ubi::device_attributes(ubi)?, volumes: volumes.collect() })
}
