//! How a volume gets its content, and what is refused.

use flashwright_media::{UbiError, UbiFacts, UbiFault, UbiOp, UbiVolume, UbiVolumes, VolumeUse};
use sha2::Digest;

use super::{NEW_SUFFIX, OLD_SUFFIX, Options, word};
use crate::bytes::is_blank;
use crate::device::{count, shorter};
use crate::error::{Error, Refusal};
use crate::event::{Event, OnEvent, Phase};
use crate::report::Sha256;
use crate::source::Source;

/// Longest name of a volume in bytes.
const MAX_NAME: usize = 127;

/// How a volume gets its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Method {
    /// It has it already.
    Nothing,
    /// A new volume gets it, and takes the place of the old one.
    Replace,
    /// LEBs that differ are changed, each at once.
    InPlace,
    /// All of it is written anew. Until the last byte is there, the volume has no content.
    Rewrite,
}

/// What has to be done with a volume.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(super) target: UbiVolume,
    pub(super) method: Method,
    pub(super) usage: VolumeUse,
    pub(super) len: u64,
    /// Volume that an interrupted run has left, to be used.
    pub(super) reuse: Option<UbiVolume>,
    /// Volumes that earlier runs have left, to be removed.
    pub(super) remove: Vec<u32>,
    pub(super) options: Options,
    changed_lebs: u32,
    refusals: Vec<Refusal>,
}

/// Looks at a volume and at an image; nothing is changed.
///
/// # Errors
/// [`Error::Ubi`] when there is no such volume, or the device cannot be read; when the image cannot.
pub fn plan(
    device: &mut dyn UbiVolumes,
    id: u32,
    source: &mut dyn Source,
    options: &Options,
    on_event: OnEvent<'_>,
) -> Result<Plan, Box<Error>> {
    let facts = device.facts()?;
    let volumes = device.volumes()?;
    let target = volumes.iter().find(|volume| volume.id == id).cloned();
    let target = target.ok_or(UbiError::new(UbiOp::Look, Some(id), UbiFault::NoVolume))?;
    let usage = device.usage(id)?;
    let mut plan = Plan {
        method: Method::Replace,
        usage,
        len: source.len(),
        reuse: None,
        remove: Vec::new(),
        options: options.clone(),
        changed_lebs: 0,
        refusals: Vec::new(),
        target,
    };
    plan.refuse_size();
    if !source.is_pipe() && plan.refusals.is_empty() {
        plan.compare(device, source, on_event)?;
    }
    plan.choose();
    match plan.method {
        Method::Nothing => {}
        Method::Replace => plan.find_room(device, &facts, &volumes)?,
        Method::InPlace | Method::Rewrite => plan.refuse_use(VolumeUse::Free),
    }
    Ok(plan)
}

impl Plan {
    fn refuse(&mut self, word: &'static str, reason: String) {
        self.refusals.push(Refusal::new(word, reason));
    }

    fn refuse_size(&mut self) {
        let (len, capacity) = (self.len, self.target.capacity());
        if len > capacity {
            let reason =
                format!("the image has {len} bytes, the volume room for {capacity}: resize it first");
            self.refuse(word::SIZE, reason);
        }
        if len == 0 {
            let reason = "the image is empty: the volume would be, too".to_owned();
            self.refusals.push(Refusal::forcible(word::EMPTY, reason));
        }
    }

    /// Refuses when somebody uses the volume more than that.
    fn refuse_use(&mut self, most: VolumeUse) {
        let who = match (self.usage, most) {
            (VolumeUse::Written, _) => {
                "somebody writes to the volume (a file system that is mounted, an update)"
            }
            (VolumeUse::Read, VolumeUse::Free) => {
                "somebody reads from the volume (a file system that is mounted, a block device)"
            }
            _ => return,
        };
        self.refuse(word::IN_USE, format!("{who}: stop that first"));
    }

    const fn is_readable(&self) -> bool {
        !self.target.update_marker && !self.target.corrupted
    }

    /// Compares a file with the volume, and its SHA-256 with the one that it must have.
    fn compare(
        &mut self,
        device: &mut dyn UbiVolumes,
        source: &mut dyn Source,
        on_event: OnEvent<'_>,
    ) -> Result<(), Box<Error>> {
        let mut lebs = Lebs::new(&self.target, self.len);
        let mut hash = self.options.sha256.map(|_| sha2::Sha256::new());
        let total = self.target.reserved_lebs;
        let mut changed = 0;
        while let Some(leb) = lebs.next(source)? {
            hash.iter_mut().for_each(|hash| hash.update(lebs.content()));
            if !self.is_readable() || lebs.differs(device, &self.target)? {
                changed += 1;
            }
            if on_event(Event::Progress { phase: Phase::Survey, done: leb + 1, total }).is_break() {
                break;
            }
        }
        let shorter = self.target.is_static && self.is_readable() && self.target.data_bytes != self.len;
        self.changed_lebs = if shorter { changed.max(1) } else { changed };
        let found = hash.map(|hash| Sha256(hash.finalize().into()));
        if let Err(error) = Error::check_digest(self.options.sha256, found) {
            self.refuse(word::SHA256, error.to_string());
        }
        // What follows the content must be empty.
        for leb in count_lebs(self.len, &self.target)..total {
            if !self.target.is_static && self.is_readable() && device.is_mapped(self.target.id, leb)? {
                self.changed_lebs += 1;
            }
        }
        self.method =
            if self.changed_lebs == 0 && self.is_readable() { Method::Nothing } else { self.method };
        Ok(())
    }

    fn choose(&mut self) {
        if self.method == Method::Nothing || !self.options.in_place {
            return;
        }
        // The content is lost already, and no LEB can be changed alone.
        self.method =
            if self.target.is_static || !self.is_readable() { Method::Rewrite } else { Method::InPlace };
        if self.target.is_static && self.is_readable() {
            let reason = "a static volume has one checksum for each LEB and is written as a whole: in place it is without \
                          content until the last byte is there, and damaged when the power goes before";
            self.refusals.push(Refusal::forcible(word::STATIC, reason.to_owned()));
        }
    }

    /// Room for a second volume, with what earlier runs have left.
    fn find_room(
        &mut self,
        device: &mut dyn UbiVolumes,
        facts: &UbiFacts,
        volumes: &[UbiVolume],
    ) -> Result<(), Box<Error>> {
        self.refuse_use(VolumeUse::Read);
        let longest = MAX_NAME - NEW_SUFFIX.len().max(OLD_SUFFIX.len());
        let len = self.target.name.len();
        if len > longest {
            let reason = format!(
                "the volume's name has {len} bytes: with a suffix for the new one it would be too long"
            );
            self.refuse(word::NAME, reason);
        }
        let mut free = facts.free_lebs;
        let mut ids = facts.max_volumes.saturating_sub(count(volumes.len()));
        for volume in volumes {
            let is_new = volume.name == self.new_name();
            if !is_new && volume.name != self.old_name() {
                continue;
            }
            if device.usage(volume.id)? != VolumeUse::Free {
                let name = String::from_utf8_lossy(&volume.name).into_owned();
                self.refuse(
                    word::IN_USE,
                    format!("the volume {name} of an earlier run is in use: stop that first"),
                );
            } else if is_new && self.is_like_target(volume) {
                self.reuse = Some(volume.clone());
            } else {
                self.remove.push(volume.id);
                free = free.saturating_add(volume.reserved_lebs);
                ids += 1;
            }
        }
        let needed = self.target.reserved_lebs;
        if self.reuse.is_none() && (needed > free || ids == 0) {
            let reason = match ids {
                0 => format!("the device has no room for more than {} volumes", facts.max_volumes),
                _ => format!("a second volume of {needed} LEBs is needed, {free} are free"),
            };
            self.refuse(word::ROOM, format!("{reason}: write in place, or make room"));
        }
        Ok(())
    }

    fn is_like_target(&self, volume: &UbiVolume) -> bool {
        let facts = |volume: &UbiVolume| (volume.is_static, volume.alignment, volume.reserved_lebs);
        facts(volume) == facts(&self.target)
    }

    pub(super) fn new_name(&self) -> Vec<u8> {
        [&self.target.name, NEW_SUFFIX].concat()
    }

    pub(super) fn old_name(&self) -> Vec<u8> {
        [&self.target.name, OLD_SUFFIX].concat()
    }

    /// The volume as it is.
    #[must_use]
    pub const fn target(&self) -> &UbiVolume {
        &self.target
    }

    /// How it gets its content.
    #[must_use]
    pub const fn method(&self) -> Method {
        self.method
    }

    /// LEBs that differ from the image; 0 for a pipe, of which that is not known.
    #[must_use]
    pub const fn changed_lebs(&self) -> u32 {
        self.changed_lebs
    }

    /// LEBs that the image takes.
    #[must_use]
    pub fn lebs(&self) -> u32 {
        count_lebs(self.len, &self.target)
    }

    /// What cannot end well.
    #[must_use]
    pub fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }

    /// The first refusal that none of those words overrides.
    #[must_use]
    pub fn refused(&self, forced: &[&str]) -> Option<&Refusal> {
        Refusal::first(&self.refusals, forced)
    }
}

fn count_lebs(len: u64, volume: &UbiVolume) -> u32 {
    let lebs = len.div_ceil(u64::from(volume.usable_leb_size).max(1));
    u32::try_from(lebs).unwrap_or(u32::MAX)
}

/// The LEBs of an image, one after the other.
pub(super) struct Lebs {
    len: u64,
    usable: u32,
    next: u32,
    content: Vec<u8>,
    found: Vec<u8>,
}

impl Lebs {
    pub(super) fn new(volume: &UbiVolume, len: u64) -> Self {
        let usable = volume.usable_leb_size;
        Lebs { len, usable, next: 0, content: Vec::new(), found: vec![0; usable as usize] }
    }

    /// Bytes from the start of the volume's data to the LEB that was read last.
    pub(super) fn offset(&self) -> u64 {
        u64::from(self.next.saturating_sub(1)) * u64::from(self.usable)
    }

    /// Reads the next LEB; `None` at the end of the image.
    pub(super) fn next(&mut self, source: &mut dyn Source) -> Result<Option<u32>, Box<Error>> {
        let leb = self.next;
        let start = u64::from(leb) * u64::from(self.usable);
        if start >= self.len {
            return Ok(None);
        }
        self.content.resize(shorter(self.usable as usize, self.len - start), 0);
        source.read_at(start, &mut self.content)?;
        self.next += 1;
        Ok(Some(leb))
    }

    /// The LEB that was read last; the last one of all may be shorter.
    pub(super) fn content(&self) -> &[u8] {
        &self.content
    }

    /// Whether the volume has something else in that LEB; what the image does not fill must be erased.
    pub(super) fn differs(
        &mut self,
        device: &mut dyn UbiVolumes,
        volume: &UbiVolume,
    ) -> Result<bool, UbiError> {
        let offset = self.offset();
        let read = device.read(volume.id, offset, &mut self.found);
        let count = match read {
            Err(error) if matches!(error.fault, UbiFault::Damaged) => return Ok(true),
            result => result?,
        };
        let found = self.found.get(..count).unwrap_or_default();
        Ok(match found.split_at_checked(self.content.len()) {
            Some((content, rest)) => content != self.content || !is_blank(rest),
            None => true,
        })
    }
}
