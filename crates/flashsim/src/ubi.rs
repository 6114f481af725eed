//! An attached UBI device, as far as volumes go: what the kernel does for those who change them.

use std::collections::BTreeMap;
use std::io;

use flashwright_media::{
    NewUbiVolume, UbiError, UbiFacts, UbiFault, UbiOp, UbiVolume, UbiVolumes, VolumeUse,
};

use crate::random::Random;

/// Longest name of a volume in bytes.
const MAX_NAME: usize = 127;

/// A simulated UBI device: see [`UbiVolumes`]. Each call that changes something is one operation, and each LEB that an
/// update writes. A power cut at an operation leaves it done or not done, whichever chance has it; an update leaves the
/// LEBs written until then, and the update marker. What was unmapped may be there again. Everything random comes from the
/// seed.
#[derive(Debug, Clone)]
pub struct UbiSimulation {
    facts: UbiFacts,
    volumes: BTreeMap<u32, Volume>,
    random: Random,
    update: Option<Update>,
    operations: u64,
    cut: Option<u64>,
    powered: bool,
}

#[derive(Debug, Clone)]
struct Volume {
    facts: UbiVolume,
    lebs: Vec<Option<Vec<u8>>>,
    /// LEBs whose content was taken away and not erased yet.
    unmapped: Vec<(usize, Vec<u8>)>,
    usage: VolumeUse,
}

#[derive(Debug, Clone)]
struct Update {
    id: u32,
    left: u64,
    leb: usize,
    bytes: Vec<u8>,
}

/// Whether an operation is done.
enum Power {
    On,
    /// Done or not, and then nothing is left.
    Cut {
        done: bool,
    },
}

fn error(op: UbiOp, volume: Option<u32>, fault: UbiFault) -> UbiError {
    UbiError::new(op, volume, fault)
}

fn off(op: UbiOp, volume: Option<u32>) -> UbiError {
    error(op, volume, UbiFault::Device(io::Error::other("the power is off")))
}

fn invalid(op: UbiOp, volume: Option<u32>) -> UbiError {
    error(op, volume, UbiFault::Device(io::ErrorKind::InvalidInput.into()))
}

impl UbiSimulation {
    /// A device without volumes that has so many LEBs for them, of so many bytes.
    #[must_use]
    pub const fn new(leb_size: u32, min_io_size: u32, lebs: u32, max_volumes: u32, seed: u64) -> Self {
        UbiSimulation {
            facts: UbiFacts { leb_size, min_io_size, free_lebs: lebs, max_volumes },
            volumes: BTreeMap::new(),
            random: Random::new(seed),
            update: None,
            operations: 0,
            cut: None,
            powered: true,
        }
    }

    /// Operations until now.
    #[must_use]
    pub const fn operations(&self) -> u64 {
        self.operations
    }

    /// Cuts the power in the `operation`-th operation from now on, 1 being the next one.
    ///
    /// # Panics
    /// When `operation` is 0.
    pub const fn cut_power_at(&mut self, operation: u64) {
        assert!(operation > 0);
        self.cut = Some(operation);
    }

    /// Takes the seed for everything random from now on.
    pub const fn reseed(&mut self, seed: u64) {
        self.random = Random::new(seed);
    }

    /// Brings the power back, and attaches the device again. A cut that has not come yet does not come any more.
    pub fn power_on(&mut self) {
        (self.powered, self.cut, self.update) = (true, None, None);
        for volume in self.volumes.values_mut() {
            volume.usage = VolumeUse::Free;
            for (leb, bytes) in std::mem::take(&mut volume.unmapped) {
                if self.random.below(2) == 0 && volume.lebs[leb].is_none() {
                    volume.lebs[leb] = Some(bytes);
                }
            }
        }
    }

    /// Says who has a volume open.
    ///
    /// # Panics
    /// When there is none.
    pub fn set_usage(&mut self, id: u32, usage: VolumeUse) {
        self.volumes.get_mut(&id).expect("a volume").usage = usage;
    }

    /// Damages a volume: what is in it cannot be read.
    ///
    /// # Panics
    /// When there is none.
    pub fn corrupt(&mut self, id: u32) {
        self.volumes.get_mut(&id).expect("a volume").facts.corrupted = true;
    }

    /// Turns a bit round in the data of a LEB.
    ///
    /// # Panics
    /// When there is none.
    pub fn flip(&mut self, id: u32, leb: u32, byte: usize) {
        let volume = self.volumes.get_mut(&id).expect("a volume");
        volume.lebs[leb as usize].as_mut().expect("a LEB")[byte] ^= 1;
    }

    fn check(&self, op: UbiOp, id: Option<u32>) -> Result<(), UbiError> {
        match id {
            _ if !self.powered => Err(off(op, id)),
            Some(volume) if !self.volumes.contains_key(&volume) => Err(error(op, id, UbiFault::NoVolume)),
            _ => Ok(()),
        }
    }

    fn begin(&mut self) -> Power {
        self.operations += 1;
        let Some(left) = &mut self.cut else { return Power::On };
        *left -= 1;
        if *left > 0 {
            return Power::On;
        }
        (self.cut, self.powered) = (None, false);
        Power::Cut { done: self.random.below(2) == 0 }
    }

    /// Does something that is done or not done.
    fn operate<T>(
        &mut self,
        op: UbiOp,
        id: Option<u32>,
        job: impl FnOnce(&mut Self) -> T,
    ) -> Result<T, UbiError> {
        match self.begin() {
            Power::On => Ok(job(self)),
            Power::Cut { done } => {
                if done {
                    job(self);
                }
                Err(off(op, id))
            }
        }
    }

    fn volume(&mut self, op: UbiOp, id: u32) -> Result<&mut Volume, UbiError> {
        self.check(op, Some(id))?;
        self.volumes.get_mut(&id).ok_or_else(|| error(op, Some(id), UbiFault::NoVolume))
    }

    /// A volume that nobody uses in a way that is in the way.
    fn free_volume(&mut self, op: UbiOp, id: u32) -> Result<&mut Volume, UbiError> {
        let volume = self.volume(op, id)?;
        match volume.usage {
            VolumeUse::Free => Ok(volume),
            _ => Err(error(op, Some(id), UbiFault::Busy)),
        }
    }

    fn named(&self, name: &[u8]) -> Option<u32> {
        self.volumes.iter().find(|(_, volume)| volume.facts.name == name).map(|(id, _)| *id)
    }

    fn drop_volume(&mut self, id: u32) {
        if let Some(volume) = self.volumes.remove(&id) {
            self.facts.free_lebs += volume.facts.reserved_lebs;
        }
    }

    /// A LEB of a dynamic volume that may be changed.
    fn leb(&mut self, op: UbiOp, id: u32, leb: u32) -> Result<&mut Volume, UbiError> {
        let volume = self.free_volume(op, id)?;
        match &volume.facts {
            facts if facts.is_static => Err(error(op, Some(id), UbiFault::Unsupported)),
            facts if facts.update_marker || leb >= facts.reserved_lebs => Err(invalid(op, Some(id))),
            _ => Ok(volume),
        }
    }

    /// Writes what the update has for a LEB.
    fn write_leb(&mut self) -> Result<(), UbiError> {
        let Some(Update { id, leb, bytes, .. }) = &mut self.update else {
            return Err(invalid(UbiOp::Update, None));
        };
        let (id, at, content) = (*id, *leb, std::mem::take(bytes));
        *leb += 1;
        self.operate(UbiOp::Update, Some(id), |device| {
            if let Some(volume) = device.volumes.get_mut(&id) {
                volume.set(at, &content);
            }
        })
    }

    fn finish_update(&mut self, id: u32, len: u64) -> Result<(), UbiError> {
        self.update = None;
        self.operate(UbiOp::Update, Some(id), |device| {
            if let Some(volume) = device.volumes.get_mut(&id) {
                volume.facts.update_marker = false;
                volume.facts.corrupted = false;
                if volume.facts.is_static {
                    volume.facts.data_bytes = len;
                }
            }
        })
    }
}

impl Volume {
    /// Content of a LEB; one of 0xFF alone needs none.
    fn set(&mut self, leb: usize, bytes: &[u8]) {
        let mut content = bytes.to_vec();
        content.resize(self.facts.usable_leb_size as usize, 0xff);
        self.unmapped.retain(|(unmapped, _)| *unmapped != leb);
        let blank = content.iter().all(|&byte| byte == 0xff);
        self.lebs[leb] = (!blank).then_some(content);
    }
}

impl UbiVolumes for UbiSimulation {
    fn facts(&mut self) -> Result<UbiFacts, UbiError> {
        self.check(UbiOp::Look, None)?;
        Ok(self.facts)
    }

    fn volumes(&mut self) -> Result<Vec<UbiVolume>, UbiError> {
        self.check(UbiOp::Look, None)?;
        Ok(self.volumes.values().map(|volume| volume.facts.clone()).collect())
    }

    fn usage(&mut self, id: u32) -> Result<VolumeUse, UbiError> {
        self.volume(UbiOp::Look, id).map(|volume| volume.usage)
    }

    fn make(&mut self, new: &NewUbiVolume) -> Result<u32, UbiError> {
        let op = UbiOp::Make;
        self.check(op, None)?;
        let usable = self.facts.leb_size - self.facts.leb_size % new.alignment;
        let reserved = u32::try_from(new.bytes.div_ceil(usable.into())).unwrap_or(u32::MAX);
        let id = (0..self.facts.max_volumes).find(|id| !self.volumes.contains_key(id));
        if new.name.is_empty() || new.name.len() > MAX_NAME || reserved == 0 {
            return Err(invalid(op, None));
        }
        if self.named(&new.name).is_some() {
            return Err(error(op, None, UbiFault::Exists));
        }
        let Some(id) = id.filter(|_| reserved <= self.facts.free_lebs) else {
            return Err(error(op, None, UbiFault::NoRoom));
        };
        let capacity = u64::from(reserved) * u64::from(usable);
        let facts = UbiVolume {
            id,
            name: new.name.clone(),
            is_static: new.is_static,
            alignment: new.alignment,
            reserved_lebs: reserved,
            usable_leb_size: usable,
            data_bytes: if new.is_static { 0 } else { capacity },
            corrupted: false,
            update_marker: false,
        };
        // For hosts: a u32 fits a usize.
        let lebs = vec![None; reserved as usize];
        self.operate(op, None, |device| {
            device.facts.free_lebs -= reserved;
            device.volumes.insert(id, Volume { facts, lebs, unmapped: Vec::new(), usage: VolumeUse::Free });
            id
        })
    }

    fn remove(&mut self, id: u32) -> Result<(), UbiError> {
        self.free_volume(UbiOp::Remove, id)?;
        self.operate(UbiOp::Remove, Some(id), |device| device.drop_volume(id))
    }

    fn resize(&mut self, id: u32, bytes: u64) -> Result<(), UbiError> {
        let op = UbiOp::Resize;
        let free = self.facts.free_lebs;
        let volume = self.free_volume(op, id)?;
        let UbiVolume { usable_leb_size: usable, reserved_lebs: before, .. } = volume.facts;
        let reserved = u32::try_from(bytes.div_ceil(usable.into())).unwrap_or(u32::MAX);
        let used = volume.lebs.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        if reserved == 0 || (reserved as usize) < used {
            return Err(invalid(op, Some(id)));
        }
        if reserved > before && reserved - before > free {
            return Err(error(op, Some(id), UbiFault::NoRoom));
        }
        self.operate(op, Some(id), |device| {
            device.facts.free_lebs = free + before - reserved;
            if let Some(volume) = device.volumes.get_mut(&id) {
                volume.facts.reserved_lebs = reserved;
                volume.lebs.resize(reserved as usize, None);
                if !volume.facts.is_static {
                    volume.facts.data_bytes = u64::from(reserved) * u64::from(usable);
                }
            }
        })
    }

    fn rename(&mut self, names: &[(u32, &[u8])]) -> Result<(), UbiError> {
        let op = UbiOp::Rename;
        let mut removed = Vec::new();
        for (id, name) in names {
            if self.volume(op, *id)?.usage == VolumeUse::Written {
                return Err(error(op, Some(*id), UbiFault::Busy));
            }
            if name.is_empty() || name.len() > MAX_NAME {
                return Err(invalid(op, Some(*id)));
            }
            if let Some(other) = self.named(name)
                && !names.iter().any(|(id, _)| *id == other)
            {
                // It is removed: nobody may have it open.
                self.free_volume(op, other)?;
                removed.push(other);
            }
        }
        self.operate(op, None, |device| {
            removed.into_iter().for_each(|id| device.drop_volume(id));
            for (id, name) in names {
                if let Some(volume) = device.volumes.get_mut(id) {
                    volume.facts.name = name.to_vec();
                }
            }
        })
    }

    fn read(&mut self, id: u32, offset: u64, bytes: &mut [u8]) -> Result<usize, UbiError> {
        let volume = self.volume(UbiOp::Read, id)?;
        let facts = &volume.facts;
        if facts.update_marker || facts.corrupted {
            return Err(error(UbiOp::Read, Some(id), UbiFault::Damaged));
        }
        let len = if facts.is_static { facts.data_bytes } else { facts.capacity() };
        let count =
            usize::try_from(len.saturating_sub(offset)).map_or(bytes.len(), |left| left.min(bytes.len()));
        let usable = u64::from(facts.usable_leb_size);
        for (at, byte) in (offset..).zip(bytes.iter_mut().take(count)) {
            let within = |position: u64| usize::try_from(position).unwrap_or(usize::MAX);
            let leb = &volume.lebs[within(at / usable)];
            *byte = leb.as_ref().map_or(0xff, |leb| leb[within(at % usable)]);
        }
        Ok(count)
    }

    fn update(&mut self, id: u32, len: u64) -> Result<(), UbiError> {
        let op = UbiOp::Update;
        let volume = self.free_volume(op, id)?;
        if len > volume.facts.capacity() {
            return Err(invalid(op, Some(id)));
        }
        self.operate(op, Some(id), |device| {
            if let Some(volume) = device.volumes.get_mut(&id) {
                volume.facts.update_marker = true;
                volume.lebs.fill(None);
                volume.unmapped.clear();
            }
        })?;
        self.update = Some(Update { id, left: len, leb: 0, bytes: Vec::new() });
        if len == 0 { self.finish_update(id, 0) } else { Ok(()) }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), UbiError> {
        let mut rest = bytes;
        let mut written = 0;
        while !rest.is_empty() {
            let Some(update) = &self.update else { return Err(invalid(UbiOp::Update, None)) };
            let (id, left, have) = (update.id, update.left, update.bytes.len());
            let usable = self.volume(UbiOp::Update, id)?.facts.usable_leb_size as usize;
            let room = (usable - have).min(usize::try_from(left).unwrap_or(usize::MAX));
            let (now, next) = rest.split_at(rest.len().min(room));
            rest = next;
            let Some(update) = &mut self.update else { return Err(invalid(UbiOp::Update, None)) };
            update.bytes.extend_from_slice(now);
            update.left -= now.len() as u64;
            written += now.len();
            let (full, last) = (update.bytes.len() == usable, update.left == 0);
            let len = (update.leb * usable + update.bytes.len()) as u64;
            if full || last {
                self.write_leb()?;
            }
            if last {
                self.finish_update(id, len)?;
            }
        }
        debug_assert_eq!(written, bytes.len());
        Ok(())
    }

    fn change_leb(&mut self, id: u32, leb: u32, bytes: &[u8]) -> Result<(), UbiError> {
        let op = UbiOp::ChangeLeb;
        let volume = self.leb(op, id, leb)?;
        if bytes.len() > volume.facts.usable_leb_size as usize {
            return Err(invalid(op, Some(id)));
        }
        self.operate(op, Some(id), |device| {
            if let Some(volume) = device.volumes.get_mut(&id) {
                volume.set(leb as usize, bytes);
            }
        })
    }

    fn erase_leb(&mut self, id: u32, leb: u32) -> Result<(), UbiError> {
        self.leb(UbiOp::UnmapLeb, id, leb)?;
        self.operate(UbiOp::UnmapLeb, Some(id), |device| {
            if let Some(volume) = device.volumes.get_mut(&id) {
                volume.lebs[leb as usize] = None;
                volume.unmapped.retain(|(unmapped, _)| *unmapped != leb as usize);
            }
        })
    }

    fn unmap_leb(&mut self, id: u32, leb: u32) -> Result<(), UbiError> {
        self.leb(UbiOp::UnmapLeb, id, leb)?;
        self.operate(UbiOp::UnmapLeb, Some(id), |device| {
            if let Some(volume) = device.volumes.get_mut(&id)
                && let Some(content) = volume.lebs[leb as usize].take()
            {
                volume.unmapped.push((leb as usize, content));
            }
        })
    }

    fn is_mapped(&mut self, id: u32, leb: u32) -> Result<bool, UbiError> {
        let volume = self.volume(UbiOp::AskMapped, id)?;
        match volume.lebs.get(leb as usize) {
            Some(content) => Ok(content.is_some()),
            None => Err(invalid(UbiOp::AskMapped, Some(id))),
        }
    }
}
