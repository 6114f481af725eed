//! Device trees, and FIT images, which are device trees with images in them or behind them.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use flashwright_media::{Endian, Fields};
use sha2::Digest;

use super::{Faults, Input};
use crate::report::Sha256;

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
/// Bytes of a text that are looked at: a name of a node or property, an algorithm, a hash.
const MAX_TEXT: usize = 32;
/// Nodes that are open, the one at hand included: `/images`, an image in it, a hash in that.
const IN_IMAGES: u32 = 2;
const IN_IMAGE: u32 = 3;
const IN_HASH: u32 = 4;
/// So often all bytes are hashed: images of a FIT do not overlap, and have a few hashes each.
const MAX_ROUNDS: u64 = 8;

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

    /// The parts lie where they can, nodes open and close; of a FIT, all images are there, and what they hash to. Its
    /// signatures are not looked at: the keys are in the boot loader.
    pub(super) fn check(&self, input: &mut Input<'_>, faults: &mut Faults) {
        let end = |offset: u32, size: u32| u64::from(offset).saturating_add(size.into());
        let total = u64::from(self.total_size);
        let parts = [(self.struct_offset, self.struct_size), (self.strings_offset, self.strings_size)];
        let inside = |&(offset, size): &(u32, u32)| offset >= HEADER && end(offset, size) <= total;
        if self.version < MIN_VERSION || !parts.iter().all(inside) || !self.struct_offset.is_multiple_of(4) {
            let Self { version, total_size, .. } = self;
            let found = format!("version {version}, {total_size} bytes, its parts outside of them");
            faults.damaged(format!("header of the device tree: {found}: it is damaged"));
            return;
        }
        if !faults.has_all("the device tree", total, input.len()) {
            return;
        }
        let rounds = input.len().saturating_mul(MAX_ROUNDS);
        let mut walk = Walk {
            tree: self,
            input,
            faults,
            at: self.struct_offset.into(),
            end: end(self.struct_offset, self.struct_size),
            depth: 0,
            in_images: false,
            image: FitImage::default(),
            hash: None,
            last: total,
            budget: rounds,
        };
        let stray = walk.run();
        let last = walk.last;
        match stray {
            Some(offset) => {
                faults.damaged(format!("device tree at {offset:#010x}: no node or property: it is damaged"));
            }
            None => drop(faults.has_all("the FIT with the images behind it", last, input.len())),
        }
    }
}

/// Some bytes: the first, from the start of the image; how many.
type Span = (u64, u32);

/// A node under `/images`.
#[derive(Default)]
struct FitImage {
    /// Its name, up to its NUL.
    name: u64,
    /// `data`: within the tree.
    data: Option<Span>,
    /// `data-size`, `data-offset` and `data-position`: behind the tree.
    size: u32,
    offset: Option<u32>,
    position: Option<u32>,
}

/// A node `hash…` in such a node.
#[derive(Default)]
struct Hash {
    algorithm: Span,
    value: Span,
}

struct Walk<'a, 'b> {
    tree: &'a DeviceTree,
    input: &'a mut Input<'b>,
    faults: &'a mut Faults,
    /// Bytes from the start of the image.
    at: u64,
    /// End of the structure.
    end: u64,
    /// Nodes that are open.
    depth: u32,
    in_images: bool,
    /// The last one that was opened.
    image: FitImage,
    /// The one that is open.
    hash: Option<Hash>,
    /// Where the image as a whole ends, as far as is known.
    last: u64,
    /// Bytes that may still be hashed.
    budget: u64,
}

impl Walk<'_, '_> {
    /// Walks over all words; returns where one is that cannot be.
    fn run(&mut self) -> Option<u64> {
        loop {
            let at = self.at;
            let Some(word) = self.word() else { return Some(at) };
            let sound = match word {
                token::BEGIN_NODE => {
                    self.depth = self.depth.saturating_add(1);
                    self.open();
                    self.name()
                }
                token::END_NODE => {
                    self.close();
                    self.depth.checked_sub(1).map(|depth| self.depth = depth).is_some()
                }
                token::PROPERTY => self.property(),
                token::NOP => true,
                token::END => return (self.depth > 0).then_some(at),
                _ => false,
            };
            if !sound {
                return Some(at);
            }
        }
    }

    fn word(&mut self) -> Option<u32> {
        let next = self.at.saturating_add(4);
        if next > self.end {
            return None;
        }
        let word = u32::from_be_bytes(self.input.array(self.at));
        self.at = next;
        Some(word)
    }

    /// Goes past the name of a node: its NUL is in the last of its words.
    fn name(&mut self) -> bool {
        while let Some(word) = self.word() {
            if word.to_be_bytes().contains(&0) {
                return true;
            }
        }
        false
    }

    /// A node starts, its name comes next. Only those of images and their hashes mean something.
    fn open(&mut self) {
        let name = self.text((self.at, u32::MAX));
        match self.depth {
            IN_IMAGES => self.in_images = self.tree.is_fit && name.starts_with(b"images\0"),
            IN_IMAGE => self.image = FitImage { name: self.at, ..FitImage::default() },
            IN_HASH => self.hash = (self.in_images && name.starts_with(b"hash")).then(Hash::default),
            _ => {}
        }
    }

    fn property(&mut self) -> bool {
        let (Some(len), Some(name)) = (self.word(), self.word()) else { return false };
        let start = self.at;
        let next = start.saturating_add(u64::from(len).next_multiple_of(4));
        if next > self.end || name >= self.tree.strings_size {
            return false;
        }
        self.at = next;
        if !self.in_images || !(IN_IMAGE..=IN_HASH).contains(&self.depth) {
            return true;
        }
        let left = self.tree.strings_size.saturating_sub(name);
        let name = u64::from(self.tree.strings_offset).saturating_add(name.into());
        let name = self.text((name, left));
        let name = until_nul(&name);
        if self.depth == IN_HASH {
            match (&mut self.hash, name) {
                (Some(hash), b"algo") => hash.algorithm = (start, len),
                (Some(hash), b"value") => hash.value = (start, len),
                _ => {}
            }
        } else if name == b"data" {
            self.image.data = Some((start, len));
        } else if len == 4 {
            let value = u32::from_be_bytes(self.input.array(start));
            match name {
                b"data-size" => self.image.size = value,
                b"data-offset" => self.image.offset = Some(value),
                b"data-position" => self.image.position = Some(value),
                _ => {}
            }
        }
        true
    }

    /// A node ends. In a FIT, properties come before nodes: an image is known whole when one of its hashes ends.
    fn close(&mut self) {
        if self.depth == IN_HASH
            && let Some(hash) = self.hash.take()
        {
            self.check(&hash);
        }
        if self.in_images && self.depth == IN_IMAGE {
            let (start, len) = self.data().unwrap_or_default();
            self.last = self.last.max(start.saturating_add(len.into()));
        }
    }

    /// Where the data of the image is, in the order that U-Boot looks. `data-offset` is from the end of the tree, rounded
    /// up to 4.
    fn data(&self) -> Option<Span> {
        let FitImage { data, size, offset, position, .. } = self.image;
        let base = u64::from(self.tree.total_size).next_multiple_of(4);
        let behind = position.map(u64::from).or(offset.map(|offset| base.saturating_add(offset.into())));
        behind.map(|start| (start, size)).or(data)
    }

    fn check(&mut self, hash: &Hash) {
        let name = self.text((self.image.name, u32::MAX));
        let name = shown(&name);
        let algorithm = self.text(hash.algorithm);
        let Some((start, len)) = self.data() else {
            self.faults.damaged(format!("image {name} of the FIT: it has a hash, and no data"));
            return;
        };
        let end = start.saturating_add(len.into());
        // That it is cut off is said at the end.
        if end > self.input.len() {
            return;
        }
        let Some(budget) = self.budget.checked_sub(len.into()) else {
            self.faults
                .damaged(format!("image {name} of the FIT: more hashes than images have: it is damaged"));
            return;
        };
        let algorithm = until_nul(&algorithm);
        let hash_len = match algorithm {
            b"crc32" => 4,
            b"sha256" => 32,
            _ => {
                let algorithm = shown(algorithm);
                self.faults.unchecked(format!("image {name} of the FIT: its {algorithm} was not checked"));
                return;
            }
        };
        self.budget = budget;
        let value = self.text(hash.value);
        if hash.value.1 != hash_len {
            let (algorithm, len) = (shown(algorithm), hash.value.1);
            self.faults
                .damaged(format!("image {name} of the FIT: {algorithm} of {len} bytes, expected {hash_len}"));
        } else if hash_len == 4 {
            let [a, b, c, d, ..] = value;
            let found = self.input.crc(start, end);
            let what = format_args!("image {name} of the FIT");
            self.faults.crc(what, start, found, u32::from_be_bytes([a, b, c, d]));
        } else {
            let mut sha256 = sha2::Sha256::new();
            self.input.pieces(start, end, &mut |bytes| sha256.update(bytes));
            let (found, expected) = (Sha256(sha256.finalize().into()), Sha256(value));
            if found != expected {
                self.faults.damaged(format!(
                    "image {name} of the FIT at {start:#010x}: sha256 {found}, expected {expected}"
                ));
            }
        }
    }

    /// The first bytes of a span, then zeros.
    fn text(&mut self, (start, len): Span) -> [u8; MAX_TEXT] {
        let mut bytes = [0; MAX_TEXT];
        let left = self.input.len().saturating_sub(start).min(len.into());
        let have = usize::try_from(left).unwrap_or(MAX_TEXT).min(MAX_TEXT);
        self.input.read(start, bytes.get_mut(..have).unwrap_or_default());
        bytes
    }
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// Text up to its NUL, as far as it is ASCII.
fn shown(bytes: &[u8]) -> String {
    let shown = |&byte: &u8| if byte.is_ascii_graphic() { char::from(byte) } else { '?' };
    until_nul(bytes).iter().map(shown).collect()
}
