//! `glob` of a pack file: a part of a host directory into the tree.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use flashwright_tree::{Kind, NodeId, Tree, WalkEntry};
use globset::{GlobBuilder, GlobMatcher};

use crate::builder::{Builder, Origin};
use crate::declaration::{Glob, Meta};
use crate::options::{Policy, Rules};
use crate::scan::{Request, Wants, scan};
use crate::value::BadValue;
use crate::{Error, Loaded, Severity};

/// Compiles a shell pattern in which wildcards match no `/`.
pub(crate) fn compile(pattern: &[u8]) -> Result<GlobMatcher, BadValue> {
    let bad =
        |why: String| BadValue::new(format!("bad pattern {:?}: {why}", String::from_utf8_lossy(pattern)));
    let text = std::str::from_utf8(pattern).map_err(|_| bad("not UTF-8".into()))?;
    // Braces mean nothing to a shell pattern.
    let text = text.replace('{', "[{]").replace('}', "[}]");
    let glob = GlobBuilder::new(&text).literal_separator(true).backslash_escape(true).build();
    glob.map(|glob| glob.compile_matcher()).map_err(|error| bad(error.kind().to_string()))
}

/// What an entry must be to come in.
struct Filter<'g> {
    glob: &'g Glob,
    name: Option<GlobMatcher>,
    path: Option<GlobMatcher>,
}

impl Filter<'_> {
    fn takes(&self, kind: Kind, path: &[u8]) -> bool {
        let matches = |matcher: &Option<GlobMatcher>, text: &[u8]| {
            matcher.as_ref().is_none_or(|matcher| matcher.is_match(Path::new(OsStr::from_bytes(text))))
        };
        (self.glob.kinds.is_empty() || self.glob.kinds.contains(&kind))
            && matches(&self.name, name_of(path))
            && matches(&self.path, path)
    }
}

fn name_of(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
}

fn is_below(path: &[u8], directory: &[u8]) -> bool {
    directory.is_empty() || path.strip_prefix(directory).is_some_and(|rest| rest.first() == Some(&b'/'))
}

/// Brings in what matches, below `at`, with the metadata that is stated.
pub(crate) fn expand(
    builder: &mut Builder<'_>,
    glob: &Glob,
    meta: &Meta,
    at: &[u8],
    origin: Origin,
) -> Result<(), Error> {
    let filter = Filter {
        glob,
        name: glob.name.as_deref().map(compile).transpose()?,
        path: glob.path.as_deref().map(compile).transpose()?,
    };
    let Loaded { tree, notes, .. } = scanned(builder, glob, at, origin)?;
    builder.notes(notes);
    builder.directory(at, at, origin)?;
    let mut ids: HashMap<NodeId, NodeId> = HashMap::new();
    let mut left_out: Option<Vec<u8>> = None;
    for entry in tree.walk().filter(|entry| entry.path != at && is_below(&entry.path, at)) {
        if left_out.as_ref().is_some_and(|directory| is_below(&entry.path, directory)) {
            continue;
        }
        let takes = filter.takes(entry.node.kind(), &entry.path);
        if takes {
            put(builder, &entry, glob, meta, (&mut ids, origin))?;
        }
        let known = || builder.tree.resolve(&entry.path).is_some_and(|id| builder.tree.is_directory(id));
        if entry.node.kind() == Kind::Directory && (glob.flat || !(takes || known())) {
            left_out = Some(entry.path);
        }
    }
    if ids.is_empty() {
        let place = Some(builder.place(origin));
        builder.note(Severity::Warning, format!("nothing in {} matches", glob.host.display()), place);
    }
    Ok(())
}

/// The whole directory as a tree of its own, at the same path.
fn scanned(builder: &Builder<'_>, glob: &Glob, at: &[u8], origin: Origin) -> Result<Loaded, Error> {
    let mut chain = builder.chain.clone();
    if glob.one_file_system {
        let policy = Policy { one_file_system: true, ..Policy::default() };
        chain = chain.inside(Rules::new(policy)?);
    }
    let mut scratch = Builder::new(builder.options, chain)?;
    let scratch_origin = scratch.origin(builder.place(origin));
    let host = builder.host_path(&glob.host);
    let request = Request { host: &host, at, origin: scratch_origin, follow: true, wants: Wants::Directory };
    scan(&mut scratch, &request)?;
    Ok(scratch.finish())
}

fn put(
    builder: &mut Builder<'_>,
    entry: &WalkEntry,
    glob: &Glob,
    meta: &Meta,
    (ids, origin): (&mut HashMap<NodeId, NodeId>, Origin),
) -> Result<(), Error> {
    let place = builder.place(origin);
    let spot = builder.parent(&entry.path, origin).map_err(|error| error.at(place.clone()))?;
    // What lies below a directory is not the root.
    let Some(spot) = spot else { return Ok(()) };
    if let Some(&id) = ids.get(&entry.id) {
        return builder.put_link(spot, id, origin);
    }
    let mut node = entry.node.clone();
    let stated = builder.metadata(meta, node.kind(), &entry.path)?;
    let kept = &mut node.metadata;
    if meta.permissions.is_some() && entry.node.kind() != Kind::Symlink {
        kept.permissions = stated.permissions;
    }
    kept.uid = if meta.uid.is_some() { stated.uid } else { kept.uid };
    kept.gid = if meta.gid.is_some() { stated.gid } else { kept.gid };
    kept.mtime = if glob.keep_time { kept.mtime } else { stated.mtime };
    let id = builder.put(spot, node, origin)?;
    debug_assert_ne!(id, Tree::ROOT);
    ids.insert(entry.id, id);
    Ok(())
}
