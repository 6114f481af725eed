//! A tree that grows source by source, and knows of each node where it came from.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flashwright_tree::{
    Column, Kind, Metadata, Node, NodeId, NodeKind, Timestamp, Tree, TreeError, display_path, join_path,
};

use crate::declaration::Meta;
use crate::glob::Globs;
use crate::options::Chain;
use crate::{Class, Document, Error, Loaded, Note, Options, Place, Severity, SourceSpec};

/// Index into the builder's list of places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin(u32);

/// A tree under construction.
#[derive(Debug)]
pub(crate) struct Builder<'o> {
    pub(crate) tree: Tree,
    pub(crate) options: &'o Options,
    /// What is done to what comes in now.
    pub(crate) chain: Chain,
    /// Folder that relative host paths start from now.
    pub(crate) base_dir: PathBuf,
    /// Host inodes with several names that the present source has brought, by (device, inode).
    pub(crate) inodes: HashMap<(u64, u64), NodeId>,
    notes: Vec<Note>,
    places: Vec<Place>,
    /// Index of the origin of each node, by [`NodeId::index`].
    origins: Column,
    /// Directories that nobody declared: made because something is in them.
    implicit: HashSet<NodeId>,
    /// The image.toml files that are being read, the outermost first.
    included: Vec<PathBuf>,
    /// All sources, with their paths as they are opened.
    pub(crate) inputs: Vec<SourceSpec>,
}

/// Where each node of a tree was said to be.
#[derive(Debug)]
pub struct Origins {
    places: Vec<Place>,
    /// Index of the place, by [`NodeId::index`].
    origins: Column,
}

impl Origins {
    /// The declaration, or the host directory, that brought the node or changed it last; `None` for directories that
    /// are there only because something is in them.
    #[must_use]
    pub fn place(&self, id: NodeId) -> Option<&Place> {
        let origin = Some(self.origins.get(id.index())).filter(|&origin| origin > 0)?;
        self.places.get(origin as usize)
    }
}

/// Where a new node goes: directory, its path, name in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spot<'a> {
    pub(crate) directory: NodeId,
    pub(crate) directory_path: &'a [u8],
    pub(crate) name: &'a [u8],
}

impl Spot<'_> {
    pub(crate) fn path(&self) -> Vec<u8> {
        join_path(self.directory_path, self.name)
    }
}

impl<'o> Builder<'o> {
    pub(crate) fn new(options: &'o Options, chain: Chain) -> Result<Self, Error> {
        let tree = Tree::spilling(options.temp_dir());
        let origins = tree.column();
        let mut builder = Builder {
            tree,
            options,
            chain,
            base_dir: options.base_dir.clone(),
            inodes: HashMap::new(),
            notes: Vec::new(),
            places: vec![Document::untitled("defaults").whole()],
            origins,
            implicit: HashSet::new(),
            included: Vec::new(),
            inputs: Vec::new(),
        };
        builder.tree.node_mut(Tree::ROOT).metadata = builder.default_directory(b"")?.metadata;
        Ok(builder)
    }

    pub(crate) fn finish(self) -> Loaded {
        let origins = Origins { places: self.places, origins: self.origins };
        Loaded { tree: self.tree, notes: self.notes, inputs: self.inputs, origins }
    }

    pub(crate) fn note(
        &mut self,
        severity: Severity,
        message: impl Into<Cow<'static, str>>,
        place: Option<Place>,
    ) {
        self.notes.push(Note { severity, message: message.into(), place });
    }

    /// Takes over notes of another builder.
    pub(crate) fn notes(&mut self, notes: Vec<Note>) {
        self.notes.extend(notes);
    }

    /// Notes that an image.toml is being read, unless it is already or `max` others are.
    pub(crate) fn enter(&mut self, path: &Path, max: usize) -> Result<(), Error> {
        let path = std::fs::canonicalize(path).map_err(|e| Error::io("read", path, e))?;
        if self.included.contains(&path) {
            return Err(Error::invalid(format!("{} includes itself", path.display()))
                .with_help("take out one of the image = \"…\" sources"));
        }
        if self.included.len() >= max {
            return Err(Error::invalid(format!("image.toml files include one another more than {max} deep")));
        }
        self.included.push(path);
        Ok(())
    }

    /// The counterpart of [`Builder::enter`].
    pub(crate) fn leave(&mut self) {
        self.included.pop();
    }

    /// Registers a place that nodes come from.
    pub(crate) fn origin(&mut self, place: Place) -> Origin {
        // A place takes far more memory than the 4 bytes its index has: 2^32 of them never fit.
        let index = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        self.places.push(place);
        Origin(index)
    }

    pub(crate) fn place(&self, origin: Origin) -> Place {
        self.places[origin.0 as usize].clone()
    }

    fn origin_of(&self, id: NodeId) -> Origin {
        Origin(self.origins.get(id.index()))
    }

    fn set_origin(&mut self, id: NodeId, origin: Origin) -> Result<(), Error> {
        self.origins.set(id.index(), origin.0).map_err(spill_error)
    }

    /// Packs a directory that is complete.
    pub(crate) fn complete(&mut self, directory: NodeId) -> Result<(), Error> {
        self.tree.compact(directory).map_err(spill_error)
    }

    /// Host path as it is opened.
    pub(crate) fn host_path(&self, path: &Path) -> PathBuf {
        if self.base_dir.as_os_str().is_empty() { path.to_owned() } else { self.base_dir.join(path) }
    }

    fn default_directory(&self, path: &[u8]) -> Result<Node, Error> {
        let meta = self.metadata(&Meta::default(), Kind::Directory, path)?;
        Ok(Node::new(meta, NodeKind::Directory))
    }

    /// Metadata of a new node: what is stated, else the defaults, after the policies.
    pub(crate) fn metadata(&self, meta: &Meta, kind: Kind, path: &[u8]) -> Result<Metadata, Error> {
        let default = match kind {
            Kind::Directory => 0o755,
            Kind::Symlink => 0o777,
            _ => 0o644,
        };
        Ok(Metadata {
            permissions: self.chain.permissions(kind, meta.permissions.unwrap_or(default)),
            uid: self.chain.uid(meta.uid.unwrap_or(0), path)?,
            gid: self.chain.gid(meta.gid.unwrap_or(0), path)?,
            mtime: self.chain.mtime(meta.mtime.unwrap_or_else(|| self.options.default_mtime())),
            xattrs: meta.xattrs.clone(),
        })
    }

    /// The time a host file gets: its own, not later than `SOURCE_DATE_EPOCH`, after the policies.
    pub(crate) fn host_mtime(&self, mtime: Timestamp) -> Timestamp {
        let epoch = self.options.source_date_epoch.map(Timestamp::from_seconds);
        self.chain.mtime(epoch.map_or(mtime, |epoch| mtime.min(epoch)))
    }

    /// Changes what is stated, and nothing else.
    pub(crate) fn modify(&mut self, id: NodeId, meta: &Meta, path: &[u8]) -> Result<(), Error> {
        let uid = meta.uid.map(|uid| self.chain.uid(uid, path)).transpose()?;
        let gid = meta.gid.map(|gid| self.chain.gid(gid, path)).transpose()?;
        let kind = self.tree.kind(id);
        let permissions = meta.permissions.map(|bits| self.chain.permissions(kind, bits));
        let mtime = meta.mtime.map(|mtime| self.chain.mtime(mtime));
        let old = &mut self.tree.node_mut(id).metadata;
        old.uid = uid.unwrap_or(old.uid);
        old.gid = gid.unwrap_or(old.gid);
        old.mtime = mtime.unwrap_or(old.mtime);
        if kind != Kind::Symlink {
            old.permissions = permissions.unwrap_or(old.permissions);
        }
        for (name, value) in &meta.xattrs {
            old.xattrs.insert(name.clone(), value.clone());
        }
        Ok(())
    }

    /// The directory that `path` is in, made with default metadata where it is missing, and the name in it. `None`
    /// for the root itself.
    pub(crate) fn parent<'p>(&mut self, path: &'p [u8], origin: Origin) -> Result<Option<Spot<'p>>, Error> {
        if path.is_empty() {
            return Ok(None);
        }
        let split = path.iter().rposition(|&byte| byte == b'/');
        let (parent, name) = split.map_or((&path[..0], path), |at| (&path[..at], &path[at + 1..]));
        let directory = self.directory(parent, path, origin)?;
        Ok(Some(Spot { directory, directory_path: parent, name }))
    }

    /// The directory at `path`, made when it is missing. `wanted` is what it is needed for.
    pub(crate) fn directory(&mut self, path: &[u8], wanted: &[u8], origin: Origin) -> Result<NodeId, Error> {
        let mut directory = Tree::ROOT;
        let mut end = 0;
        for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            let so_far = &path[..end];
            end += name.len() + usize::from(end > 0);
            directory = match self.tree.lookup(directory, name) {
                Some(id) if self.tree.is_directory(id) => id,
                Some(id) => return Err(self.not_a_directory(id, &path[..end], wanted, origin)),
                None => {
                    let node = self.default_directory(&path[..end])?;
                    let id = self.insert(Spot { directory, directory_path: so_far, name }, node, origin)?;
                    self.implicit.insert(id);
                    id
                }
            };
        }
        Ok(directory)
    }

    fn not_a_directory(&self, id: NodeId, path: &[u8], wanted: &[u8], origin: Origin) -> Error {
        let kind = self.tree.kind(id);
        let (path, wanted) = (display_path(path), display_path(wanted));
        let help = if kind == Kind::Symlink {
            format!(
                "symlinks in the image are not followed: write the path it leads to, or remove {path} first"
            )
        } else {
            format!("remove {path} first, or choose another path")
        };
        Error::invalid(format!("{wanted} cannot be made: {path} is a {}, not a directory", kind.name()))
            .at(self.place(origin))
            .and(format!("the {} {path} comes from here", kind.name()), self.place(self.origin_of(id)))
            .with_help(help)
    }

    fn insert(&mut self, spot: Spot<'_>, node: Node, origin: Origin) -> Result<NodeId, Error> {
        let id = self
            .tree
            .insert(spot.directory, spot.name, node)
            .map_err(|e| self.tree_error(e, spot, origin))?;
        self.set_origin(id, origin)?;
        Ok(id)
    }

    fn tree_error(&self, error: TreeError, spot: Spot<'_>, origin: Origin) -> Error {
        if matches!(error, TreeError::Spill { .. }) {
            return spill_error(error);
        }
        Error::invalid(format!("{}: {error}", display_path(&spot.path()))).at(self.place(origin))
    }

    /// Puts a node where it belongs. A directory merges into one that is there; anything else replaces what an
    /// earlier source brought. Returns the id it has in the tree.
    pub(crate) fn put(&mut self, spot: Spot<'_>, node: Node, origin: Origin) -> Result<NodeId, Error> {
        let Some(old) = self.tree.lookup(spot.directory, spot.name) else {
            return self.insert(spot, node, origin);
        };
        if node.is_directory() && self.tree.is_directory(old) {
            self.replace_metadata(old, node.metadata, origin)?;
            return Ok(old);
        }
        self.make_room(spot, old, node.kind(), origin)?;
        self.insert(spot, node, origin)
    }

    /// Gives a node one more name, under the rules of [`Builder::put`].
    pub(crate) fn put_link(&mut self, spot: Spot<'_>, target: NodeId, origin: Origin) -> Result<(), Error> {
        if let Some(old) = self.tree.lookup(spot.directory, spot.name) {
            if old == target {
                return Ok(());
            }
            self.make_room(spot, old, self.tree.kind(target), origin)?;
        }
        self.tree.link(spot.directory, spot.name, target).map_err(|e| self.tree_error(e, spot, origin))
    }

    fn make_room(&mut self, spot: Spot<'_>, old: NodeId, new: Kind, origin: Origin) -> Result<(), Error> {
        let (before, now) = (self.place(self.origin_of(old)), self.place(origin));
        let (old_kind, path) = (self.tree.kind(old), spot.path());
        let shown = display_path(&path);
        if (old_kind == Kind::Directory) != (new == Kind::Directory) {
            let message = format!("{shown}: a {} and a {} at one path", old_kind.name(), new.name());
            return Err(Error::invalid(message)
                .at(now)
                .and(format!("the {} comes from here", old_kind.name()), before)
                .with_help(format!(
                    "take one of them out, or put remove = [\"{shown}\"] before the second"
                )));
        }
        if before.span().is_some() && Arc::ptr_eq(before.document(), now.document()) {
            return Err(declared_twice(&path, before, now));
        }
        self.note(
            Severity::Info,
            format!("{shown}: replaces the {} from {before}", old_kind.name()),
            Some(now),
        );
        self.tree.unlink(spot.directory, spot.name);
        Ok(())
    }

    /// Metadata of the root or of a directory that exists, replaced.
    pub(crate) fn replace_metadata(
        &mut self,
        id: NodeId,
        metadata: Metadata,
        origin: Origin,
    ) -> Result<(), Error> {
        self.tree.node_mut(id).metadata = metadata;
        self.implicit.remove(&id);
        self.set_origin(id, origin)
    }

    /// Notes that an existing directory is now declared at `origin`. Two declarations in one text must agree.
    pub(crate) fn claim_directory(
        &mut self,
        id: NodeId,
        path: &[u8],
        meta: &Meta,
        origin: Origin,
    ) -> Result<(), Error> {
        let (before, now) = (self.place(self.origin_of(id)), self.place(origin));
        let same_text = before.span().is_some() && Arc::ptr_eq(before.document(), now.document());
        if same_text && !self.implicit.contains(&id) {
            let old = self.tree.node(id).metadata;
            if self.metadata(meta, Kind::Directory, path)? != old {
                return Err(declared_twice(path, before, now));
            }
        }
        self.implicit.remove(&id);
        self.set_origin(id, origin)
    }

    /// The node at `path` and, when it is a directory, all that is in it, each with one of its paths.
    pub(crate) fn below(&self, id: NodeId, path: &[u8]) -> Vec<(NodeId, Vec<u8>)> {
        let mut all = Vec::new();
        let mut seen = HashSet::new();
        let mut pending = vec![(id, path.to_vec())];
        while let Some((id, path)) = pending.pop() {
            let entries = self.tree.entries(id);
            pending.extend(entries.map(|(name, id)| (id, join_path(&path, &name))));
            if seen.insert(id) {
                all.push((id, path));
            }
        }
        all
    }

    /// Takes out everything that a pattern matches. Patterns that match nothing get a note.
    pub(crate) fn remove(&mut self, patterns: &[(String, Place)]) -> Result<(), Error> {
        for (pattern, place) in patterns {
            let globs = Globs::new(std::slice::from_ref(pattern)).map_err(|e| e.at(place.clone()))?;
            let found = self.matching(&globs);
            if found.is_empty() {
                self.note(
                    Severity::Warning,
                    format!("remove {pattern:?} matches nothing"),
                    Some(place.clone()),
                );
            }
            for (directory, name) in found {
                self.tree.unlink(directory, &name);
            }
        }
        Ok(())
    }

    fn matching(&self, globs: &Globs) -> Vec<(NodeId, Vec<u8>)> {
        let entries = self.tree.walk().filter(|entry| !entry.path.is_empty() && globs.matches(&entry.path));
        let name = |path: &[u8]| path.rsplit(|&byte| byte == b'/').next().unwrap_or_default().to_vec();
        entries.map(|entry| (entry.parent, name(&entry.path))).collect()
    }
}

pub(crate) fn spill_error(error: TreeError) -> Error {
    Error::new(Class::Io, error.to_string()).with_help(
        "TMPDIR names the folder for temporary files; a large tree needs some 50 bytes for each node",
    )
}

pub(crate) fn declared_twice(path: &[u8], before: Place, now: Place) -> Error {
    Error::invalid(format!("{} is declared twice", display_path(path)))
        .at(now)
        .and("first here", before)
        .with_help("keep one of the two")
}
