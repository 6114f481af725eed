//! What the caller decides: where paths start, what may be run, and what is done to what sources bring.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use flashwright_tree::{Kind, Timestamp, display_path};

use crate::Error;
use crate::glob::Globs;

/// What a library must not find out by itself: environment, current directory, permission to run programs.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Options {
    /// Folder that relative host paths start from; default: empty, the current directory. An `image.toml` uses its
    /// own folder instead.
    pub base_dir: PathBuf,
    /// `SOURCE_DATE_EPOCH` in seconds since 1970; default: none. Where set, it is the time of everything that
    /// states none, and no time of a host file is later.
    pub source_date_epoch: Option<i64>,
    /// Whether pseudo files may run commands (`f` and `F`); default: no.
    pub allow_commands: bool,
    /// Folder for the data of compressed archives that unpack to more than 4 MiB; default: empty, `/tmp`.
    pub temp_dir: PathBuf,
}

impl Options {
    pub(crate) fn temp_dir(&self) -> &Path {
        if self.temp_dir.as_os_str().is_empty() { Path::new("/tmp") } else { &self.temp_dir }
    }

    /// The time of a node that states none: `SOURCE_DATE_EPOCH`, or else 0.
    #[must_use]
    pub fn default_mtime(&self) -> Timestamp {
        Timestamp::from_seconds(self.source_date_epoch.unwrap_or(0))
    }
}

/// Which extended attributes are read from host files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum XattrPolicy {
    /// None: not even asked for.
    None,
    /// The namespaces `user`, `trusted` (visible to root alone) and `security`; others give one note each.
    #[default]
    Standard,
    /// Those and POSIX ACLs (`system.posix_acl_access`, `system.posix_acl_default`), for formats that hold them.
    WithAcls,
}

/// Permission bits to change: `(bits & !clear) | set`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ModeMask {
    /// Bits taken away, 0 to 0o7777.
    pub clear: u16,
    /// Bits added afterwards, 0 to 0o7777.
    pub set: u16,
}

impl ModeMask {
    const fn apply(self, permissions: u16) -> u16 {
        ((permissions & !self.clear) | self.set) & 0o7777
    }
}

/// What is done to everything that sources bring. The default changes nothing and reads everything.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Policy {
    /// Owner of everything; wins over `map_uid` and `offset`.
    pub uid: Option<u32>,
    /// Group of everything; wins over `map_gid` and `offset`.
    pub gid: Option<u32>,
    /// Owners replaced one by one, before `offset`.
    pub map_uid: BTreeMap<u32, u32>,
    /// Groups replaced one by one, before `offset`.
    pub map_gid: BTreeMap<u32, u32>,
    /// Added to every owner and group that no map names.
    pub offset: i64,
    /// Permission bits of everything but directories and symlinks.
    pub file_mode: ModeMask,
    /// Permission bits of directories.
    pub directory_mode: ModeMask,
    /// Globs of image paths that are left out; a directory with all that is in it. See `docs/IMAGE_TOML.md`.
    pub exclude: Vec<String>,
    /// Leave out what other file systems hold that are mounted inside a host directory; mount points stay as empty
    /// directories. Default: no.
    pub one_file_system: bool,
    /// Keep names of one inode of the host as hard links; default: yes.
    pub hard_links: bool,
    /// Extended attributes of host files.
    pub xattrs: XattrPolicy,
    /// Time of everything.
    pub mtime: Option<Timestamp>,
    /// Times after this one become this one.
    pub clamp: Option<Timestamp>,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            uid: None,
            gid: None,
            map_uid: BTreeMap::new(),
            map_gid: BTreeMap::new(),
            offset: 0,
            file_mode: ModeMask::default(),
            directory_mode: ModeMask::default(),
            exclude: Vec::new(),
            one_file_system: false,
            hard_links: true,
            xattrs: XattrPolicy::default(),
            mtime: None,
            clamp: None,
        }
    }
}

impl Policy {
    /// Everything belongs to `root:root`.
    #[must_use]
    pub const fn with_all_root(mut self) -> Self {
        self.uid = Some(0);
        self.gid = Some(0);
        self
    }
}

/// A policy made ready: globs compiled.
#[derive(Debug)]
pub(crate) struct Rules {
    policy: Policy,
    exclude: Globs,
}

impl Rules {
    pub(crate) fn new(policy: Policy) -> Result<Self, Error> {
        for bits in [policy.file_mode, policy.directory_mode] {
            if (bits.clear | bits.set) > 0o7777 {
                let message = format!("mode mask {:o}: bits above 7777", bits.clear | bits.set);
                return Err(Error::usage(message).with_help("masks are octal, 0 to 7777"));
            }
        }
        let exclude = Globs::new(&policy.exclude)?;
        Ok(Rules { policy, exclude })
    }

    pub(crate) const fn policy(&self) -> &Policy {
        &self.policy
    }
}

/// Several policies, applied one after the other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Chain(Vec<std::rc::Rc<Rules>>);

impl Chain {
    pub(crate) fn of(rules: Rules) -> Self {
        Chain(vec![std::rc::Rc::new(rules)])
    }

    /// `inner` first, then what this chain has.
    pub(crate) fn inside(&self, inner: Rules) -> Self {
        let mut all = vec![std::rc::Rc::new(inner)];
        all.extend(self.0.iter().cloned());
        Chain(all)
    }

    fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.0.iter().map(|rules| rules.policy())
    }

    pub(crate) fn excludes(&self, path: &[u8]) -> bool {
        self.0.iter().any(|rules| rules.exclude.matches(path))
    }

    pub(crate) fn hard_links(&self) -> bool {
        self.policies().all(|policy| policy.hard_links)
    }

    pub(crate) fn one_file_system(&self) -> bool {
        self.policies().any(|policy| policy.one_file_system)
    }

    /// The most restrictive of what is asked for, except that ACLs are kept when anybody asks for them.
    pub(crate) fn xattrs(&self) -> XattrPolicy {
        if self.policies().any(|policy| policy.xattrs == XattrPolicy::None) {
            XattrPolicy::None
        } else if self.policies().any(|policy| policy.xattrs == XattrPolicy::WithAcls) {
            XattrPolicy::WithAcls
        } else {
            XattrPolicy::Standard
        }
    }

    pub(crate) fn uid(&self, uid: u32, path: &[u8]) -> Result<u32, Error> {
        self.policies().try_fold(uid, |id, p| owner(id, p.uid, &p.map_uid, p.offset, "uid", path))
    }

    pub(crate) fn gid(&self, gid: u32, path: &[u8]) -> Result<u32, Error> {
        self.policies().try_fold(gid, |id, p| owner(id, p.gid, &p.map_gid, p.offset, "gid", path))
    }

    pub(crate) fn permissions(&self, kind: Kind, permissions: u16) -> u16 {
        self.policies().fold(permissions, |bits, policy| match kind {
            Kind::Symlink => bits,
            Kind::Directory => policy.directory_mode.apply(bits),
            _ => policy.file_mode.apply(bits),
        })
    }

    pub(crate) fn mtime(&self, mtime: Timestamp) -> Timestamp {
        self.policies().fold(mtime, |time, policy| {
            let time = policy.mtime.unwrap_or(time);
            policy.clamp.map_or(time, |clamp| time.min(clamp))
        })
    }
}

fn owner(
    id: u32,
    force: Option<u32>,
    map: &BTreeMap<u32, u32>,
    offset: i64,
    what: &str,
    path: &[u8],
) -> Result<u32, Error> {
    if let Some(id) = force.or_else(|| map.get(&id).copied()) {
        return Ok(id);
    }
    // No overflow: a u32 plus an offset that is saturated stays within 64 bits or saturates.
    u32::try_from(i64::from(id).saturating_add(offset)).map_err(|_| {
        let message =
            format!("{}: {what} {id} with offset {offset} is not within 0 to 4294967295", display_path(path));
        Error::usage(message).with_help("choose another offset, or map that owner")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(change: impl FnOnce(&mut Policy)) -> Chain {
        let mut policy = Policy::default();
        change(&mut policy);
        Chain::of(Rules::new(policy).unwrap())
    }

    #[test]
    fn owners_are_forced_mapped_or_shifted_in_that_order() {
        let shifted = chain(|p| {
            p.offset = -1000;
            p.map_uid = BTreeMap::from([(5, 7)]);
        });
        assert_eq!(shifted.uid(5, b"").unwrap(), 7);
        assert_eq!(shifted.uid(1001, b"").unwrap(), 1);
        let error = shifted.uid(999, b"etc/x").unwrap_err();
        assert_eq!(error.message(), "/etc/x: uid 999 with offset -1000 is not within 0 to 4294967295");
        assert_eq!(error.class(), crate::Class::Usage);
        let root = chain(|p| {
            p.map_gid = BTreeMap::from([(5, 7)]);
            p.gid = Some(0);
        });
        assert_eq!(root.gid(5, b"").unwrap(), 0);
    }

    #[test]
    fn masks_leave_symlinks_alone_and_the_inner_policy_comes_first() {
        let outer = chain(|p| p.file_mode = ModeMask { clear: 0o022, set: 0 });
        let mut inner = Policy::default();
        inner.file_mode.set = 0o777;
        let both = outer.inside(Rules::new(inner).unwrap());
        assert_eq!(both.permissions(Kind::File, 0), 0o755);
        assert_eq!(both.permissions(Kind::Directory, 0o700), 0o700);
        assert_eq!(both.permissions(Kind::Symlink, 0o777), 0o777);
    }

    #[test]
    fn times_are_set_then_clamped() {
        let policy = chain(|p| p.clamp = Some(Timestamp::from_seconds(10)));
        assert_eq!(policy.mtime(Timestamp { seconds: 10, nanoseconds: 1 }), Timestamp::from_seconds(10));
        assert_eq!(policy.mtime(Timestamp::from_seconds(-3)), Timestamp::from_seconds(-3));
    }
}
