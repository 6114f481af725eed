//! Does what a plan says.
//!
//! ```text
//! fastmaps, what is unclear  ┐ the kernel still finds the old content
//! old volume table           ┘ … until its last copy is gone: from here on it refuses the device
//! LEBs of the image          into the PEBs, free or stale, that were erased least: a stale one is erased, programmed with both
//!                            headers and all data, and read back at once
//! what is stale still        each erased and given its EC header at once
//! new volume table           copy 0: from here on the kernel finds the new content; copy 1
//! ```

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use flashwright_media::Flash;
use sha2::Digest;

use flashwright_ubi::format::{
    EcHdr, HEADER_LEN, LAYOUT_LEBS, LAYOUT_VOLUME, MAX_ERASE_COUNT, VidHdr, VolumeType, compat,
};

use super::image::{Checker, DataSum, Held, ImageLeb, leb_of, vid_of};
use super::plan::{Content, Mode, Plan};
use super::survey::{Claim, NONE, PebState, Seq, What, compare_leb, headers, same_leb};
use crate::device::{Device, Trouble};
use crate::error::{Error, Refusal};
use crate::event::{OnEvent, Phase};
use crate::report::{Ending, Report, Sha256};
use crate::source::Source;

/// PEBs that may go bad in one run before something else must be wrong: a share of the device, and never fewer than some.
const MAX_GONE_BAD_SHARE: u32 = 50;
const MAX_GONE_BAD: u32 = 8;

/// What a run did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UbiReport {
    /// What was done to the flash.
    pub flash: Report,
    /// LEBs of volumes that were there already.
    pub lebs_kept: u32,
    /// LEBs that were written, copies of the volume table included.
    pub lebs_written: u32,
    /// PEBs that had no header with their erase count: they have [`Plan::assumed_count`] and what this run adds.
    pub counts_lost: u32,
    /// PEBs whose erase count is as high as the kernel counts, and stays there.
    pub counts_full: u32,
}

impl Plan {
    /// The first refusal that none of those words overrides.
    #[must_use]
    pub fn refused(&self, forced: &[&str]) -> Option<&Refusal> {
        Refusal::first(self.refusals(), forced)
    }

    /// Does it, with the words that refusals may be overridden with. An image from a pipe is read on from where
    /// [`plan`](super::plan()) stopped. `report` is right after an error, too: run again, and it goes on from there.
    ///
    /// # Errors
    /// [`Error::Refused`]; [`Error::Changed`] when the image is not the one that was planned; [`Error::NoRoom`] and
    /// [`Error::TooManyBad`] when PEBs went bad; when the device fails.
    pub fn execute(
        &self,
        flash: &mut dyn Flash,
        source: &mut dyn Source,
        forced: &[&str],
        report: &mut UbiReport,
        on_event: OnEvent<'_>,
    ) -> Result<Ending, Box<Error>> {
        if let Some(refusal) = self.refused(forced) {
            return Err(Error::Refused(refusal.clone()).into());
        }
        if self.mode == Mode::UpToDate {
            report.lebs_kept = self.totals().lebs_kept;
            return Ok(Ending::Done);
        }
        let UbiReport { flash: done, .. } = &mut *report;
        let mut run = Run {
            plan: self,
            device: Device::new(flash, done, on_event),
            pebs: self.pebs.clone(),
            free: BinaryHeap::new(),
            waiting: self.claims.clone(),
            sqnum: self.next_sqnum,
            done: 0,
            total: self.totals().erases + self.totals().lebs_written,
            sums: Sums::default(),
        };
        let result = run.all(source);
        let locked = run.device.relock();
        let sums = run.sums;
        (report.lebs_kept, report.lebs_written) = (sums.kept, sums.written);
        (report.counts_lost, report.counts_full) = (sums.lost, sums.full);
        let ending = result?;
        locked?;
        Ok(ending)
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    kept: u32,
    written: u32,
    lost: u32,
    full: u32,
}

/// The run was asked to stop, or failed.
enum Halt {
    Stop,
    Error(Box<Error>),
}

impl<E: Into<Box<Error>>> From<E> for Halt {
    fn from(error: E) -> Self {
        Halt::Error(error.into())
    }
}

struct Run<'a> {
    plan: &'a Plan,
    device: Device<'a>,
    pebs: Vec<PebState>,
    /// PEBs that can get a LEB, by the erase count that they then have: free ones, and stale ones, which are erased for it.
    free: BinaryHeap<Reverse<(u32, u32)>>,
    /// PEBs that may hold a LEB further on in a pipe; the last one is taken when there is no other.
    waiting: Vec<Claim>,
    sqnum: u64,
    done: u32,
    total: u32,
    sums: Sums,
}

impl Run<'_> {
    fn all(&mut self, source: &mut dyn Source) -> Result<Ending, Box<Error>> {
        match self.steps(source) {
            Ok(()) => Ok(Ending::Done),
            Err(Halt::Stop) => Ok(Ending::Stopped),
            Err(Halt::Error(error)) => Err(error),
        }
    }

    fn steps(&mut self, source: &mut dyn Source) -> Result<(), Halt> {
        let plan = self.plan;
        for (peb, state) in (0u32..).zip(&plan.pebs) {
            match state.what {
                What::Free => self.free.push(Reverse((state.count, peb))),
                What::Stale => self.drop_leb(peb),
                _ => {}
            }
        }
        for &peb in &plan.first {
            self.clear(peb)?;
        }
        let mut buffer = vec![0xff; self.plan.geometry.peb_size() as usize];
        match &plan.content {
            Content::File(index) => self.sums.kept = self.file(&index.lebs, source, &mut buffer)?,
            Content::Pipe { first, peb_count, .. } => self.pipe(first, *peb_count, source, &mut buffer)?,
            Content::Empty(_) => {}
        }
        self.clear_stale()?;
        self.tables(&mut buffer)
    }

    /// Whatever a PEB holds, it can get another LEB.
    fn drop_leb(&mut self, peb: u32) {
        let state = &mut self.pebs[peb as usize];
        state.what = What::Stale;
        let count = if state.count == NONE { self.plan.assumed_count } else { state.count };
        self.free.push(Reverse((count.saturating_add(1), peb)));
    }

    /// The PEB that the next LEB goes into.
    fn next_peb(&mut self) -> Option<u32> {
        if self.free.is_empty() {
            let claim = self.waiting.pop()?;
            self.drop_leb(claim.peb);
        }
        self.free.pop().map(|Reverse((_, peb))| peb)
    }

    /// No LEB but those of the image is left, and all other PEBs are free.
    fn clear_stale(&mut self) -> Result<(), Halt> {
        self.free.clear();
        for peb in 0..self.plan.flash.eraseblock_count {
            let state = self.pebs[peb as usize];
            match state.what {
                What::Stale => self.clear(peb)?,
                What::Free => self.free.push(Reverse((state.count, peb))),
                _ => {}
            }
        }
        Ok(())
    }

    fn step_done(&mut self) -> Result<(), Halt> {
        self.done += 1;
        self.total = self.total.max(self.done);
        self.device.progress(Phase::Write, self.done, self.total);
        if self.device.stopping() { Err(Halt::Stop) } else { Ok(()) }
    }

    /// LEBs of an image that can be read again: those that no PEB holds are written. Returns how many one does.
    fn file(&mut self, lebs: &[ImageLeb], source: &mut dyn Source, buffer: &mut [u8]) -> Result<u32, Halt> {
        let mut held = vec![false; lebs.len()];
        let mut kept = 0;
        for state in self.plan.pebs.iter().filter(|state| state.what == What::Match) {
            held[state.leb as usize] = true;
            kept += 1;
        }
        for leb in lebs.iter().zip(&held).filter(|(_, held)| !**held).map(|(leb, _)| leb) {
            let offset = self.plan.flash.offset_of(leb.peb);
            source.read_at(offset, buffer)?;
            let header = vid_of(buffer, &self.plan.geometry);
            let header = header.filter(|header| (header.volume_id, header.lnum) == leb.place());
            let same = leb.has(leb_of(buffer, &self.plan.geometry), &self.plan.geometry);
            let Some(header) = header.filter(|_| same) else {
                return Err(Error::Changed { offset, len: buffer.len() as u64 }.into());
            };
            self.write_leb(&header, buffer)?;
        }
        Ok(kept)
    }

    /// LEBs of an image that comes from a pipe, in its order. A PEB that may hold one is looked at when it comes.
    fn pipe(
        &mut self,
        first: &[u8],
        peb_count: u32,
        source: &mut dyn Source,
        buffer: &mut [u8],
    ) -> Result<(), Halt> {
        let plan = self.plan;
        let mut seen: Vec<(u32, u32)> = Vec::new();
        let mut statics: Vec<(u32, u32, u32)> = Vec::new();
        let mut hash = plan.options.sha256.map(|_| sha2::Sha256::new());
        for peb in 0..peb_count {
            match peb {
                0 => buffer.copy_from_slice(first),
                _ => source.read_at(plan.flash.offset_of(peb), buffer)?,
            }
            hash.iter_mut().for_each(|hash| hash.update(&*buffer));
            let header = match self.checked(peb, buffer)? {
                Held::Leb(header) => header,
                Held::Layout | Held::Nothing => continue,
            };
            let place = (header.volume_id, header.lnum);
            match seen.binary_search(&place) {
                Ok(_) => {
                    return Err(damaged(format!("LEB {} of volume {} is in it twice", place.1, place.0)));
                }
                Err(at) => seen.insert(at, place),
            }
            count_static(&mut statics, &header);
            let claims = &self.waiting;
            if let Ok(found) = claims.binary_search_by_key(&place, |claim| (claim.volume, claim.lnum)) {
                let peb = self.waiting.remove(found).peb;
                if self.holds(peb, &header, leb_of(buffer, &plan.geometry))? {
                    self.sums.kept += 1;
                    self.step_done()?;
                    continue;
                }
                self.drop_leb(peb);
            }
            self.write_leb(&header, buffer)?;
        }
        if let Some((volume, used, count)) = statics.iter().find(|(_, used, count)| used != count) {
            return Err(damaged(format!("static volume {volume} has {count} LEBs of {used}")));
        }
        let found = hash.map(|hash| Sha256(hash.finalize().into()));
        Error::check_digest(plan.options.sha256, found)?;
        while let Some(claim) = self.waiting.pop() {
            self.drop_leb(claim.peb);
        }
        Ok(())
    }

    /// What a PEB of a pipe holds; damage ends the run.
    fn checked(&self, peb: u32, bytes: &[u8]) -> Result<Held, Halt> {
        let mut refusals = Vec::new();
        let seq = self.plan.pipe_seq();
        let mut checker = Checker::new(&self.plan.geometry, seq, &mut refusals);
        let held = checker.peb(peb, bytes);
        if let Some(Held::Leb(header)) = &held {
            checker.place(peb, header, self.plan.content.table());
        }
        match refusals.into_iter().next() {
            Some(refusal) => Err(Error::Refused(refusal).into()),
            None => Ok(held.unwrap_or(Held::Nothing)),
        }
    }

    fn holds(&mut self, peb: u32, header: &VidHdr, data: &[u8]) -> Result<bool, Halt> {
        let found = headers(&mut self.device, &self.plan.geometry, peb)?;
        if !found.vid.is_ok_and(|theirs| same_leb(header, &theirs)) {
            return Ok(false);
        }
        let corrected = self.device.report.corrected_bits;
        let found = compare_leb(&mut self.device, &self.plan.geometry, peb, 0, data)?;
        // An earlier run may have begun to erase it, for room: then it is not to be trusted.
        let flips = self.device.report.corrected_bits > corrected;
        Ok(found == What::Match && !(flips && self.plan.layout.is_empty()))
    }

    fn tables(&mut self, buffer: &mut [u8]) -> Result<(), Halt> {
        self.still_fits()?;
        let table = self.plan.content.table();
        buffer.fill(0xff);
        let data = self.plan.geometry.data_offset() as usize;
        buffer[data..][..table.bytes.len()].copy_from_slice(&table.bytes);
        let old = if self.plan.mode == Mode::Finish { self.plan.layout.first() } else { None };
        // The copy that is there stays until the other one is; it may have been cut off at its last byte.
        let order = match old {
            Some(old) if old.lnum == 0 => [1, 0],
            _ => [0, 1],
        };
        for (index, lnum) in order.into_iter().enumerate() {
            if let (1, Some(old)) = (index, old) {
                self.clear(old.peb)?;
            }
            let header = VidHdr {
                volume_type: VolumeType::Dynamic.to_flash(),
                compat: compat::REJECT,
                volume_id: LAYOUT_VOLUME,
                lnum,
                ..VidHdr::default()
            };
            self.write_leb(&header, buffer)?;
        }
        Ok(())
    }

    /// PEBs may have gone bad: what the kernel needs must be there before it finds the new volumes.
    fn still_fits(&self) -> Result<(), Halt> {
        let went_bad = self.gone_bad();
        let needed = self.plan.fit.needed() - self.plan.fit.bad_reserve;
        let left = self.plan.fit.good().saturating_sub(went_bad.into());
        if needed <= left {
            return Ok(());
        }
        let number = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        Err(Error::NoRoom { needed: number(needed), left: number(left), went_bad }.into())
    }

    fn gone_bad(&self) -> u32 {
        u32::try_from(self.device.report.went_bad.len()).unwrap_or(u32::MAX)
    }

    /// Erases a PEB, gives it its header, and counts it as free.
    fn clear(&mut self, peb: u32) -> Result<(), Halt> {
        self.invalidate(peb)?;
        if self.refresh(peb)? {
            self.free.push(Reverse((self.pebs[peb as usize].count, peb)));
        }
        self.step_done()
    }

    /// An erase that is cut off on NOR may leave a PEB that reads well today: so its VID header goes first. The EC header
    /// stays, for the sake of the count.
    fn invalidate(&mut self, peb: u32) -> Result<(), Halt> {
        let holds = matches!(
            self.pebs[peb as usize].what,
            What::Layout | What::Fastmap | What::Stale | What::Match | What::Worn
        );
        if holds {
            self.device.invalidate(peb, self.plan.geometry.vid_hdr_offset().into(), &[0; HEADER_LEN])?;
        }
        Ok(())
    }

    /// Erases a PEB and gives it its header, after torture when it does not take that; `false` when it went bad.
    fn refresh(&mut self, peb: u32) -> Result<bool, Halt> {
        for tortured in [false, true] {
            let Some(trouble) = self.try_refresh(peb)? else { return Ok(true) };
            if tortured || trouble.is_marked() || !self.torture(peb)? {
                self.retire(peb, trouble)?;
                return Ok(false);
            }
        }
        Ok(false)
    }

    fn try_refresh(&mut self, peb: u32) -> Result<Option<Trouble>, Halt> {
        if let Some(trouble) = self.erase(peb)? {
            return Ok(Some(trouble));
        }
        // A header is programmed alone in a sub-page.
        let unit = self.plan.geometry.sub_page_size() as usize;
        let mut bytes = vec![0xff; HEADER_LEN.next_multiple_of(unit)];
        bytes[..HEADER_LEN].copy_from_slice(&self.ec_header(peb));
        self.put(peb, 0, &bytes)
    }

    /// Erases a PEB, which has no header then.
    fn erase(&mut self, peb: u32) -> Result<Option<Trouble>, Halt> {
        let before = self.device.report.erases;
        let erased = self.device.erase(peb);
        self.count(peb, before);
        let trouble = Trouble::of(erased)?;
        if trouble.is_none() {
            let state = self.pebs[peb as usize];
            self.pebs[peb as usize] = PebState { what: What::Free, leb: NONE, seq: Seq::NoHeader, ..state };
        }
        Ok(trouble)
    }

    fn ec_header(&self, peb: u32) -> Vec<u8> {
        let header = EcHdr {
            erase_count: self.pebs[peb as usize].count.into(),
            vid_hdr_offset: self.plan.geometry.vid_hdr_offset(),
            data_offset: self.plan.geometry.data_offset(),
            image_seq: self.plan.image_seq,
        };
        header.to_bytes()
    }

    /// Adds the erases since `before` to the count of a PEB.
    fn count(&mut self, peb: u32, before: u64) {
        let added = u32::try_from(self.device.report.erases - before).unwrap_or(u32::MAX);
        let state = &mut self.pebs[peb as usize];
        if state.count == NONE {
            self.sums.lost += 1;
            state.count = self.plan.assumed_count;
        }
        let most = u32::try_from(MAX_ERASE_COUNT).unwrap_or(u32::MAX);
        let sum = state.count.saturating_add(added);
        self.sums.full += u32::from(sum > most);
        state.count = sum.min(most);
    }

    /// Programs `bytes` from `within` a PEB on, where a sub-page starts, and reads them back.
    fn put(&mut self, peb: u32, within: usize, bytes: &[u8]) -> Result<Option<Trouble>, Halt> {
        // A u64 has room for all offsets.
        let offset = self.plan.flash.offset_of(peb) + within as u64;
        let programmed = self.device.program(offset, bytes);
        let trouble = Trouble::of(programmed)?;
        if trouble.is_some() || !self.plan.options.verify {
            return Ok(trouble);
        }
        Ok(self.device.read_back(offset, bytes)?.trouble())
    }

    fn torture(&mut self, peb: u32) -> Result<bool, Halt> {
        let before = self.device.report.erases;
        let passed = self.device.torture(peb);
        self.count(peb, before);
        Ok(passed?)
    }

    /// Takes a PEB out of use.
    fn retire(&mut self, peb: u32, trouble: Trouble) -> Result<(), Halt> {
        self.pebs[peb as usize].what = What::Bad;
        if trouble.is_marked() {
            return Ok(());
        }
        self.device.tell(crate::Event::Failed { eraseblock: peb });
        match self.device.mark_bad(peb) {
            // Flash without such marks: the kernel would use it again.
            Err(error) if matches!(error.fault, flashwright_media::FlashFault::Unsupported) => {
                return Err(trouble.into_error(peb).into());
            }
            result => result?,
        }
        let limit = (self.plan.flash.eraseblock_count / MAX_GONE_BAD_SHARE).max(MAX_GONE_BAD);
        if self.gone_bad() > limit {
            return Err(Error::TooManyBad { went_bad: self.gone_bad() }.into());
        }
        Ok(())
    }

    /// Writes a LEB into the PEB that was erased least, or the next one that takes it. `bytes` are those of a PEB, of which the
    /// headers are made here.
    fn write_leb(&mut self, header: &VidHdr, bytes: &mut [u8]) -> Result<(), Halt> {
        let header = self.vid_header(header, leb_of(bytes, &self.plan.geometry));
        // A PEB that failed but passed the torture comes back once; then others have to do.
        let mut again = None;
        while let Some(peb) = self.next_peb() {
            let Some(trouble) = self.try_write(peb, header, bytes)? else {
                self.sums.written += 1;
                return self.step_done();
            };
            let hopeless = trouble.is_marked() || again == Some(peb);
            if !hopeless {
                // The torture begins with an erase.
                self.invalidate(peb)?;
            }
            if hopeless || !self.torture(peb)? {
                self.retire(peb, trouble)?;
            } else if self.refresh(peb)? {
                again = Some(peb);
                self.free.push(Reverse((self.pebs[peb as usize].count, peb)));
            }
        }
        let went_bad = self.gone_bad();
        let left = u32::try_from(self.plan.fit.good()).unwrap_or(u32::MAX).saturating_sub(went_bad);
        Err(Error::NoRoom { needed: left.saturating_add(1), left, went_bad }.into())
    }

    /// The header that a LEB gets, its sequence number apart.
    fn vid_header(&self, header: &VidHdr, data: &[u8]) -> VidHdr {
        let none = VidHdr { copy_flag: 0, ..*header };
        match VolumeType::from_flash(header.volume_type) {
            // As the kernel has it of a LEB that it has changed as a whole: with its CRC, for later runs.
            Some(VolumeType::Dynamic) if header.volume_id != LAYOUT_VOLUME => {
                let sum = DataSum::of(data, &self.plan.geometry);
                VidHdr { copy_flag: u8::from(sum.size > 0), data_size: sum.size, data_crc: sum.crc, ..none }
            }
            Some(VolumeType::Dynamic) => VidHdr { data_size: 0, data_crc: 0, ..none },
            _ => none,
        }
    }

    fn try_write(&mut self, peb: u32, header: VidHdr, bytes: &mut [u8]) -> Result<Option<Trouble>, Halt> {
        let geometry = &self.plan.geometry;
        let header = VidHdr { sqnum: self.sqnum, ..header };
        self.sqnum += 1;
        // Places in a PEB, which fit wherever there is flash of that size.
        let (place, data) = (geometry.vid_hdr_offset() as usize, geometry.data_offset() as usize);
        // A free PEB has its EC header: programming begins where the sub-page of the other one does.
        let mut start = place - place % geometry.sub_page_size() as usize;
        if self.pebs[peb as usize].what == What::Stale {
            self.invalidate(peb)?;
            if let Some(trouble) = self.erase(peb)? {
                return Ok(Some(trouble));
            }
            self.done += 1;
            start = 0;
        }
        bytes[..data].fill(0xff);
        bytes[..HEADER_LEN].copy_from_slice(&self.ec_header(peb));
        bytes[place..][..HEADER_LEN].copy_from_slice(&header.to_bytes());
        self.pebs[peb as usize].what = What::Match;
        self.put(peb, start, &bytes[start..])
    }
}

/// How many LEBs a static volume has, and how many came.
fn count_static(statics: &mut Vec<(u32, u32, u32)>, header: &VidHdr) {
    if header.used_ebs == 0 {
        return;
    }
    match statics.iter_mut().find(|(volume, _, _)| *volume == header.volume_id) {
        Some((_, _, count)) => *count += 1,
        None => statics.push((header.volume_id, header.used_ebs, 1)),
    }
}

fn damaged(what: String) -> Halt {
    let reason = format!("the image: {what}: it is damaged, make or copy it again");
    Halt::Error(Refusal::new(crate::image::word::CHECKSUM, reason).into())
}

const _: () = assert!(LAYOUT_LEBS == 2, "both copies are written by number");
