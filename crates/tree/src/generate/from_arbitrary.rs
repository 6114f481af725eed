//! Trees of the bytes that a fuzzer makes.

use arbitrary::{Arbitrary, Result, Unstructured};

use super::Parameters;
use super::spec::{MetadataSpec, NodeSpec, build};
use crate::Tree;

/// A tree with the default [`Parameters`], for `fuzz_target!`.
#[derive(Debug, Clone)]
pub struct ArbitraryTree(pub Tree);

impl<'a> Arbitrary<'a> for ArbitraryTree {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        arbitrary_tree(u, &Parameters::default()).map(ArbitraryTree)
    }
}

/// A tree within these parameters.
///
/// # Errors
/// As [`Unstructured`] has them; running out of bytes is none, the tree is then smaller.
pub fn arbitrary_tree(u: &mut Unstructured<'_>, parameters: &Parameters) -> Result<Tree> {
    let root = MetadataSpec::arbitrary(u)?;
    let mut nodes = Vec::new();
    while nodes.len() < parameters.max_nodes && !u.is_empty() {
        nodes.push(NodeSpec::arbitrary(u)?);
    }
    Ok(build(parameters, &root, &nodes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_make_a_tree() {
        for len in [0, 1, 10, 100, 10_000] {
            let bytes: Vec<u8> = (0..len).map(|i: u32| (i * i / 3).to_le_bytes()[0]).collect();
            let tree = ArbitraryTree::arbitrary(&mut Unstructured::new(&bytes)).unwrap().0;
            assert!(tree.walk().count() <= 41);
            assert!(len < 10_000 || tree.walk().count() > 10);
        }
    }
}
