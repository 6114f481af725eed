//! Plain numbers that any source of randomness can make, and the tree they stand for. Every list of them is a valid
//! tree: what does not fit the parameters is bent until it does. So shrinking is simply removing and lowering.

use std::collections::BTreeMap;

use super::Parameters;
use crate::{Content, Device, Metadata, Node, NodeId, NodeKind, Source, Timestamp, Tree, Xattrs};

/// One node to be.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub(super) struct NodeSpec {
    /// Which of the directories made so far holds it.
    pub(super) parent: u16,
    pub(super) name: NameSpec,
    pub(super) kind: KindSpec,
    pub(super) metadata: MetadataSpec,
}

#[derive(Debug, Clone)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub(super) enum NameSpec {
    /// A short lower-case name.
    Plain(u16),
    /// One of [`ODD_NAMES`].
    Odd(u8),
    /// That byte again and again.
    Long(u8, u16),
    /// These bytes, without those that no name can have.
    Bytes(Vec<u8>),
}

#[derive(Debug, Clone)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub(super) enum KindSpec {
    Directory,
    File(Vec<PieceSpec>),
    /// A file with the data of an earlier one.
    SameFile(u16),
    /// One more name of an earlier node.
    HardLink(u16),
    Symlink(NameSpec),
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
    Fifo,
    Socket,
}

/// A run of a file. Few different ones, so that files share blocks, tails and all.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub(super) struct PieceSpec {
    pub(super) source: PieceSource,
    pub(super) len: LenSpec,
}

#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub(super) enum PieceSource {
    Hole,
    Zeros,
    /// A text that compresses well.
    Text(u8),
    /// Bytes that do not compress.
    Noise(u8),
}

#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub(super) enum LenSpec {
    Small(u8),
    /// A power of two, and up to two bytes more or less: where blocks end.
    Edge(u8, i8),
    Any(u32),
}

#[derive(Debug, Clone)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub(super) struct MetadataSpec {
    pub(super) permissions: u16,
    pub(super) owner: (IdSpec, IdSpec),
    pub(super) time: TimeSpec,
    pub(super) xattrs: Vec<XattrSpec>,
}

#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub(super) enum IdSpec {
    Root,
    /// Counted down from the largest.
    FromTop(u8),
    Small(u8),
}

#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub(super) enum TimeSpec {
    First,
    Last,
    Any(u64, u32),
}

#[derive(Debug, Clone)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub(super) struct XattrSpec {
    pub(super) prefix: u8,
    pub(super) name: u8,
    pub(super) value: PieceSource,
    pub(super) len: u16,
}

/// Names that break careless programs.
const ODD_NAMES: [&[u8]; 20] = [
    b"new\nline",
    b"tab\t",
    b" ",
    b" leading and trailing ",
    b"\xff",
    b"latin-\xe9",
    b"\xc3\xa9",
    b"\xed\xa0\x80",
    b"...",
    b".hidden",
    b"-rf",
    b"--",
    b"*",
    b"back\\slash",
    b"\"quoted\"",
    b"$(reboot)",
    b"\x1b[31m",
    b"#comment",
    b"a=b",
    b"\x01",
];

/// Makes the tree. `root` is the metadata of the root directory.
pub(super) fn build(parameters: &Parameters, root: &MetadataSpec, nodes: &[NodeSpec]) -> Tree {
    let mut tree = Tree::new();
    tree.node_mut(Tree::ROOT).metadata = metadata(parameters, root);
    let mut builder = Builder {
        parameters,
        tree,
        directories: vec![(Tree::ROOT, 0)],
        others: Vec::new(),
        files: Vec::new(),
        suffixes: BTreeMap::new(),
    };
    nodes.iter().take(parameters.max_nodes).for_each(|node| builder.add(node));
    builder.tree
}

struct Builder<'a> {
    parameters: &'a Parameters,
    tree: Tree,
    /// Directories with their depth; the root has 0.
    directories: Vec<(NodeId, usize)>,
    /// Nodes that may get more names.
    others: Vec<NodeId>,
    files: Vec<Content>,
    /// Numbers that names ended with, to find free ones without trying all.
    suffixes: BTreeMap<NodeId, u32>,
}

impl Builder<'_> {
    fn add(&mut self, spec: &NodeSpec) {
        let (parent, depth) = pick(&self.directories, spec.parent).unwrap_or((Tree::ROOT, 0));
        let name = self.free_name(parent, self.name(&spec.name, self.parameters.max_name));
        if let KindSpec::HardLink(target) = &spec.kind
            && self.parameters.hard_links
            && let Some(target) = pick(&self.others, *target)
        {
            // Names are free, and no directory is in `others`, so this cannot fail.
            self.tree.link(parent, &name, target).ok();
            return;
        }
        let kind = self.kind(&spec.kind, depth);
        let is_directory = matches!(kind, NodeKind::Directory);
        let mut node = Node::new(metadata(self.parameters, &spec.metadata), kind);
        if matches!(node.kind, NodeKind::Symlink(_)) {
            // Linux has no other mode for them.
            node.metadata.permissions = 0o777;
        }
        // Names are free and valid, so this fails only beyond 2^32 nodes.
        let Ok(id) = self.tree.insert(parent, &name, node) else { return };
        if is_directory {
            self.directories.push((id, depth + 1));
        } else {
            self.others.push(id);
        }
    }

    fn kind(&mut self, spec: &KindSpec, depth: usize) -> NodeKind {
        let device = |major: u32, minor: u32| Device {
            major: major % (self.parameters.max_major.saturating_add(1)).max(1),
            minor: minor % (self.parameters.max_minor.saturating_add(1)).max(1),
        };
        let special = self.parameters.special_nodes;
        match spec {
            KindSpec::Directory if depth < self.parameters.max_depth => NodeKind::Directory,
            KindSpec::File(pieces) => self.file(content(self.parameters, pieces)),
            KindSpec::SameFile(index) => {
                let content = usize::from(*index).checked_rem(self.files.len());
                NodeKind::File(content.map(|index| self.files[index].clone()).unwrap_or_default())
            }
            KindSpec::Symlink(target) => NodeKind::Symlink(self.name(target, self.parameters.max_target)),
            KindSpec::CharDevice(major, minor) if special => NodeKind::CharDevice(device(*major, *minor)),
            KindSpec::BlockDevice(major, minor) if special => NodeKind::BlockDevice(device(*major, *minor)),
            KindSpec::Fifo if special => NodeKind::Fifo,
            KindSpec::Socket if special => NodeKind::Socket,
            _ => self.file(Content::empty()),
        }
    }

    fn file(&mut self, content: Content) -> NodeKind {
        self.files.push(content.clone());
        NodeKind::File(content)
    }

    /// At least one byte, at most `max`, and none that a name cannot have.
    fn name(&self, spec: &NameSpec, max: usize) -> Vec<u8> {
        let mut name = match spec {
            NameSpec::Plain(number) => plain_name(*number),
            NameSpec::Odd(index) => ODD_NAMES[usize::from(*index) % ODD_NAMES.len()].to_vec(),
            NameSpec::Long(byte, len) => vec![*byte; 1 + usize::from(*len) % max.max(1)],
            NameSpec::Bytes(bytes) => bytes.clone(),
        };
        name.iter_mut().filter(|byte| matches!(**byte, 0 | b'/')).for_each(|byte| *byte = b'_');
        name.truncate(max.max(1));
        if crate::check_name(&name).is_err() {
            return b"_".to_vec();
        }
        name
    }

    /// The name, or one like it that the directory does not have.
    fn free_name(&mut self, directory: NodeId, mut name: Vec<u8>) -> Vec<u8> {
        while self.tree.lookup(directory, &name).is_some() {
            let suffix = self.suffixes.entry(directory).or_default();
            *suffix += 1;
            let suffix = suffix.to_string();
            name.truncate(self.parameters.max_name.max(suffix.len()).saturating_sub(suffix.len()));
            name.extend_from_slice(suffix.as_bytes());
        }
        name
    }
}

fn pick<T: Copy>(items: &[T], index: u16) -> Option<T> {
    usize::from(index).checked_rem(items.len()).map(|index| items[index])
}

fn plain_name(mut number: u16) -> Vec<u8> {
    let mut name = Vec::new();
    loop {
        // Below 26.
        name.push(b'a' + u8::try_from(number % 26).unwrap_or_default());
        number /= 26;
        if number == 0 {
            return name;
        }
    }
}

fn content(parameters: &Parameters, pieces: &[PieceSpec]) -> Content {
    pieces.iter().take(4).fold(Content::empty(), |content, piece| {
        if matches!(piece.source, PieceSource::Hole) && parameters.max_hole > 0 {
            return content.with(Source::Hole, 0, u64::from(len(piece.len, parameters.max_hole)));
        }
        let bytes = bytes(piece.source, len(piece.len, parameters.max_data) as usize);
        let len = bytes.len() as u64;
        content.with(Source::Bytes(bytes.into()), 0, len)
    })
}

fn len(spec: LenSpec, max: u32) -> u32 {
    let len = match spec {
        LenSpec::Small(len) => u32::from(len),
        LenSpec::Edge(log, delta) => (1u32 << (log % 20)).saturating_add_signed(i32::from(delta % 3)),
        LenSpec::Any(len) => return len % max.saturating_add(1).max(1),
    };
    len.min(max)
}

fn bytes(source: PieceSource, len: usize) -> Vec<u8> {
    match source {
        PieceSource::Hole | PieceSource::Zeros => vec![0; len],
        PieceSource::Text(seed) => {
            let line = format!("line of text number {}\n", seed % 4);
            line.bytes().cycle().take(len).collect()
        }
        PieceSource::Noise(seed) => noise(u64::from(seed % 4), len),
    }
}

/// xorshift64*: the same bytes on every machine.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn metadata(parameters: &Parameters, spec: &MetadataSpec) -> Metadata {
    let mut metadata = Metadata::new(spec.permissions);
    metadata.uid = id(parameters, spec.owner.0);
    metadata.gid = id(parameters, spec.owner.1);
    metadata.mtime = time(parameters, spec.time);
    metadata.xattrs = xattrs(parameters, &spec.xattrs);
    metadata
}

fn id(parameters: &Parameters, spec: IdSpec) -> u32 {
    match spec {
        IdSpec::Root => 0,
        IdSpec::FromTop(down) => parameters.max_id.saturating_sub(u32::from(down)),
        IdSpec::Small(id) => u32::from(id).min(parameters.max_id),
    }
}

fn time(parameters: &Parameters, spec: TimeSpec) -> Timestamp {
    let (first, last) = parameters.seconds;
    let span = last.abs_diff(first).saturating_add(1);
    match spec {
        TimeSpec::First => Timestamp::from_seconds(first),
        TimeSpec::Last => Timestamp::from_seconds(last),
        TimeSpec::Any(seconds, nanoseconds) => Timestamp {
            seconds: first.saturating_add_unsigned(seconds % span),
            nanoseconds: if parameters.nanoseconds { nanoseconds % 1_000_000_000 } else { 0 },
        },
    }
}

fn xattrs(parameters: &Parameters, specs: &[XattrSpec]) -> Xattrs {
    let one = |spec: &XattrSpec| {
        let prefix = pick(&parameters.xattr_prefixes, u16::from(spec.prefix))?;
        let name =
            format!("{prefix}{}", ["a", "mime_type", "capability", "selinux"][usize::from(spec.name % 4)]);
        let len = usize::from(spec.len) % (parameters.max_xattr_value + 1);
        Some((name.into_bytes(), bytes(spec.value, len)))
    };
    specs.iter().take(parameters.max_xattrs).filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any_metadata() -> MetadataSpec {
        let xattr = XattrSpec { prefix: 9, name: 9, value: PieceSource::Noise(1), len: u16::MAX };
        MetadataSpec {
            permissions: u16::MAX,
            owner: (IdSpec::FromTop(1), IdSpec::Small(7)),
            time: TimeSpec::Any(u64::MAX, u32::MAX),
            xattrs: vec![xattr; 9],
        }
    }

    fn node(parent: u16, name: NameSpec, kind: KindSpec) -> NodeSpec {
        NodeSpec { parent, name, kind, metadata: any_metadata() }
    }

    #[test]
    fn whatever_is_asked_for_stays_within_the_parameters() {
        let parameters = Parameters { max_depth: 1, max_nodes: 6, max_name: 3, ..Parameters::default() };
        let piece = PieceSpec { source: PieceSource::Hole, len: LenSpec::Any(u32::MAX) };
        let nodes = [
            node(0, NameSpec::Bytes(b"..".to_vec()), KindSpec::Directory),
            node(1, NameSpec::Bytes(b"a/b\0c".to_vec()), KindSpec::Directory),
            node(0, NameSpec::Bytes(Vec::new()), KindSpec::File(vec![piece; 9])),
            node(1, NameSpec::Long(b'/', u16::MAX), KindSpec::HardLink(77)),
            node(0, NameSpec::Odd(255), KindSpec::CharDevice(u32::MAX, u32::MAX)),
            node(9, NameSpec::Plain(700), KindSpec::Symlink(NameSpec::Long(b'x', 65_000))),
            node(0, NameSpec::Plain(0), KindSpec::Fifo),
        ];
        let tree = build(&parameters, &any_metadata(), &nodes);
        let entries: Vec<_> = tree.walk().collect();
        assert_eq!(entries.len(), 7, "the seventh node is one too many");
        for entry in &entries {
            let metadata = &entry.node.metadata;
            assert!(metadata.permissions <= 0o7777 && metadata.xattrs.len() <= 3);
            assert!(entry.path.split(|&b| b == b'/').all(|name| name.len() <= 3));
            assert!(entry.path.split(|&b| b == b'/').count() <= 2);
        }
        let target = entries.iter().find_map(|e| match &e.node.kind {
            NodeKind::Symlink(target) => Some(target.len()),
            _ => None,
        });
        assert_eq!(target, Some(1 + 65_000 % 4095));
    }

    #[test]
    fn equal_names_get_numbers() {
        let nodes = vec![node(0, NameSpec::Plain(0), KindSpec::Fifo); 3];
        let tree = build(&Parameters::default(), &any_metadata(), &nodes);
        let names: Vec<_> = tree.walk().map(|entry| entry.path).collect();
        assert_eq!(names, [&b""[..], b"a", b"a1", b"a2"]);
    }
}
