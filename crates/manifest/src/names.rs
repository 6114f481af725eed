//! Names of a host directory in byte order, some at a time: a directory may have more than fit into memory.

use std::ffi::{CStr, CString};

use rustix::fs::Dir;
use rustix::io::Errno;

/// Memory that the names of one pass may take, bytes; while they are chosen twice as much.
const LIMIT: usize = 8 << 20;

/// The names of one pass over a directory: the first of those that come after the last pass.
#[derive(Debug)]
pub(crate) struct Names {
    /// All names, each with its NUL.
    bytes: Vec<u8>,
    /// First byte of each name.
    starts: Vec<u32>,
    limit: usize,
    /// The last name that is kept where names were left for another pass: greater ones are left, too.
    bound: Option<CString>,
    begun: bool,
}

impl Default for Names {
    fn default() -> Self {
        Names::with_limit(LIMIT)
    }
}

impl Names {
    const fn with_limit(limit: usize) -> Self {
        Names { bytes: Vec::new(), starts: Vec::new(), limit, bound: None, begun: false }
    }

    /// Reads the next names in byte order; false when there are none.
    pub(crate) fn read_more(&mut self, dir: &mut Dir) -> Result<bool, Errno> {
        if self.begun && self.bound.is_none() {
            return Ok(false);
        }
        let after = self.bound.take();
        if self.begun {
            dir.rewind();
        }
        *self = Names { begun: true, ..Names::with_limit(self.limit) };
        while let Some(entry) = dir.read() {
            let entry = entry?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                self.push(entry.file_name(), after.as_deref());
            }
        }
        self.sort();
        self.keep_first();
        Ok(!self.starts.is_empty())
    }

    fn push(&mut self, name: &CStr, after: Option<&CStr>) {
        let bound = self.bound.as_ref();
        if after.is_some_and(|after| name <= after) || bound.is_some_and(|bound| name > bound.as_c_str()) {
            return;
        }
        self.append(name);
        if Self::memory(self.starts.len(), self.bytes.len()) > 2 * self.limit {
            self.sort();
            self.keep_first();
        }
    }

    fn append(&mut self, name: &CStr) {
        // Twice the limit and a name at most.
        self.starts.push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
        self.bytes.extend_from_slice(name.to_bytes_with_nul());
    }

    const fn memory(names: usize, bytes: usize) -> usize {
        names * size_of::<u32>() + bytes
    }

    fn sort(&mut self) {
        let bytes = &self.bytes;
        self.starts.sort_unstable_by(|&a, &b| at(bytes, a).cmp(at(bytes, b)));
    }

    /// Leaves what is beyond the limit to a later pass.
    fn keep_first(&mut self) {
        if Self::memory(self.starts.len(), self.bytes.len()) <= self.limit {
            return;
        }
        let mut kept = Names { begun: true, ..Names::with_limit(self.limit) };
        for name in self.iter() {
            let bytes = kept.bytes.len() + name.to_bytes_with_nul().len();
            if !kept.starts.is_empty() && Self::memory(kept.starts.len() + 1, bytes) > self.limit {
                break;
            }
            kept.append(name);
        }
        kept.bound = kept.iter().last().map(CStr::to_owned);
        *self = kept;
    }

    /// The names in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &CStr> {
        self.starts.iter().map(|&start| at(&self.bytes, start))
    }
}

/// The name at a start of a name: there is a NUL behind each.
fn at(bytes: &[u8], start: u32) -> &CStr {
    CStr::from_bytes_until_nul(&bytes[start as usize..]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn names_come_in_byte_order_in_as_many_passes_as_it_takes() {
        let folder = tempfile::tempdir().unwrap();
        let mut expected: Vec<CString> =
            (0..500).map(|number| CString::new(format!("{:x}", number * 7919 % 65_521)).unwrap()).collect();
        expected.extend([c"\u{ff}", c"a b", c"~"].map(CString::from));
        for name in &expected {
            fs::write(folder.path().join(name.to_str().unwrap()), "").unwrap();
        }
        expected.sort();
        for (limit, passes) in [(1 << 20, 1..2), (1000, 4..9), (1, 503..504)] {
            let mut dir = Dir::new(fs::File::open(folder.path()).unwrap()).unwrap();
            let mut names = Names::with_limit(limit);
            let (mut all, mut count) = (Vec::new(), 0);
            while names.read_more(&mut dir).unwrap() {
                all.extend(names.iter().map(CStr::to_owned));
                count += 1;
            }
            assert_eq!(all, expected, "{limit}");
            assert!(passes.contains(&count), "{count} passes");
        }
    }
}
