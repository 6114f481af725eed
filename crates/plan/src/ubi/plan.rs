//! What happens to each PEB, and what is refused.

use flashwright_media::{Flash, FlashGeometry, FlashKind, UbiGeometry};
use flashwright_ubi::format::{EcHdr, HEADER_LEN, LAYOUT_LEBS, MAX_ERASE_COUNT};
use flashwright_ubi::reader::EraseCounts;
use flashwright_ubi::{Device as Chip, Fit};

use sha2::Digest;

use super::image::{Checker, Held, ImageIndex, count_pebs, geometry_of, headers_apart, leb_of, not_ubi};
use super::survey::{Claim, Internal, NONE, PebState, Seq, Survey, Wanted, What, headers};
use super::table::Table;
use super::{Options, word};
use crate::device::{Device, bytes_to_program, unit};
use crate::error::{Error, Refusal};
use crate::event::OnEvent;
use crate::report::{Costs, Report, Sha256};
use crate::source::Source;

/// How much there is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// Nothing: the kernel finds on the device what is in the image.
    UpToDate,
    /// All LEBs are there, and one copy of the volume table: a run was interrupted at its very end.
    Finish,
    /// All of it.
    Full,
}

/// What happens to a PEB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fate {
    /// Marked bad: left alone.
    Bad,
    /// Left alone: it holds what the image has, or what is the kernel's business.
    Keep,
    /// Left alone: erased, with the right header, and stays free.
    Free,
    /// Holds a LEB that the image may have, which only the pipe it comes from will tell.
    Undecided,
    /// Free already, gets a LEB.
    Program,
    /// Erased, and stays free.
    Erase,
    /// Erased, and gets a LEB.
    EraseAndProgram,
}

/// A PEB of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Its number.
    pub peb: u32,
    /// What happens to it.
    pub fate: Fate,
    /// How often it was erased, as its header has it; `None` without one.
    pub count_before: Option<u32>,
    /// What its header will have.
    pub count_after: Option<u32>,
}

/// What a run will do, in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Totals {
    /// PEBs of the device, bad ones included.
    pub pebs: u32,
    /// Bad ones.
    pub bad: u32,
    /// PEBs that are erased.
    pub erases: u32,
    /// LEBs that are written, the copies of the volume table included; at most, from a pipe.
    pub lebs_written: u32,
    /// LEBs that are there already; from a pipe, at most.
    pub lebs_kept: u32,
    /// Free PEBs that stay as they are.
    pub free_kept: u32,
    /// Bytes that are programmed, about.
    pub programmed: u64,
    /// PEBs that are erased without a header that tells their count: they get [`Plan::assumed_count`].
    pub counts_lost: u32,
    /// PEBs that are write-protected and are unlocked for it.
    pub locked: u32,
}

/// A UBI image, or an empty UBI, and a device: what has to be done.
#[derive(Debug)]
pub struct Plan {
    pub(super) geometry: UbiGeometry,
    pub(super) flash: FlashGeometry,
    pub(super) content: Content,
    pub(super) pebs: Vec<PebState>,
    /// PEBs to be erased first, in that order: fastmaps, what is unclear, the volume table.
    pub(super) first: Vec<u32>,
    pub(super) layout: Vec<Internal>,
    pub(super) claims: Vec<Claim>,
    pub(super) mode: Mode,
    pub(super) image_seq: u32,
    pub(super) assumed_count: u32,
    pub(super) next_sqnum: u64,
    pub(super) fit: Fit,
    pub(super) options: Options,
    counts: EraseCounts,
    totals: Totals,
    refusals: Vec<Refusal>,
}

/// What a device is to hold.
#[derive(Debug)]
pub(super) enum Content {
    /// An image that can be read again.
    File(ImageIndex),
    /// One that cannot: its first PEB was read.
    Pipe { first: Vec<u8>, table: Table, peb_count: u32 },
    /// No volumes.
    Empty(Table),
}

impl Content {
    pub(super) fn table(&self) -> &Table {
        match self {
            Content::File(index) => &index.table,
            Content::Pipe { table, .. } | Content::Empty(table) => table,
        }
    }

    pub(super) fn index(&self) -> Option<&ImageIndex> {
        if let Content::File(index) = self { Some(index) } else { None }
    }

    /// LEBs of volumes; at most, from a pipe.
    pub(super) fn leb_count(&self) -> u32 {
        match self {
            // An image has fewer PEBs than a u32 holds.
            Content::File(index) => u32::try_from(index.lebs.len()).unwrap_or(u32::MAX),
            Content::Pipe { peb_count, .. } => peb_count.saturating_sub(LAYOUT_LEBS),
            Content::Empty(_) => 0,
        }
    }
}

/// An image and its sizes, checked; refusals when it is not sound.
struct Looked {
    geometry: UbiGeometry,
    image_seq: u32,
    content: Content,
}

/// Looks at a UBI image and a device; nothing is changed. An image from a pipe cannot be looked at as a whole: its first
/// PEB has to hold the volume table, as writers of images have it, and damage further on ends the run in the middle.
///
/// # Errors
/// [`Error::Refused`] when the image is no UBI image for this device, or damaged: then there is nothing to plan. When image
/// or device cannot be read.
pub fn plan(
    flash: &mut dyn Flash,
    source: &mut dyn Source,
    options: &Options,
    on_event: OnEvent<'_>,
) -> Result<Plan, Box<Error>> {
    let sizes = flash.geometry();
    let mut refusals = Vec::new();
    let mut buffer = vec![0; sizes.eraseblock_size as usize];
    let looked = look(source, &sizes, options, &mut refusals, &mut buffer)?;
    let Some(looked) = looked else {
        let refusal = refusals.into_iter().next();
        return Err(refusal.unwrap_or_else(|| not_ubi(&[])).into());
    };
    let mut report = Report::default();
    let mut device = Device::new(flash, &mut report, on_event);
    let trust = options.trust_crc;
    let wanted = looked.content.index().map(|index| Wanted { index, source, buffer: &mut buffer, trust });
    let survey = Survey::read(&mut device, &looked.geometry, wanted)?;
    drop(buffer);
    finish(&mut device, looked, survey, options, refusals)
}

/// Plans an empty UBI: EC headers, and a volume table without volumes. PEBs keep their counts, and free ones stay as they
/// are. `image_seq` is for a device that has none; better not 0.
///
/// # Errors
/// [`Error::Refused`] when UBI cannot be on such flash; when the device cannot be read.
pub fn format(
    flash: &mut dyn Flash,
    image_seq: u32,
    options: &Options,
    on_event: OnEvent<'_>,
) -> Result<Plan, Box<Error>> {
    let sizes = flash.geometry();
    let FlashGeometry { eraseblock_size, page_size, sub_page_size, .. } = sizes;
    let geometry = UbiGeometry::new(eraseblock_size, page_size, Some(sub_page_size), options.vid_hdr_offset);
    let refuse = |reason| Box::<Error>::from(Refusal::new(word::GEOMETRY, reason));
    let geometry = geometry.map_err(|error| refuse(error.to_string()))?;
    if !headers_apart(&geometry) {
        let offset = geometry.vid_hdr_offset();
        let reason = format!(
            "VID headers at {offset} bytes share a sub-page of {sub_page_size} bytes with EC headers"
        );
        return Err(refuse(reason));
    }
    let mut report = Report::default();
    let mut device = Device::new(flash, &mut report, on_event);
    let content = Content::Empty(Table::empty(&geometry));
    // As an image without LEBs, so that nothing is kept but free PEBs.
    let index = ImageIndex { lebs: Vec::new(), table: Table::empty(&geometry) };
    let mut none: &[u8] = &[];
    let wanted = Wanted { index: &index, source: &mut none, buffer: &mut [], trust: options.trust_crc };
    let survey = Survey::read(&mut device, &geometry, Some(wanted))?;
    finish(&mut device, Looked { geometry, image_seq, content }, survey, options, Vec::new())
}

fn look(
    source: &mut dyn Source,
    sizes: &FlashGeometry,
    options: &Options,
    refusals: &mut Vec<Refusal>,
    buffer: &mut [u8],
) -> Result<Option<Looked>, Box<Error>> {
    let head_len = usize::try_from(source.len()).map_or(buffer.len(), |len| len.min(buffer.len()));
    let head = &mut buffer[..head_len];
    source.read_at(0, head)?;
    let Some(Ok(first)) = head.first_chunk::<HEADER_LEN>().map(EcHdr::parse) else {
        refusals.push(not_ubi(head));
        return Ok(None);
    };
    let peb_count = count_pebs(source, sizes, refusals)?;
    let geometry = geometry_of(&first, sizes, refusals).filter(|_| refusals.is_empty());
    let Some(geometry) = geometry else { return Ok(None) };
    let image_seq = first.image_seq;
    let mut checker = Checker::new(&geometry, image_seq, refusals);
    let content = if source.is_pipe() {
        let table = match checker.peb(0, buffer) {
            Some(Held::Layout) => Table::parse(leb_of(buffer, &geometry), &geometry),
            _ => Err("the first PEB does not hold the volume table".to_owned()),
        };
        match table {
            Ok(table) => Some(Content::Pipe { first: buffer.to_vec(), table, peb_count }),
            Err(what) => {
                let reason =
                    format!("an image from a pipe must begin with its volume table: {what}; give a file");
                refusals.push(Refusal::new(crate::image::word::CHECKSUM, reason));
                None
            }
        }
    } else {
        let mut hash = options.sha256.map(|_| sha2::Sha256::new());
        let index = ImageIndex::read(source, peb_count, &mut checker, buffer, &mut hash, options.trust_crc)?;
        let found = hash.map(|hash| Sha256(hash.finalize().into()));
        if let Err(error) = Error::check_digest(options.sha256, found) {
            refusals.push(Refusal::new(word::SHA256, error.to_string()));
        }
        index.map(Content::File)
    };
    Ok(content.map(|content| Looked { geometry, image_seq, content }))
}

fn finish(
    device: &mut Device<'_>,
    looked: Looked,
    mut survey: Survey,
    options: &Options,
    mut refusals: Vec<Refusal>,
) -> Result<Plan, Box<Error>> {
    let Looked { geometry, image_seq, content } = looked;
    distrust(&mut survey);
    let known = survey.counts();
    let image_seq = choose_seq(&survey, image_seq);
    let stayed = Stayed { geometry: &geometry, image_seq, content: &content };
    stayed.drop_others(&mut survey);
    distrust_free(&mut survey);
    stayed.drop_copies(device, &mut survey)?;
    let mode = stayed.mode(device, &mut survey)?;
    let bad = survey.pebs.iter().filter(|state| state.what == What::Bad).count();
    // At most all of them.
    let bad = u32::try_from(bad).unwrap_or(u32::MAX);
    let unknown = u32::try_from(survey.pebs.len() - known.len()).unwrap_or(u32::MAX).saturating_sub(bad);
    let counts = EraseCounts::from_counts(&known, unknown);
    let mut chip = Chip::new(device.geometry().eraseblock_count);
    (chip.bad_pebs, chip.chip_peb_count, chip.max_beb_per1024) =
        (bad, options.chip_peb_count, options.max_beb_per1024);
    if device.geometry().kind != FlashKind::Nand {
        chip.max_beb_per1024 = Some(0);
    }
    let fit = Fit::new(content.table().reserved(), &chip, device.geometry().page_size);
    refuse_size(&content, &fit, &mut refusals);
    refuse_offset(&geometry, device.geometry(), &survey, &mut refusals);
    let most = u32::try_from(MAX_ERASE_COUNT).unwrap_or(u32::MAX);
    let mut plan = Plan {
        geometry,
        flash: *device.geometry(),
        first: first(&survey, mode),
        layout: survey.layout,
        claims: survey.claims,
        pebs: survey.pebs,
        content,
        mode,
        image_seq,
        assumed_count: options.assumed_count.unwrap_or(counts.mean).min(most),
        next_sqnum: survey.max_sqnum + 1,
        fit,
        options: options.clone(),
        counts,
        totals: Totals { bad, locked: survey.locked, ..Totals::default() },
        refusals,
    };
    plan.sum_up();
    Ok(plan)
}

/// Without a volume table a run was cut off, perhaps while it wrote a LEB: that one, the last, may read well now and be lost
/// later. It is written again.
fn distrust(survey: &mut Survey) {
    if let (true, Some((_, peb))) = (survey.layout.is_empty(), survey.newest) {
        let state = &mut survey.pebs[peb as usize];
        if matches!(state.what, What::Match | What::Worn) {
            state.what = What::Stale;
            survey.claims.retain(|claim| claim.peb != peb);
        }
    }
}

/// Without both copies of the volume table a run was cut off, perhaps when it began to write a LEB, so that nothing of it can
/// be seen yet. LEBs go into the free PEB that was erased least: that one is erased again.
fn distrust_free(survey: &mut Survey) {
    if survey.layout.len() >= LAYOUT_LEBS as usize {
        return;
    }
    let free = survey.pebs.iter_mut().filter(|state| state.what == What::Free);
    // The first of those with the lowest count, as the run takes them.
    if let Some(state) = free.min_by_key(|state| state.count) {
        state.what = What::Unclear;
    }
}

/// The image sequence number of which most PEBs can stay; that of the image when none can.
fn choose_seq(survey: &Survey, image_seq: u32) -> u32 {
    let keepable = |index: usize| {
        let stays = |state: &&PebState| {
            matches!(state.what, What::Free | What::Match | What::Worn)
                && matches!(state.seq, Seq::Of(of) if usize::from(of) == index)
        };
        survey.pebs.iter().filter(stays).count()
    };
    // 0 fits any; of equals the first wins, so that a second run chooses the same.
    let candidates = survey.seqs.iter().enumerate().filter(|(_, seq)| **seq != 0);
    let counted = candidates.map(|(index, &seq)| (keepable(index), seq));
    let best = counted.fold((0, image_seq), |best, next| if next.0 > best.0 { next } else { best });
    best.1
}

/// PEBs to be erased first. The kernel still finds the old content until the last copy of the old volume table is gone: a
/// fastmap would lead it there even then, and of two copies the older one would be half the truth.
fn first(survey: &Survey, mode: Mode) -> Vec<u32> {
    let of = |what| {
        let pebs = (0u32..).zip(&survey.pebs);
        pebs.filter(move |(_, state)| state.what == what).map(|(peb, _)| peb)
    };
    let ordered = |list: &[Internal]| list.iter().map(|internal| internal.peb).collect::<Vec<u32>>();
    match mode {
        Mode::UpToDate => Vec::new(),
        Mode::Finish => of(What::Unclear).collect(),
        Mode::Full => {
            let mut first = ordered(&survey.fastmap);
            first.extend(of(What::Unclear));
            first.extend(ordered(&survey.layout));
            first
        }
    }
}

/// What may stay on a device.
struct Stayed<'a> {
    geometry: &'a UbiGeometry,
    image_seq: u32,
    content: &'a Content,
}

impl Stayed<'_> {
    fn belongs(&self, survey: &Survey, state: &PebState) -> bool {
        let Seq::Of(index) = state.seq else { return false };
        let seq = survey.seqs[usize::from(index)];
        seq == 0 || seq == self.image_seq
    }

    /// PEBs of other images cannot stay.
    fn drop_others(&self, survey: &mut Survey) {
        let mut pebs = std::mem::take(&mut survey.pebs);
        for state in &mut pebs {
            let keeps = matches!(state.what, What::Free | What::Match | What::Worn);
            if keeps && !self.belongs(survey, state) {
                state.what = if state.what == What::Free { What::Unclear } else { What::Stale };
            }
        }
        survey.pebs = pebs;
        let pebs = &survey.pebs;
        survey.claims.retain(|claim| pebs[claim.peb as usize].what == What::Match);
    }

    /// Of several PEBs that hold a LEB, the newest stays. An older one may have been on its way to be erased.
    fn drop_copies(&self, device: &mut Device<'_>, survey: &mut Survey) -> Result<(), Box<Error>> {
        let mut holders: Vec<u32> = vec![NONE; self.content.leb_count() as usize];
        if self.content.index().is_some() {
            for peb in 0..survey.pebs.len() {
                let PebState { what, leb, .. } = survey.pebs[peb];
                if matches!(what, What::Match | What::Worn) {
                    // As many as the device has PEBs.
                    let peb = u32::try_from(peb).unwrap_or(NONE);
                    let holder = &mut holders[leb as usize];
                    *holder = self.newer(device, survey, *holder, peb)?;
                }
            }
            return Ok(());
        }
        let mut kept: Vec<Claim> = Vec::new();
        for claim in std::mem::take(&mut survey.claims) {
            match kept.last_mut().filter(|last| (last.volume, last.lnum) == (claim.volume, claim.lnum)) {
                Some(last) => last.peb = self.newer(device, survey, last.peb, claim.peb)?,
                None => kept.push(claim),
            }
        }
        survey.claims = kept;
        Ok(())
    }

    /// The newer of two holders of a LEB; the other one is stale from now on.
    fn newer(
        &self,
        device: &mut Device<'_>,
        survey: &mut Survey,
        one: u32,
        other: u32,
    ) -> Result<u32, Box<Error>> {
        if one == NONE {
            return Ok(other);
        }
        let (newer, older) =
            if self.sqnum(device, one)? > self.sqnum(device, other)? { (one, other) } else { (other, one) };
        survey.pebs[older as usize].what = What::Stale;
        Ok(newer)
    }

    fn sqnum(&self, device: &mut Device<'_>, peb: u32) -> Result<u64, Box<Error>> {
        Ok(headers(device, self.geometry, peb)?.vid.map_or(0, |vid| vid.sqnum))
    }

    fn mode(&self, device: &mut Device<'_>, survey: &mut Survey) -> Result<Mode, Box<Error>> {
        let mode = match self.layout_copies(device, survey)? {
            0 => Mode::Full,
            _ if !self.kernel_finds_all(device, survey)? => Mode::Full,
            1 if survey.fastmap.is_empty() => Mode::Finish,
            1 => Mode::Full,
            _ => Mode::UpToDate,
        };
        for state in &mut survey.pebs {
            if state.what == What::Worn {
                // The kernel moves it, once it is attached. As everything else is changed here, so is this.
                state.what = if mode == Mode::Full { What::Stale } else { What::Match };
            }
        }
        Ok(mode)
    }

    /// Copies of the volume table that are right, when no other is there: 2 for all.
    fn layout_copies(&self, device: &mut Device<'_>, survey: &Survey) -> Result<usize, Box<Error>> {
        let table = self.content.table();
        let mut bytes = vec![0; table.bytes.len()];
        let mut seen = Vec::new();
        for internal in &survey.layout {
            let state = &survey.pebs[internal.peb as usize];
            let start = device.geometry().offset_of(internal.peb) + u64::from(self.geometry.data_offset());
            let readable = device.read(start, &mut bytes)?.is_some();
            let right = match Table::parse(&bytes, self.geometry) {
                // Copies must be alike, so the one that is missing cannot be written next to one that has grown.
                Ok(found) if survey.layout.len() == 1 => found == *table,
                Ok(found) => table.grows_to(&found),
                Err(_) => false,
            };
            let right = right && readable && internal.lnum < LAYOUT_LEBS && self.belongs(survey, state);
            if !right || state.count == NONE || seen.contains(&internal.lnum) {
                return Ok(0);
            }
            seen.push(internal.lnum);
        }
        Ok(seen.len())
    }

    /// Whether the kernel finds all LEBs of the image, and no others, and has no reason not to attach.
    fn kernel_finds_all(&self, device: &mut Device<'_>, survey: &Survey) -> Result<bool, Box<Error>> {
        if matches!(self.content, Content::Pipe { .. }) {
            return Ok(false);
        }
        let mut holders: Vec<u32> = vec![NONE; self.content.leb_count() as usize];
        for (peb, state) in (0u32..).zip(&survey.pebs) {
            // It refuses parts of other images, and counts that are too high.
            if state.seq != Seq::NoHeader && (state.count == NONE || !self.belongs(survey, state)) {
                return Ok(false);
            }
            if matches!(state.what, What::Match | What::Worn) {
                holders[state.leb as usize] = peb;
            }
        }
        if holders.contains(&NONE) {
            return Ok(false);
        }
        for (peb, state) in (0u32..).zip(&survey.pebs).filter(|(_, state)| state.what == What::Stale) {
            // An older copy is the kernel's to erase.
            let holder = holders.get(state.leb as usize);
            let older = match holder {
                Some(&holder) => self.sqnum(device, peb)? < self.sqnum(device, holder)?,
                None => false,
            };
            if !older {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn refuse_size(content: &Content, fit: &Fit, refusals: &mut Vec<Refusal>) {
    let table = content.table().reserved();
    let lebs = u64::from(content.leb_count());
    let hard = fit.needed() - fit.bad_reserve;
    if hard > fit.good() || lebs + u64::from(LAYOUT_LEBS) > fit.good() {
        let needed = hard.max(lebs + u64::from(LAYOUT_LEBS));
        let good = fit.good();
        let reason = format!(
            "the image needs {needed} PEBs (volumes {table}, volume table {}, for the kernel {}), this device has {good} \
             good ones: make it for this device",
            fit.layout,
            fit.wear_levelling + fit.atomic_change
        );
        refusals.push(Refusal::new(word::SIZE, reason));
    } else if fit.free().is_none() {
        let reason = format!(
            "{fit}: fewer PEBs are left for those that go bad than the kernel wants; it attaches with a warning"
        );
        refusals.push(Refusal::forcible(word::RESERVE, reason));
    }
}

/// The kernel looks for VID headers in one place, unless it is told another.
fn refuse_offset(
    geometry: &UbiGeometry,
    flash: &FlashGeometry,
    survey: &Survey,
    refusals: &mut Vec<Refusal>,
) {
    let default = UbiGeometry::new(flash.eraseblock_size, flash.page_size, Some(flash.sub_page_size), None);
    let default = default.map_or(0, |default| default.vid_hdr_offset());
    let own = geometry.vid_hdr_offset();
    let used = survey.pebs.iter().any(|state| matches!(state.seq, Seq::Of(_)));
    if own != default && !used {
        let reason = format!(
            "the image has VID headers at {own} bytes of a PEB; on this flash the kernel looks for them at {default} unless \
             it is told otherwise when it attaches"
        );
        refusals.push(Refusal::forcible(word::VID_OFFSET, reason));
    }
}

impl Plan {
    /// Sizes that the device will have.
    #[must_use]
    pub const fn geometry(&self) -> &UbiGeometry {
        &self.geometry
    }

    /// How much there is to do.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// The image sequence number that the device will have: its own where a PEB can stay, else the image's.
    #[must_use]
    pub const fn image_seq(&self) -> u32 {
        self.image_seq
    }

    /// The erase count of PEBs that have none that can be read, before this run: the mean of the others, unless given.
    #[must_use]
    pub const fn assumed_count(&self) -> u32 {
        self.assumed_count
    }

    /// Erase counts as they are.
    #[must_use]
    pub const fn counts(&self) -> &EraseCounts {
        &self.counts
    }

    /// What of the device the volumes take.
    #[must_use]
    pub const fn fit(&self) -> &Fit {
        &self.fit
    }

    /// What will be done, in all.
    #[must_use]
    pub const fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Nanoseconds that it takes, about; `None` where nothing is known.
    #[must_use]
    pub const fn estimate(&self, costs: &Costs) -> Option<u64> {
        // What is programmed is read back.
        costs.estimate(self.totals.erases as u64, self.totals.programmed, self.totals.programmed)
    }

    /// What cannot end well.
    #[must_use]
    pub fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }

    fn is_stale(&self, state: &PebState) -> bool {
        match state.what {
            What::Stale | What::Unclear => self.mode != Mode::UpToDate,
            What::Layout | What::Fastmap => self.mode == Mode::Full,
            What::Bad | What::Match | What::Worn | What::Free => false,
        }
    }

    /// The image sequence number of an image from a pipe.
    pub(super) fn pipe_seq(&self) -> u32 {
        let Content::Pipe { first, .. } = &self.content else { return 0 };
        let header = first.first_chunk::<HEADER_LEN>().map(EcHdr::parse);
        header.and_then(Result::ok).map_or(0, |header| header.image_seq)
    }

    /// Copies of the volume table that are written, and those of them whose PEB is erased before.
    fn table_writes(&self) -> (u32, u32) {
        match self.mode {
            Mode::UpToDate => (0, 0),
            Mode::Finish => (LAYOUT_LEBS, 1),
            Mode::Full => (LAYOUT_LEBS, 0),
        }
    }

    fn sum_up(&mut self) {
        let of = |what: &dyn Fn(&PebState) -> bool| {
            u32::try_from(self.pebs.iter().filter(|state| what(state)).count()).unwrap_or(u32::MAX)
        };
        let matched = of(&|state| matches!(state.what, What::Match | What::Worn));
        let (tables, again) = self.table_writes();
        let mut totals = Totals {
            pebs: self.flash.eraseblock_count,
            erases: of(&|state| self.is_stale(state)) + again,
            lebs_kept: matched,
            free_kept: of(&|state| state.what == What::Free),
            counts_lost: of(&|state| self.is_stale(state) && state.count == NONE),
            ..self.totals
        };
        let lebs = self.content.leb_count().saturating_sub(matched);
        totals.lebs_written = if self.mode == Mode::Full { lebs + tables } else { tables };
        let headers = u64::from(totals.erases) * u64::from(self.geometry.sub_page_size().max(64));
        let table = bytes_to_program(&self.content.table().bytes, unit(&self.flash)) as u64;
        let full = u64::from(totals.lebs_written - tables) * u64::from(self.geometry.peb_size());
        totals.programmed = headers + table * u64::from(tables) + full;
        self.totals = totals;
    }

    /// What happens to each PEB, unless some go bad. LEBs get those that were erased least.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        let pipe = matches!(self.content, Content::Pipe { .. });
        let mut steps: Vec<Step> =
            (0u32..).zip(&self.pebs).map(|(peb, state)| self.step(peb, state, pipe)).collect();
        if pipe || self.mode == Mode::UpToDate {
            return steps;
        }
        let mut free: Vec<usize> =
            (0..steps.len()).filter(|&index| matches!(steps[index].fate, Fate::Free | Fate::Erase)).collect();
        free.sort_by_key(|&index| (steps[index].count_after, index));
        for index in free.into_iter().take(self.totals.lebs_written as usize) {
            let fate = &mut steps[index].fate;
            *fate = if *fate == Fate::Free { Fate::Program } else { Fate::EraseAndProgram };
        }
        steps
    }

    fn step(&self, peb: u32, state: &PebState, pipe: bool) -> Step {
        let count_before = (state.count != NONE).then_some(state.count);
        let most = u32::try_from(MAX_ERASE_COUNT).unwrap_or(u32::MAX);
        let (fate, count_after) = match state.what {
            What::Bad => (Fate::Bad, None),
            What::Match | What::Worn if pipe => (Fate::Undecided, count_before),
            What::Free => (Fate::Free, count_before),
            _ if self.is_stale(state) => {
                let after = count_before.unwrap_or(self.assumed_count).saturating_add(1).min(most);
                (Fate::Erase, Some(after))
            }
            _ => (Fate::Keep, count_before),
        };
        Step { peb, fate, count_before, count_after }
    }
}
