//! Does what a plan says.

use flashwright_media::{NewUbiVolume, UbiVolume, UbiVolumes, VolumeUse};
use sha2::Digest;

use super::plan::{Lebs, Method, Plan};
use crate::bytes::is_blank;
use crate::error::Error;
use crate::event::{Event, OnEvent, Phase};
use crate::report::{Ending, Sha256};
use crate::source::Source;

/// What a run did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VolumeReport {
    /// Id that the volume has now; it is another when a new volume took its place.
    pub id: u32,
    /// LEBs that were written.
    pub lebs_written: u32,
    /// LEBs that had the right content already.
    pub lebs_kept: u32,
    /// LEBs whose content was taken away.
    pub lebs_erased: u32,
    /// Bytes that were written.
    pub bytes_written: u64,
    /// LEBs that were read back and found right.
    pub lebs_verified: u32,
    /// Whether the old volume is still there, under another name, as somebody reads from it.
    pub old_is_left: bool,
}

impl Plan {
    /// Does it, with the words that refusals may be overridden with. `report` is right after an error, too.
    ///
    /// A request to stop ends the run after the LEB in hand, but for a volume that is written anew in place, which would
    /// have no content then.
    ///
    /// # Errors
    /// [`Error::Refused`]; [`Error::VolumeMismatch`] when a volume reads differently from what was written;
    /// [`Error::Digest`]; when the device fails, or the image cannot be read. The volume has its old content then, unless it
    /// is written in place.
    pub fn execute(
        &self,
        device: &mut dyn UbiVolumes,
        source: &mut dyn Source,
        forced: &[&str],
        report: &mut VolumeReport,
        on_event: OnEvent<'_>,
    ) -> Result<Ending, Box<Error>> {
        if let Some(refusal) = self.refused(forced) {
            return Err(Error::Refused(refusal.clone()).into());
        }
        report.id = self.target.id;
        let mut run = Run { plan: self, device, source, report, on_event, written: None };
        match self.method {
            Method::Nothing => {
                run.report.lebs_kept = self.lebs();
                Ok(Ending::Done)
            }
            Method::Replace => run.replace(),
            Method::InPlace => run.in_place(),
            Method::Rewrite => run.rewrite(),
        }
    }
}

struct Run<'a> {
    plan: &'a Plan,
    device: &'a mut dyn UbiVolumes,
    source: &'a mut dyn Source,
    report: &'a mut VolumeReport,
    on_event: OnEvent<'a>,
    /// SHA-256 of what was written, from a pipe.
    written: Option<Sha256>,
}

impl Run<'_> {
    /// Tells how far it is; `true` when it is to stop.
    fn progress(&mut self, phase: Phase, done: u32) -> bool {
        let total = self.plan.lebs();
        (self.on_event)(Event::Progress { phase, done, total }).is_break()
    }

    fn replace(&mut self) -> Result<Ending, Box<Error>> {
        for &id in &self.plan.remove {
            self.device.remove(id)?;
        }
        let volume = match &self.plan.reuse {
            Some(volume) => volume.clone(),
            None => self.make()?,
        };
        // A run that was interrupted at its very end has left all of it.
        let whole = self.plan.reuse.is_some() && self.has_all(&volume)?;
        if !whole && (!self.fill(&volume, true)? || !self.verify(&volume)?) {
            return Ok(Ending::Stopped);
        }
        let target = &self.plan.target;
        let old_name = self.plan.old_name();
        self.report.old_is_left = self.plan.usage == VolumeUse::Read;
        if self.report.old_is_left {
            self.device.rename(&[(target.id, &old_name), (volume.id, &target.name)])?;
        } else {
            self.device.rename(&[(volume.id, &target.name)])?;
        }
        self.report.id = volume.id;
        self.confirm(volume.id)
    }

    fn make(&mut self) -> Result<UbiVolume, Box<Error>> {
        let UbiVolume { is_static, alignment, .. } = self.plan.target;
        let (name, bytes) = (self.plan.new_name(), self.plan.target.capacity());
        let id = self.device.make(&NewUbiVolume { name: name.clone(), is_static, alignment, bytes })?;
        Ok(UbiVolume { id, name, update_marker: false, corrupted: false, ..self.plan.target.clone() })
    }

    /// Whether a volume of an interrupted run has all of a file.
    fn has_all(&mut self, volume: &UbiVolume) -> Result<bool, Box<Error>> {
        let unfinished = volume.update_marker || volume.corrupted;
        if self.source.is_pipe() || unfinished || (volume.is_static && volume.data_bytes != self.plan.len) {
            return Ok(false);
        }
        let mut lebs = Lebs::new(volume, self.plan.len);
        while lebs.next(self.source)?.is_some() {
            if lebs.differs(self.device, volume)? {
                return Ok(false);
            }
        }
        for leb in self.plan.lebs()..volume.reserved_lebs {
            if !volume.is_static && self.device.is_mapped(volume.id, leb)? {
                return Ok(false);
            }
        }
        self.report.lebs_kept = self.plan.lebs();
        Ok(true)
    }

    /// Writes all of it; `false` when it was asked to stop and may.
    fn fill(&mut self, volume: &UbiVolume, may_stop: bool) -> Result<bool, Box<Error>> {
        let mut lebs = Lebs::new(volume, self.plan.len);
        let mut hash = self.source.is_pipe().then(sha2::Sha256::new);
        self.device.update(volume.id, self.plan.len)?;
        while let Some(leb) = lebs.next(self.source)? {
            hash.iter_mut().for_each(|hash| hash.update(lebs.content()));
            self.device.write(lebs.content())?;
            self.report.lebs_written += 1;
            self.report.bytes_written += lebs.content().len() as u64;
            if self.progress(Phase::Write, leb + 1) && may_stop {
                return Ok(false);
            }
        }
        self.written = hash.map(|hash| Sha256(hash.finalize().into()));
        // That of a file was checked before.
        Error::check_digest(self.plan.options.sha256, self.written)?;
        Ok(true)
    }

    /// Reads a volume back that was written as a whole; `false` when it was asked to stop.
    fn verify(&mut self, volume: &UbiVolume) -> Result<bool, Box<Error>> {
        if !self.plan.options.verify {
            return Ok(true);
        }
        let mut hash = self.written.map(|_| sha2::Sha256::new());
        let len = self.plan.len;
        let mut lebs = Lebs::new(volume, len);
        for leb in 0..self.plan.lebs() {
            match &mut hash {
                None => {
                    lebs.next(self.source)?;
                    if lebs.differs(self.device, volume)? {
                        let (offset, len) = (lebs.offset(), lebs.content().len() as u64);
                        return Err(Error::VolumeMismatch { id: volume.id, offset, len }.into());
                    }
                }
                Some(hash) => {
                    let mut found = Found { device: &mut *self.device, id: volume.id, len };
                    lebs.next(&mut found)?;
                    hash.update(lebs.content());
                }
            }
            self.report.lebs_verified += 1;
            if self.progress(Phase::Verify, leb + 1) {
                return Ok(false);
            }
        }
        let found = hash.map(|hash| Sha256(hash.finalize().into()));
        if found != self.written {
            return Err(Error::VolumeMismatch { id: volume.id, offset: 0, len }.into());
        }
        Ok(true)
    }

    /// Whether the volume is there as it shall be.
    fn confirm(&mut self, id: u32) -> Result<Ending, Box<Error>> {
        let volumes = self.device.volumes()?;
        let sound = |volume: &&UbiVolume| {
            volume.id == id
                && volume.name == self.plan.target.name
                && !volume.update_marker
                && !volume.corrupted
        };
        match volumes.iter().find(sound) {
            Some(_) => Ok(Ending::Done),
            None => Err(Error::VolumeMismatch { id, offset: 0, len: self.plan.len }.into()),
        }
    }

    fn rewrite(&mut self) -> Result<Ending, Box<Error>> {
        let target = self.plan.target.clone();
        self.fill(&target, false)?;
        self.verify(&target)?;
        self.confirm(target.id)
    }

    fn in_place(&mut self) -> Result<Ending, Box<Error>> {
        let target = &self.plan.target;
        let mut lebs = Lebs::new(target, self.plan.len);
        let mut hash = self.source.is_pipe().then(sha2::Sha256::new);
        while let Some(leb) = lebs.next(self.source)? {
            hash.iter_mut().for_each(|hash| hash.update(lebs.content()));
            self.change(&mut lebs, leb)?;
            if self.progress(Phase::Write, leb + 1) {
                return Ok(Ending::Stopped);
            }
        }
        for leb in self.plan.lebs()..target.reserved_lebs {
            if self.device.is_mapped(target.id, leb)? {
                // Not merely unmapped: then a power cut might bring it back after this run was reported as done.
                self.device.erase_leb(target.id, leb)?;
                self.report.lebs_erased += 1;
            }
        }
        self.written = hash.map(|hash| Sha256(hash.finalize().into()));
        Error::check_digest(self.plan.options.sha256, self.written)?;
        self.confirm(target.id)
    }

    fn change(&mut self, lebs: &mut Lebs, leb: u32) -> Result<(), Box<Error>> {
        let target = &self.plan.target;
        if !lebs.differs(self.device, target)? {
            self.report.lebs_kept += 1;
            return Ok(());
        }
        if is_blank(lebs.content()) {
            self.device.erase_leb(target.id, leb)?;
            self.report.lebs_erased += 1;
        } else {
            self.device.change_leb(target.id, leb, lebs.content())?;
            self.report.lebs_written += 1;
            self.report.bytes_written += lebs.content().len() as u64;
        }
        if self.plan.options.verify {
            if lebs.differs(self.device, target)? {
                let (id, offset, len) = (target.id, lebs.offset(), lebs.content().len() as u64);
                return Err(Error::VolumeMismatch { id, offset, len }.into());
            }
            self.report.lebs_verified += 1;
        }
        Ok(())
    }
}

/// What a volume has, as an image.
struct Found<'a> {
    device: &'a mut dyn UbiVolumes,
    id: u32,
    len: u64,
}

impl Source for Found<'_> {
    fn len(&self) -> u64 {
        self.len
    }

    fn is_pipe(&self) -> bool {
        false
    }

    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), crate::SourceError> {
        let fault = match self.device.read(self.id, offset, bytes) {
            Ok(count) if count == bytes.len() => return Ok(()),
            Ok(_) => crate::SourceFault::Ended { len: self.len },
            Err(error) => crate::SourceFault::Volume(error),
        };
        Err(crate::SourceError::new(offset, fault))
    }
}
