//! In which order file data is written: what is alike stands together.
//!
//! A fragment block holds the tails of many files and is compressed as one, so it gets smaller when they are of one
//! kind: all `copyright` files, all `.py` files. The order of data says nothing about names or inodes, which keep
//! theirs. Changing this changes images.

use std::collections::HashMap;

use flashwright_tree::{NodeId, Tree};

use super::kind::{HEAD, data_kind};
use super::plan::path_of;
use super::similar::{Tail, order_by_content, sample, sampling_rate};
use crate::error::WriteError;
use crate::options::{Effort, Options};

/// Files of one name in so many directories are of one kind: `copyright`, `__init__.py`.
const COMMON_NAME: usize = 3;
/// Longer "extensions" are parts of names.
const MAX_EXTENSION: usize = 8;

/// The files in the order in which their data is read, packed into fragments and written: by the extension of their
/// first name, those of a name that many directories have together, then by path; with [`Effort::Max`] by what their
/// tails have in common.
pub(super) fn data_order(tree: &Tree, options: &Options) -> Result<Vec<NodeId>, WriteError> {
    let files = tree.walk().filter(|entry| entry.first && entry.node.content().is_some());
    let mut order: Vec<_> = files.map(|entry| (entry.path, entry.id)).collect();
    let mut names: HashMap<Vec<u8>, usize> = HashMap::new();
    order.iter().for_each(|(path, _)| *names.entry(name_of(path).to_vec()).or_default() += 1);
    order.sort_by_cached_key(|(path, _)| {
        let name = name_of(path);
        let common = if names[name] >= COMMON_NAME { name } else { b"" };
        (extension(name).to_vec(), common.to_vec(), path.clone())
    });
    let order = order.into_iter().map(|(_, id)| id).collect();
    if options.effort == Effort::Max { by_content(tree, order, options) } else { Ok(order) }
}

fn by_content(tree: &Tree, order: Vec<NodeId>, options: &Options) -> Result<Vec<NodeId>, WriteError> {
    let block_size = options.block_size as usize;
    let lens = order.iter().map(|&id| tail_len(tree, id, options));
    let rate = sampling_rate(lens.map(|len| len as u64).sum());
    let (mut tails, mut without) = (Vec::new(), Vec::new());
    for file in order {
        match tail_len(tree, file, options) {
            0 => without.push(file),
            len => tails.push(read_tail(tree, file, len, rate)?),
        }
    }
    let mut order = order_by_content(tails, block_size);
    order.extend(without);
    Ok(order)
}

/// Bytes of a file that go into a fragment.
fn tail_len(tree: &Tree, id: NodeId, options: &Options) -> usize {
    let len = tree.content(id).map_or(0, |content| content.len());
    // Less than a block.
    let tail = usize::try_from(len % u64::from(options.block_size)).unwrap_or(0);
    if options.tail_in_fragment(len) { tail } else { 0 }
}

fn read_tail(tree: &Tree, file: NodeId, len: usize, rate: u64) -> Result<Tail, WriteError> {
    let Some(content) = tree.content(file) else { unreachable!("only regular files are listed") };
    let mut head = vec![0; usize::try_from(content.len()).unwrap_or(HEAD).min(HEAD)];
    let mut data = vec![0; len];
    let mut reader = content.reader();
    let result = reader
        .read_exact_at(0, &mut head)
        .and_then(|()| reader.read_exact_at(content.len() - len as u64, &mut data))
        .and_then(|()| reader.finish());
    result.map_err(|error| WriteError::Content { path: path_of(tree, file), error })?;
    Ok(Tail { file, kind: data_kind(&head), len, samples: sample(&data, rate) })
}

fn name_of(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
}

/// What stands after the last dot; version numbers after it (`.so.1.2`) are passed over. Empty when there is none.
fn extension(name: &[u8]) -> &[u8] {
    let mut rest = name;
    while let Some(dot) = rest.iter().rposition(|&byte| byte == b'.').filter(|&dot| dot > 0) {
        let (before, extension) = (&rest[..dot], &rest[dot + 1..]);
        if extension.len() > MAX_EXTENSION {
            return b"";
        }
        if !extension.iter().all(u8::is_ascii_digit) {
            return extension;
        }
        rest = before;
    }
    b""
}

#[cfg(test)]
mod tests {
    use super::*;
    use flashwright_tree::{Content, Node};

    #[test]
    fn extensions_are_what_people_take_them_for() {
        let cases: [(&[u8], &[u8]); 9] = [
            (b"a.py", b"py"),
            (b"libc.so.6", b"so"),
            (b"libm-2.36.so", b"so"),
            (b"locale.tar.gz", b"gz"),
            (b".profile", b""),
            (b"README", b""),
            (b"perl5.36", b""),
            (b"deb.debian.org_dists_stable", b""),
            (b"", b""),
        ];
        for (name, expected) in cases {
            assert_eq!(extension(name), expected, "{}", String::from_utf8_lossy(name));
        }
    }

    #[test]
    fn what_is_alike_stands_together() {
        let mut tree = Tree::new();
        for (dir, names) in [
            ("a", ["x.py", "copyright", "lib.so.1"]),
            ("b", ["w.py", "copyright", "lib.so"]),
            ("c", ["README", "copyright", "a.so"]),
        ] {
            let id = tree.insert(Tree::ROOT, dir.as_bytes(), Node::directory(0o755)).unwrap();
            for name in names {
                let content =
                    if name.contains("so") { &b"\x7fELF\x01\x01__________\x02\0\x28\0"[..] } else { b"text" };
                tree.insert(id, name.as_bytes(), Node::file(0o644, Content::from_bytes(content))).unwrap();
            }
        }
        let order = data_order(&tree, &Options::default()).unwrap();
        let files = order.into_iter().map(|id| path_of(&tree, id));
        let names: Vec<_> = files.map(|path| String::from_utf8(path).unwrap()).collect();
        let expected = [
            "c/README",
            "a/copyright",
            "b/copyright",
            "c/copyright", // no extension; the common name together
            "a/x.py",
            "b/w.py", // otherwise directory by directory
            "a/lib.so.1",
            "b/lib.so",
            "c/a.so",
        ];
        assert_eq!(names, expected);
    }
}
