//! Extended attributes of one node.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, DerefMut};

/// Values by name.
type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// Extended attributes by full name, prefix included (`user.mime_type`, `security.capability`). Used like the map it
/// holds; a node without any, as most are, has no map at all.
#[derive(Debug, Clone, Default)]
pub struct Xattrs(Option<Box<Map>>);

impl Xattrs {
    /// No attributes.
    #[must_use]
    pub const fn new() -> Self {
        Xattrs(None)
    }
}

impl Deref for Xattrs {
    type Target = Map;

    fn deref(&self) -> &Map {
        static NONE: Map = Map::new();
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl DerefMut for Xattrs {
    fn deref_mut(&mut self) -> &mut Map {
        self.0.get_or_insert_default()
    }
}

// A map that became empty is as good as none.
impl PartialEq for Xattrs {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Xattrs {}

impl Hash for Xattrs {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl FromIterator<(Vec<u8>, Vec<u8>)> for Xattrs {
    fn from_iter<I: IntoIterator<Item = (Vec<u8>, Vec<u8>)>>(iter: I) -> Self {
        let map = Map::from_iter(iter);
        Xattrs((!map.is_empty()).then(|| Box::new(map)))
    }
}

impl<const N: usize> From<[(Vec<u8>, Vec<u8>); N]> for Xattrs {
    fn from(xattrs: [(Vec<u8>, Vec<u8>); N]) -> Self {
        xattrs.into_iter().collect()
    }
}

impl<'a> IntoIterator for &'a Xattrs {
    type Item = (&'a Vec<u8>, &'a Vec<u8>);
    type IntoIter = std::collections::btree_map::Iter<'a, Vec<u8>, Vec<u8>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Xattrs {
    type Item = (Vec<u8>, Vec<u8>);
    type IntoIter = std::collections::btree_map::IntoIter<Vec<u8>, Vec<u8>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.map_or_else(Map::new, |map| *map).into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_left_equals_none_at_all() {
        let mut xattrs = Xattrs::from([(b"user.a".to_vec(), b"1".to_vec())]);
        assert_eq!(xattrs.get(&b"user.a"[..]), Some(&b"1".to_vec()));
        assert_ne!(xattrs, Xattrs::new());
        xattrs.remove(&b"user.a"[..]);
        assert_eq!(xattrs, Xattrs::new());
        assert_eq!(xattrs.into_iter().count(), 0);
        assert!(Xattrs::from_iter([]).0.is_none());
    }
}
