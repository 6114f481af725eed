//! The LPT: read as a whole, for the check.

use super::input::Input;
use super::superblock::{Facts, Master};
use super::{Place, ReadError};
use crate::format::lpt::{BitReader, FANOUT, Lprops, LptLayout, LptPlace, LptType, crc16};

/// The LPT as it stands in the image.
#[derive(Debug, Default)]
pub(super) struct Lpt {
    /// Of each LEB of the main area.
    pub(super) lprops: Vec<Lprops>,
    /// Of each LEB of the LPT: free and dirty bytes, as its table says.
    pub(super) table: Vec<(u32, u32)>,
    /// Bytes of nodes in use in each LEB of the LPT.
    pub(super) used: Vec<u64>,
}

/// An nnode or pnode that is to be read: its row, where 0 is the root, and its position in the row.
struct Pending {
    place: LptPlace,
    row: u32,
    index: u32,
}

struct LptReader<'a> {
    facts: &'a Facts,
    input: &'a Input,
    layout: LptLayout,
    lpt: Lpt,
}

/// Reads the whole LPT. The caller has set memory aside for the main area's LEBs.
pub(super) fn read(facts: &Facts, master: &Master, input: &Input) -> Result<Lpt, ReadError> {
    let main = facts.leb_cnt.saturating_sub(facts.main_first);
    let free = Lprops { free: facts.sb.leb_size.get(), dirty: 0, index: false };
    let lpt_lebs = facts.sb.lpt_lebs.get() as usize;
    let lpt = Lpt { lprops: vec![free; main as usize], table: Vec::new(), used: vec![0; lpt_lebs] };
    let mut reader = LptReader { facts, input, layout: facts.lpt_layout(), lpt };
    let node = &master.node;
    let root = LptPlace { lnum: node.lpt_lnum.get(), offs: node.lpt_offs.get() };
    let mut pending = vec![Pending { place: root, row: 0, index: 0 }];
    while let Some(next) = pending.pop() {
        let place = Place { lnum: next.place.lnum, offs: next.place.offs };
        if next.row < reader.layout.height {
            reader.nnode(&next, &mut pending).map_err(|error| error.at(place))?;
        } else {
            reader.pnode(&next).map_err(|error| error.at(place))?;
        }
    }
    reader.table(LptPlace { lnum: node.ltab_lnum.get(), offs: node.ltab_offs.get() })?;
    if reader.layout.big {
        let place = LptPlace { lnum: node.lsave_lnum.get(), offs: node.lsave_offs.get() };
        reader.node(place, LptType::Lsave)?;
    }
    Ok(reader.lpt)
}

impl LptReader<'_> {
    /// The bytes of a node, checked.
    fn node(&mut self, place: LptPlace, node_type: LptType) -> Result<Vec<u8>, ReadError> {
        let at = Place { lnum: place.lnum, offs: place.offs };
        let (what, len) = (node_type.name(), self.layout.len_of(node_type));
        let index = place.lnum.checked_sub(self.facts.lpt_first);
        let used = index.and_then(|index| self.lpt.used.get_mut(index as usize));
        let Some(used) = used else {
            return Err(ReadError::corrupt(what, "a place in the LPT's LEBs", at));
        };
        *used = used.saturating_add(len.into());
        let bytes = self.input.read(at, len, what)?;
        let (crc, found) = BitReader::new(&bytes).head();
        let expected = crc16(bytes.get(2..).unwrap_or_default());
        if crc != expected {
            let found = format!("{crc:#06x}");
            return Err(ReadError::corrupt(what, format!("CRC {expected:#06x}"), found).at(at));
        }
        if LptType::from_number(found) != Some(node_type) {
            let found = LptType::from_number(found).map_or("another type", LptType::name);
            return Err(ReadError::corrupt(what, what, found).at(at));
        }
        Ok(bytes)
    }

    fn check_number(&self, what: &str, expected: u32, found: u32) -> Result<(), ReadError> {
        if !self.layout.numbered() || expected == found {
            return Ok(());
        }
        Err(ReadError::corrupt(what, format!("number {expected}"), found))
    }

    fn nnode(&mut self, at: &Pending, pending: &mut Vec<Pending>) -> Result<(), ReadError> {
        let bytes = self.node(at.place, LptType::Nnode)?;
        let mut bits = BitReader::new(&bytes);
        bits.head();
        let (number, branches) = self.layout.read_nnode(&mut bits);
        self.check_number("nnode", LptLayout::nnode_number(at.row, at.index), number)?;
        // LEBs below each branch.
        let below = self.layout.height.saturating_sub(at.row).saturating_mul(2);
        for (i, (lnum, offs)) in (0u32..).zip(branches) {
            let index = at.index.saturating_mul(4).saturating_add(i);
            let first = u64::from(index).checked_shl(below).unwrap_or(u64::MAX);
            if lnum == self.facts.sb.lpt_lebs.get() || first >= self.lpt.lprops.len() as u64 {
                continue;
            }
            let place = LptPlace { lnum: self.facts.lpt_first.saturating_add(lnum), offs };
            pending.push(Pending { place, row: at.row.saturating_add(1), index });
        }
        Ok(())
    }

    fn pnode(&mut self, at: &Pending) -> Result<(), ReadError> {
        let bytes = self.node(at.place, LptType::Pnode)?;
        let mut bits = BitReader::new(&bytes);
        bits.head();
        let (number, lebs) = self.layout.read_pnode(&mut bits);
        self.check_number("pnode", at.index, number)?;
        let first = (at.index as usize).saturating_mul(FANOUT);
        let leb_size = self.facts.sb.leb_size.get();
        for (place, leb) in self.lpt.lprops.iter_mut().skip(first).zip(lebs) {
            let space = leb.free.saturating_add(leb.dirty);
            if space > leb_size || !leb.free.is_multiple_of(self.facts.sb.min_io_size.get()) {
                let expected =
                    format!("free and dirty space of at most {leb_size} bytes, free in whole writes");
                let found = format!("{} free, {} dirty", leb.free, leb.dirty);
                return Err(ReadError::corrupt("pnode", expected, found));
            }
            *place = leb;
        }
        Ok(())
    }

    fn table(&mut self, place: LptPlace) -> Result<(), ReadError> {
        let bytes = self.node(place, LptType::Ltab)?;
        let mut bits = BitReader::new(&bytes);
        bits.head();
        let lebs = 0..self.facts.sb.lpt_lebs.get();
        self.lpt.table = lebs.map(|_| self.layout.read_ltab_entry(&mut bits)).collect();
        Ok(())
    }
}
