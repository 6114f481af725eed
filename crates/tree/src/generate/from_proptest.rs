//! Trees of proptest's random numbers.

use proptest::collection::vec;
use proptest::prelude::*;

use super::Parameters;
use super::spec::{
    IdSpec, KindSpec, LenSpec, MetadataSpec, NameSpec, NodeSpec, PieceSource, PieceSpec, TimeSpec, XattrSpec,
    build,
};
use crate::Tree;

/// Trees within these parameters. They shrink towards fewer nodes, plain names and small files.
pub fn tree(parameters: Parameters) -> impl Strategy<Value = Tree> {
    (metadata(), vec(node(), 0..=parameters.max_nodes))
        .prop_map(move |(root, nodes)| build(&parameters, &root, &nodes))
}

fn node() -> impl Strategy<Value = NodeSpec> {
    (any::<u16>(), name(), kind(), metadata()).prop_map(|(parent, name, kind, metadata)| NodeSpec {
        parent,
        name,
        kind,
        metadata,
    })
}

fn name() -> impl Strategy<Value = NameSpec> {
    prop_oneof![
        5 => any::<u16>().prop_map(NameSpec::Plain),
        2 => any::<u8>().prop_map(NameSpec::Odd),
        1 => (any::<u8>(), any::<u16>()).prop_map(|(byte, len)| NameSpec::Long(byte, len)),
        1 => vec(any::<u8>(), 0..20).prop_map(NameSpec::Bytes),
    ]
}

fn kind() -> impl Strategy<Value = KindSpec> {
    prop_oneof![
        6 => vec(piece(), 0..4).prop_map(KindSpec::File),
        3 => Just(KindSpec::Directory),
        1 => any::<u16>().prop_map(KindSpec::SameFile),
        2 => any::<u16>().prop_map(KindSpec::HardLink),
        2 => name().prop_map(KindSpec::Symlink),
        1 => any::<(u32, u32)>().prop_map(|(major, minor)| KindSpec::CharDevice(major, minor)),
        1 => any::<(u32, u32)>().prop_map(|(major, minor)| KindSpec::BlockDevice(major, minor)),
        1 => prop_oneof![Just(KindSpec::Fifo), Just(KindSpec::Socket)],
    ]
}

fn piece() -> impl Strategy<Value = PieceSpec> {
    let len = prop_oneof![
        any::<u8>().prop_map(LenSpec::Small),
        any::<(u8, i8)>().prop_map(|(log, delta)| LenSpec::Edge(log, delta)),
        any::<u32>().prop_map(LenSpec::Any),
    ];
    (source(), len).prop_map(|(source, len)| PieceSpec { source, len })
}

fn source() -> impl Strategy<Value = PieceSource> {
    prop_oneof![
        2 => any::<u8>().prop_map(PieceSource::Text),
        2 => any::<u8>().prop_map(PieceSource::Noise),
        1 => Just(PieceSource::Hole),
        1 => Just(PieceSource::Zeros),
    ]
}

fn metadata() -> impl Strategy<Value = MetadataSpec> {
    let xattrs = prop_oneof![6 => Just(Vec::new()), 1 => vec(xattr(), 1..4)];
    (any::<u16>(), (id(), id()), time(), xattrs).prop_map(|(permissions, owner, time, xattrs)| MetadataSpec {
        permissions,
        owner,
        time,
        xattrs,
    })
}

fn id() -> impl Strategy<Value = IdSpec> {
    prop_oneof![
        4 => Just(IdSpec::Root),
        1 => any::<u8>().prop_map(IdSpec::FromTop),
        1 => any::<u8>().prop_map(IdSpec::Small),
    ]
}

fn time() -> impl Strategy<Value = TimeSpec> {
    prop_oneof![
        1 => Just(TimeSpec::First),
        1 => Just(TimeSpec::Last),
        4 => any::<(u64, u32)>().prop_map(|(seconds, nanoseconds)| TimeSpec::Any(seconds, nanoseconds)),
    ]
}

fn xattr() -> impl Strategy<Value = XattrSpec> {
    (any::<u8>(), any::<u8>(), source(), any::<u16>()).prop_map(|(prefix, name, value, len)| XattrSpec {
        prefix,
        name,
        value,
        len,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kind, compare};
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    #[test]
    fn some_hundred_trees_have_everything() {
        let mut runner = TestRunner::deterministic();
        let (mut kinds, mut links, mut holes, mut xattrs) = ([0; 7], 0, 0, 0);
        for _ in 0..100 {
            let tree = tree(Parameters::default()).new_tree(&mut runner).unwrap().current();
            assert!(compare(&tree, &tree).unwrap().is_empty());
            for entry in tree.walk() {
                kinds[kind_index(entry.node.kind())] += 1;
                links += usize::from(!entry.first);
                xattrs += entry.node.metadata.xattrs.len();
                holes += entry.node.content().map_or(0, |content| {
                    content.extents().iter().filter(|e| matches!(e.source, crate::Source::Hole)).count()
                });
            }
        }
        assert!(kinds.iter().all(|&count| count > 20) && links > 20 && holes > 20 && xattrs > 20);
    }

    fn kind_index(kind: Kind) -> usize {
        Kind::ALL.into_iter().position(|k| k == kind).unwrap()
    }
}
