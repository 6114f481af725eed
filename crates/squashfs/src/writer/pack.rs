//! Compression of one block: which settings to try, and which result to keep.

use std::collections::BTreeSet;

use flashwright_codec::{CodecError, Compressor, lz4, lzo, xz, zlib, zstd};

use super::kind::{DataKind, Machine};
use crate::format::{DATA_UNCOMPRESSED, METADATA_SIZE};
use crate::options::{Bcj, Effort, Method, Options};

/// lc, lp and pb of LZMA.
type Bits = (u8, u8, u8);

/// A block as it is stored.
pub(super) struct PackedBlock {
    pub(super) bytes: Vec<u8>,
    /// Size word of the inode or fragment table: length, and the bit for "stored as it is".
    pub(super) word: u32,
    /// Branch filter that was kept.
    pub(super) bcj: Option<Bcj>,
}

/// Compresses blocks with an image's settings. One for each thread.
pub(super) struct Packer {
    engine: Engine,
}

enum Engine {
    /// One setting for everything.
    Plain(Box<dyn Compressor>),
    /// xz with a choice for each block.
    Choice { base: xz::Settings, filters: BTreeSet<Bcj>, search: bool },
}

impl Packer {
    /// For data and fragment blocks.
    pub(super) fn for_data(options: &Options) -> Result<Self, CodecError> {
        let filters = options.bcj();
        let search = options.effort == Effort::Max;
        let engine = match &options.method {
            Method::Xz { preset, .. } if search || !filters.is_empty() => {
                Engine::Choice { base: options.xz(*preset, options.block_size), filters, search }
            }
            _ => Engine::Plain(compressor(options, options.block_size)?),
        };
        Ok(Packer { engine })
    }

    /// The block as it will be stored: the smallest that was found, or as it is when nothing is smaller.
    pub(super) fn pack(
        &mut self,
        data: Vec<u8>,
        kinds: &BTreeSet<DataKind>,
    ) -> Result<PackedBlock, CodecError> {
        let mut best = Vec::new();
        let mut bcj = None;
        let limit = data.len().saturating_sub(1);
        let fits = match &mut self.engine {
            Engine::Plain(compressor) => compressor.compress(&data, limit, &mut best)?,
            Engine::Choice { base, filters, search } => {
                for settings in candidates(base, filters, *search, kinds) {
                    let limit = if best.is_empty() { limit } else { best.len() - 1 };
                    let mut output = Vec::new();
                    if xz::compress(&settings, &data, limit, &mut output)? {
                        (best, bcj) = (output, settings.bcj);
                    }
                }
                !best.is_empty()
            }
        };
        Ok(if fits { PackedBlock { word: word(&best), bytes: best, bcj } } else { stored(data) })
    }
}

/// A block that is not compressed.
pub(super) fn stored(data: Vec<u8>) -> PackedBlock {
    PackedBlock { word: word(&data) | DATA_UNCOMPRESSED, bytes: data, bcj: None }
}

fn word(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or_else(|_| unreachable!("a block has at most 1 MiB"))
}

/// The settings to try on a block, in an order where the first of equals is kept.
fn candidates(
    base: &xz::Settings,
    filters: &BTreeSet<Bcj>,
    search: bool,
    kinds: &BTreeSet<DataKind>,
) -> Vec<xz::Settings> {
    let mut all = vec![*base];
    for &kind in kinds {
        // Long matches are worth a search in text; machine code does not get smaller, measured on ARM.
        let thorough = if kind == DataKind::Text { base.with_longest_search() } else { *base };
        if search {
            all.extend(plain_bits(kind).iter().map(|&(lc, lp, pb)| thorough.with_bits(lc, lp, pb)));
        }
        let DataKind::Code(machine) = kind else { continue };
        for &bcj in machine.filters().iter().filter(|bcj| filters.contains(bcj)) {
            let (usual, others) = filter_bits(bcj);
            let others = if search { others } else { &[] };
            let bits = [usual].into_iter().chain(others.iter().copied());
            all.extend(bits.map(|(lc, lp, pb)| base.with_bcj(Some(bcj)).with_bits(lc, lp, pb)));
        }
    }
    all
}

/// `(lc, lp, pb)` worth trying on data of a kind, besides the preset's (3, 0, 2). Text has no alignment; machine code
/// and tables have one of 2 or 4 bytes. Chosen by trying all sixteen on a Debian armhf root.
const fn plain_bits(kind: DataKind) -> &'static [Bits] {
    match kind {
        DataKind::Text => &[(4, 0, 0), (3, 0, 0)],
        DataKind::Code(Machine::Other) => &[(2, 2, 2), (0, 2, 2), (3, 0, 0)],
        DataKind::Code(Machine::X86) => &[(3, 0, 0), (4, 0, 0)],
        DataKind::Code(Machine::Arm) => &[(2, 1, 2), (4, 0, 0)],
        DataKind::Other | DataKind::Code(_) => &[(2, 2, 2), (4, 0, 0)],
    }
}

/// `(lc, lp, pb)` for code behind a filter, and others worth trying: instructions of 4, 2 or 1 bytes.
const fn filter_bits(bcj: Bcj) -> (Bits, &'static [Bits]) {
    match bcj {
        Bcj::Arm | Bcj::Arm64 | Bcj::PowerPc | Bcj::Sparc => ((2, 2, 2), &[(0, 2, 2)]),
        Bcj::ArmThumb | Bcj::RiscV => ((2, 1, 2), &[(0, 1, 1)]),
        Bcj::X86 => ((3, 0, 2), &[(3, 0, 0)]),
    }
}

/// The compressor of metadata blocks; `None` when they are stored.
pub(super) fn metadata_compressor(
    options: &Options,
    store: bool,
) -> Result<Option<Box<dyn Compressor>>, CodecError> {
    let size = u32::try_from(METADATA_SIZE).unwrap_or_else(|_| unreachable!("8192"));
    if store { Ok(None) } else { compressor(options, size).map(Some) }
}

fn compressor(options: &Options, unit: u32) -> Result<Box<dyn Compressor>, CodecError> {
    Ok(match &options.method {
        Method::Gzip { level } => zlib::compressor(options.zlib_level(*level)?)?,
        Method::Zstd { level } => zstd::compressor(options.zstd_level(*level)?)?,
        Method::Xz { preset, .. } => xz::compressor(options.xz(*preset, unit)),
        Method::Lz4 { hc } => lz4::compressor(options.lz4_mode(*hc)),
        Method::Lzo => lzo::compressor(),
    })
}
