//! Eraseblocks and pages, as far as an image tells.

use flashwright_tree::{Finding, Findings};

use super::ReadOptions;
use super::index::Placed;
use super::scan::{Lead, Scan};
use crate::format::{MIN_ERASEBLOCK, NodeHeader, Record};
use crate::options::MAX_ERASEBLOCK;

/// Smallest and largest page of a flash that is told by padding, bytes.
const PAGES: std::ops::RangeInclusive<u64> = 256..=16 << 10;

/// Eraseblock and page size of the flash that an image was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Geometry {
    /// Bytes of an eraseblock; `None` when the image does not tell, as one that is shorter than two of them may not.
    pub eraseblock: Option<u32>,
    /// Start of an eraseblock, bytes from the start of the image, below `eraseblock`: 0 unless something else comes first.
    pub origin: u64,
    /// Bytes of a page, for flash that is written by pages; `None` for NOR, or when nothing tells.
    pub page_size: Option<u32>,
    /// Bytes of the cleanmarkers; `None` without any.
    pub cleanmarker_len: Option<u32>,
}

impl Geometry {
    pub(super) fn of(scan: &mut Scan, options: &ReadOptions) -> Self {
        let told = scan.summarised.or_else(|| by_cleanmarkers(scan));
        let guess = || by_borders(scan, start_of(scan));
        let eraseblock = options.eraseblock.or(told.map(|(_, len)| len)).or_else(guess);
        let start = told.map_or_else(|| start_of(scan), |(start, _)| start);
        let markers = scan.cleanmarkers;
        let cleanmarker_len = (markers.count > 0).then_some(markers.len);
        Geometry {
            eraseblock,
            origin: eraseblock.and_then(|len| start.checked_rem(len.into())).unwrap_or(start),
            page_size: options.page_size.or_else(|| page_size(scan)),
            cleanmarker_len,
        }
    }

    /// Finds nodes and erased flash that do not fit into the eraseblocks.
    pub(super) fn check(&self, scan: &Scan, findings: &mut Findings) {
        self.check_lead(scan, findings);
        let Some(eraseblock) = self.eraseblock else { return };
        let borders = Borders { scan, origin: self.origin, eraseblock };
        borders.check(&scan.nodes.inodes, findings);
        borders.check(&scan.nodes.dirents, findings);
        borders.check(&scan.nodes.xattrs, findings);
        borders.check(&scan.nodes.xrefs, findings);
        for &(from, to) in &scan.gaps {
            if borders.number(from) == borders.number(to) {
                let found = format!("a node at {:#x}", scan.start.saturating_add(to.into()));
                let finding = Finding::warning("erased flash", "up to the end of the eraseblock", found);
                findings.add(finding.at(scan.start.saturating_add(from.into())));
            }
        }
    }

    /// A damaged first node looks like something else before the image.
    fn check_lead(&self, scan: &Scan, findings: &mut Findings) {
        let block_start = self.eraseblock.filter(|_| scan.lead == Lead::Other).and_then(|eraseblock| {
            let into = scan.start.saturating_sub(self.origin).checked_rem(eraseblock.into())?;
            scan.start.checked_sub(into)
        });
        let from = if scan.lead == Lead::Node { Some(0) } else { block_start };
        if let Some(from) = from.filter(|&from| from < scan.start) {
            let found = format!("other bytes up to {:#x}", scan.start);
            findings
                .add(Finding::error("first node", "at the start of an eraseblock", found).damage().at(from));
        }
    }
}

/// Where an eraseblock begins when nothing but the first node tells.
const fn start_of(scan: &Scan) -> u64 {
    match scan.lead {
        Lead::Nothing | Lead::Erased | Lead::Node => 0,
        Lead::Other => scan.start,
    }
}

fn by_cleanmarkers(scan: &Scan) -> Option<(u64, u32)> {
    let markers = scan.cleanmarkers;
    (MIN_ERASEBLOCK..=MAX_ERASEBLOCK)
        .contains(&markers.step)
        .then(|| (scan.start.saturating_add(markers.first.into()), markers.step))
}

/// The smallest power of two at whose multiples no node is cut, when there are a few such multiples.
fn by_borders(scan: &Scan, start: u64) -> Option<u32> {
    let sizes = std::iter::successors(Some(MIN_ERASEBLOCK), |&size| size.checked_mul(2));
    let mut sizes = sizes.take_while(|&size| size <= MAX_ERASEBLOCK);
    let nodes = &scan.nodes;
    sizes.find(|&eraseblock| {
        let borders = Borders { scan, origin: start, eraseblock };
        borders.whole(&nodes.inodes)
            && borders.whole(&nodes.dirents)
            && borders.whole(&nodes.xattrs)
            && borders.whole(&nodes.xrefs)
            && scan.end >= eraseblock.saturating_mul(2)
    })
}

/// Padding ends where a page does, and on flash with pages a cleanmarker has one for itself.
fn page_size(scan: &Scan) -> Option<u32> {
    let marker = u64::from(scan.cleanmarkers.len);
    if marker > NodeHeader::LEN.into() && marker.is_power_of_two() {
        return u32::try_from(marker).ok();
    }
    let step = scan.padding_step;
    let page = step.checked_shr(step.trailing_zeros()).map(|odd| step.checked_div(odd).unwrap_or_default());
    let page = page.filter(|page| step != 0 && page >= PAGES.start())?;
    u32::try_from(page.min(*PAGES.end())).ok()
}

struct Borders<'a> {
    scan: &'a Scan,
    origin: u64,
    eraseblock: u32,
}

impl Borders<'_> {
    /// Number of the eraseblock that holds the byte at `at` from the first node.
    fn number(&self, at: u32) -> u64 {
        // One eraseblock up, so that what lies before the origin has a number too.
        let at = self.scan.start.saturating_add(at.into()).saturating_add(self.eraseblock.into());
        at.saturating_sub(self.origin).checked_div(self.eraseblock.into()).unwrap_or_default()
    }

    fn crosses(&self, node: &impl Placed) -> bool {
        let last = node.at().saturating_add(node.len().saturating_sub(1));
        self.number(node.at()) != self.number(last)
    }

    fn whole<N: Placed>(&self, nodes: &[N]) -> bool {
        !nodes.iter().any(|node| self.crosses(node))
    }

    fn check<N: Placed>(&self, nodes: &[N], findings: &mut Findings) {
        for node in nodes.iter().filter(|node| self.crosses(*node)) {
            let expected = format!("inside one eraseblock of {} bytes", self.eraseblock);
            let finding = Finding::error("node", expected, "a node across two of them");
            findings.add(finding.at(self.scan.start.saturating_add(node.at().into())));
        }
    }
}
