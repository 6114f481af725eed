//! Names of one host directory, in one piece: a directory may have a million of them.

use std::ffi::CStr;

/// A list of names.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// All names, each with its NUL.
    bytes: Vec<u8>,
    /// First byte of each name.
    starts: Vec<usize>,
}

impl Names {
    pub(crate) fn push(&mut self, name: &CStr) {
        self.starts.push(self.bytes.len());
        self.bytes.extend_from_slice(name.to_bytes_with_nul());
    }

    /// Puts the names into byte order.
    pub(crate) fn sort(&mut self) {
        let bytes = &self.bytes;
        self.starts.sort_unstable_by(|&a, &b| at(bytes, a).cmp(at(bytes, b)));
    }

    /// The name of that index, which is below the number of names.
    pub(crate) fn get(&self, index: u32) -> &CStr {
        at(&self.bytes, self.starts[index as usize])
    }

    /// All names, in their order, each with its index. No directory has 2^32.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &CStr)> {
        (0..).zip(self.starts.iter().map(|&start| at(&self.bytes, start)))
    }
}

/// The name at a start of a name: there is a NUL behind each.
fn at(bytes: &[u8], start: usize) -> &CStr {
    CStr::from_bytes_until_nul(&bytes[start..]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_out_in_byte_order() {
        let mut names = Names::default();
        [c"b", c"\xff", c"ab", c"a"].into_iter().for_each(|name| names.push(name));
        names.sort();
        let all: Vec<_> = names.iter().collect();
        assert_eq!(all, [(0, c"a"), (1, c"ab"), (2, c"b"), (3, c"\xff")]);
        assert_eq!(names.get(2), c"b");
    }
}
