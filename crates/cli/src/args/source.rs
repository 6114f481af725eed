//! Policies: what is done to what the sources bring.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use flashwright_manifest::{ModeMask, Policy, XattrPolicy};
use flashwright_tree::Timestamp;

use super::run::epoch;

const OWNERS: &str = "Owners";
const MODES: &str = "Modes and times";
const CONTENT: &str = "What is left out";

/// Flags that change what comes from the sources. None is on by default.
#[derive(Debug, Args)]
pub(crate) struct PolicyFlags {
    /// Everything belongs to root:root
    #[arg(long, help_heading = OWNERS, conflicts_with_all = ["force_uid", "force_gid"])]
    all_root: bool,
    /// Owner of everything, as a number
    #[arg(long, value_name = "UID", help_heading = OWNERS)]
    force_uid: Option<u32>,
    /// Group of everything, as a number
    #[arg(long, value_name = "GID", help_heading = OWNERS)]
    force_gid: Option<u32>,
    /// One owner for another; may be given more than once
    #[arg(long, value_name = "FROM:TO", value_parser = owner_pair, help_heading = OWNERS)]
    map_uid: Vec<(u32, u32)>,
    /// One group for another; may be given more than once
    #[arg(long, value_name = "FROM:TO", value_parser = owner_pair, help_heading = OWNERS)]
    map_gid: Vec<(u32, u32)>,
    /// Added to every owner and group that is not mapped
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 0, hide_default_value = true, help_heading = OWNERS)]
    uid_gid_offset: i64,

    /// Permission bits taken away from everything but directories, in octal
    #[arg(long, value_name = "OCTAL", value_parser = bits, help_heading = MODES)]
    file_clear: Option<u16>,
    /// Permission bits added to everything but directories, in octal
    #[arg(long, value_name = "OCTAL", value_parser = bits, help_heading = MODES)]
    file_set: Option<u16>,
    /// Permission bits taken away from directories, in octal
    #[arg(long, value_name = "OCTAL", value_parser = bits, help_heading = MODES)]
    directory_clear: Option<u16>,
    /// Permission bits added to directories, in octal
    #[arg(long, value_name = "OCTAL", value_parser = bits, help_heading = MODES)]
    directory_set: Option<u16>,
    /// Time of everything, in seconds since 1970
    #[arg(long, value_name = "SECONDS", value_parser = epoch, help_heading = MODES)]
    all_time: Option<u32>,
    /// Latest time of anything, in seconds since 1970
    #[arg(long, value_name = "SECONDS", value_parser = epoch, help_heading = MODES)]
    clamp_time: Option<u32>,

    /// Leave out what a glob of image paths matches, a directory with all that is in it; may be given more than once
    #[arg(long, value_name = "GLOB", help_heading = CONTENT)]
    exclude: Vec<String>,
    /// Do not descend into other file systems that are mounted inside a source
    #[arg(short = 'x', long, help_heading = CONTENT)]
    one_file_system: bool,
    /// Make every name of a hard-linked file a file of its own
    #[arg(long, help_heading = CONTENT)]
    no_hard_links: bool,
    /// Extended attributes of host files that come in; default: standard, for JFFS2 acl
    #[arg(long, value_enum, help_heading = CONTENT)]
    xattrs: Option<Xattrs>,
}

/// Which extended attributes come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Xattrs {
    /// No extended attributes
    None,
    /// Those of user, trusted (visible to root alone) and security
    Standard,
    /// Those, and POSIX ACLs, which SquashFS cannot hold
    Acl,
}

impl PolicyFlags {
    /// The flags as the library takes them; `acls` says whether the format holds POSIX ACLs.
    pub(crate) fn policy(&self, acls: bool) -> Policy {
        let mask = |clear: Option<u16>, set: Option<u16>| ModeMask {
            clear: clear.unwrap_or_default(),
            set: set.unwrap_or_default(),
        };
        let time = |seconds: u32| Timestamp::from_seconds(seconds.into());
        let mut policy = Policy::default();
        policy.uid = self.force_uid;
        policy.gid = self.force_gid;
        policy.map_uid = BTreeMap::from_iter(self.map_uid.iter().copied());
        policy.map_gid = BTreeMap::from_iter(self.map_gid.iter().copied());
        policy.offset = self.uid_gid_offset;
        policy.file_mode = mask(self.file_clear, self.file_set);
        policy.directory_mode = mask(self.directory_clear, self.directory_set);
        policy.exclude.clone_from(&self.exclude);
        policy.one_file_system = self.one_file_system;
        policy.hard_links = !self.no_hard_links;
        let all = if acls { Xattrs::Acl } else { Xattrs::Standard };
        policy.xattrs = match self.xattrs.unwrap_or(all) {
            Xattrs::None => XattrPolicy::None,
            Xattrs::Standard => XattrPolicy::Standard,
            Xattrs::Acl => XattrPolicy::WithAcls,
        };
        policy.mtime = self.all_time.map(time);
        policy.clamp = self.clamp_time.map(time);
        if self.all_root { policy.with_all_root() } else { policy }
    }
}

fn owner_pair(text: &str) -> Result<(u32, u32), String> {
    let pair = text.split_once(':').and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    pair.ok_or_else(|| "write two numbers, FROM:TO, for example 1000:0".into())
}

fn bits(text: &str) -> Result<u16, String> {
    let bits = u16::from_str_radix(text, 8).ok().filter(|bits| *bits <= 0o7777);
    bits.ok_or_else(|| "permission bits in octal, 0 to 7777, for example 022".into())
}
