//! Device trees, and FIT images, which are device trees with images in them or behind them.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use flashwright_media::{Endian, Fields};

use super::{Faults, Input};
use crate::error::Error;

/// Header of a flattened device tree: 40 bytes, big-endian. Its fields, as the devicetree specification names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceTree {
    /// Bytes with this header.
    pub total_size: u32,
    /// Bytes from the start to the structure: nodes and properties.
    pub struct_offset: u32,
    /// Bytes of it.
    pub struct_size: u32,
    /// Bytes from the start to the names of properties.
    pub strings_offset: u32,
    /// Bytes of those.
    pub strings_size: u32,
    /// Version of the format; 17.
    pub version: u32,
    /// Whether the first node under the root that is called `images` was seen within the first bytes.
    pub is_fit: bool,
}

const MAGIC: u32 = 0xd00d_feed;
const HEADER: u32 = 40;
/// The oldest version that has the size of the structure in its header.
const MIN_VERSION: u32 = 17;
/// Words of the structure. Specification: `FDT_*`.
mod token {
    pub(super) const BEGIN_NODE: u32 = 1;
    pub(super) const END_NODE: u32 = 2;
    pub(super) const PROPERTY: u32 = 3;
    pub(super) const NOP: u32 = 4;
    pub(super) const END: u32 = 9;
}
/// The longest name of a property that means something here, with its NUL.
const MAX_NAME: usize = 16;

impl DeviceTree {
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(head, Endian::Big);
        if fields.take::<u32>()? != MAGIC {
            return None;
        }
        let [total_size, struct_offset, strings_offset] = [fields.take()?, fields.take()?, fields.take()?];
        // Reserved memory.
        fields.bytes(4)?;
        let version = fields.take()?;
        // Last compatible version, boot CPU.
        fields.bytes(8)?;
        let [strings_size, struct_size] = [fields.take()?, fields.take()?];
        let images = b"\0\0\0\x01images\0";
        let is_fit = head.windows(images.len()).any(|window| window == images);
        Some(DeviceTree {
            total_size,
            struct_offset,
            struct_size,
            strings_offset,
            strings_size,
            version,
            is_fit,
        })
    }

    /// The parts lie where they can, nodes open and close, and the images that are behind the tree are there.
    pub(super) fn check(&self, input: &mut Input<'_>, faults: &mut Faults) -> Result<(), Error> {
        let end = |offset: u32, size: u32| u64::from(offset).saturating_add(size.into());
        let total = u64::from(self.total_size);
        let parts = [(self.struct_offset, self.struct_size), (self.strings_offset, self.strings_size)];
        let inside = |&(offset, size): &(u32, u32)| offset >= HEADER && end(offset, size) <= total;
        if self.version < MIN_VERSION || !parts.iter().all(inside) || !self.struct_offset.is_multiple_of(4) {
            let Self { version, total_size, .. } = self;
            let found = format!("version {version}, {total_size} bytes, its parts outside of them");
            faults.damaged(format!("header of the device tree: {found}: it is damaged"));
            return Ok(());
        }
        if !faults.has_all("the device tree", total, input.len()) {
            return Ok(());
        }
        let mut walk = Walk {
            at: self.struct_offset.into(),
            end: end(self.struct_offset, self.struct_size),
            depth: 0,
            external: External::default(),
            last: total,
        };
        match walk.run(self, input)? {
            Some(offset) => {
                faults.damaged(format!("device tree at {offset:#010x}: no node or property: it is damaged"));
            }
            None => drop(faults.has_all("the FIT with the images behind it", walk.last, input.len())),
        }
        Ok(())
    }
}

/// Where the image of a FIT node is, when it is behind the tree. U-Boot: `data-size`, `data-offset`, `data-position`.
#[derive(Default)]
struct External {
    size: u32,
    offset: Option<u32>,
    position: Option<u32>,
}

struct Walk {
    /// Bytes from the start of the image.
    at: u64,
    /// End of the structure.
    end: u64,
    /// Nodes that are open.
    depth: u32,
    /// Of the innermost.
    external: External,
    /// Where the image as a whole ends, as far as is known.
    last: u64,
}

impl Walk {
    /// Walks over all words; returns where one is that cannot be.
    fn run(&mut self, tree: &DeviceTree, input: &mut Input<'_>) -> Result<Option<u64>, Error> {
        loop {
            let at = self.at;
            let Some(word) = self.word(input)? else { return Ok(Some(at)) };
            let sound = match word {
                token::BEGIN_NODE => {
                    self.depth = self.depth.saturating_add(1);
                    self.external = External::default();
                    self.name(input)?
                }
                token::END_NODE => {
                    self.close(tree);
                    self.depth.checked_sub(1).map(|depth| self.depth = depth).is_some()
                }
                token::PROPERTY => self.property(tree, input)?,
                token::NOP => true,
                token::END => return Ok((self.depth > 0).then_some(at)),
                _ => false,
            };
            if !sound {
                return Ok(Some(at));
            }
        }
    }

    fn word(&mut self, input: &mut Input<'_>) -> Result<Option<u32>, Error> {
        let next = self.at.saturating_add(4);
        if next > self.end {
            return Ok(None);
        }
        let word = u32::from_be_bytes(input.array(self.at)?);
        self.at = next;
        Ok(Some(word))
    }

    /// Goes past the name of a node: its NUL is in the last of its words.
    fn name(&mut self, input: &mut Input<'_>) -> Result<bool, Error> {
        while let Some(word) = self.word(input)? {
            if word.to_be_bytes().contains(&0) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn property(&mut self, tree: &DeviceTree, input: &mut Input<'_>) -> Result<bool, Error> {
        let (Some(len), Some(name)) = (self.word(input)?, self.word(input)?) else { return Ok(false) };
        let next = self.at.saturating_add(u64::from(len).next_multiple_of(4));
        if next > self.end || name >= tree.strings_size {
            return Ok(false);
        }
        if len == 4 && tree.is_fit {
            let value = u32::from_be_bytes(input.array(self.at)?);
            let left = tree.strings_size.saturating_sub(name);
            let mut bytes = [0; MAX_NAME];
            let have = usize::try_from(left).unwrap_or(MAX_NAME).min(MAX_NAME);
            let start = u64::from(tree.strings_offset).saturating_add(name.into());
            input.read(start, bytes.get_mut(..have).unwrap_or_default())?;
            match bytes.split(|&byte| byte == 0).next() {
                Some(b"data-size") => self.external.size = value,
                Some(b"data-offset") => self.external.offset = Some(value),
                Some(b"data-position") => self.external.position = Some(value),
                _ => {}
            }
        }
        self.at = next;
        Ok(true)
    }

    /// A node ends: what it has behind the tree counts. `data-offset` is from the end of the tree, rounded up to 4.
    fn close(&mut self, tree: &DeviceTree) {
        let External { size, offset, position } = std::mem::take(&mut self.external);
        let base = u64::from(tree.total_size).next_multiple_of(4);
        let start = position.map(u64::from).or(offset.map(|offset| base.saturating_add(offset.into())));
        if let Some(start) = start {
            self.last = self.last.max(start.saturating_add(size.into()));
        }
    }
}
