//! `image.toml`: sources in order, nodes by path, outputs. The guide is `docs/IMAGE_TOML.md`.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flashwright_tree::{Kind, Xattrs, display_path};
use toml::de::{DeTable, DeValue};

use crate::apply::apply;
use crate::builder::{Builder, declared_twice};
use crate::declaration::{Action, Data, Declaration, Meta};
use crate::options::{ModeMask, Rules};
use crate::output::{self, Output};
use crate::source::{self, SourceKind, SourceSpec};
use crate::table::{Table, Value};
use crate::value::{self, BadValue};
use crate::{Document, Error, Place, Policy, XattrPolicy};

/// How deep image.toml files may include one another.
const MAX_INCLUDES: usize = 16;

/// Keys of the file itself.
const KEYS: [&str; 9] = ["source", "remove", "nodes", "flash", "output", "ubi", "owner", "time", "mode"];

/// A parsed image.toml; the host has not been looked at.
#[derive(Debug)]
pub(crate) struct Parsed {
    policy: Policy,
    sources: Vec<Source>,
    remove: Vec<(String, Place)>,
    nodes: Vec<Declaration>,
    outputs: Vec<Output>,
}

impl Parsed {
    /// Nodes and outputs.
    pub(crate) fn into_parts(self) -> (Vec<Declaration>, Vec<Output>) {
        (self.nodes, self.outputs)
    }
}

/// One `[[source]]`.
#[derive(Debug)]
struct Source {
    /// Taken out of the tree before the source comes in.
    remove: Vec<(String, Place)>,
    /// `None` for a source that only removes.
    spec: Option<SourceSpec>,
    policy: Policy,
    place: Place,
}

/// Brings the file's sources and nodes into the tree, and returns its outputs.
pub(crate) fn add(builder: &mut Builder<'_>, path: &Path) -> Result<Vec<Output>, Error> {
    let text = source::read_text(path)?;
    let document = Document::of_path(path, &text);
    let parsed = parse(&utf8(text, &document)?, &document)?;
    builder.enter(path, MAX_INCLUDES)?;
    let outer_chain = builder.chain.clone();
    let folder = path.parent().map_or_else(PathBuf::new, Path::to_owned);
    let outer_dir = std::mem::replace(&mut builder.base_dir, folder);
    let with_policy = outer_chain.inside(Rules::new(parsed.policy)?);
    for source in parsed.sources {
        builder.remove(&source.remove)?;
        let rules = Rules::new(source.policy).map_err(|e| e.at(source.place.clone()))?;
        builder.chain = with_policy.inside(rules);
        if let Some(spec) = &source.spec {
            source::add(builder, spec, Some(&source.place))?;
        }
    }
    // What the file itself declares is as it says: its own policies are for sources.
    builder.chain = outer_chain;
    builder.remove(&parsed.remove)?;
    apply(builder, &parsed.nodes, &document, b"", None)?;
    builder.base_dir = outer_dir;
    builder.leave();
    Ok(parsed.outputs)
}

fn utf8(text: Vec<u8>, document: &Arc<Document>) -> Result<Arc<str>, Error> {
    String::from_utf8(text).map(Arc::from).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        Error::invalid("not UTF-8, so not TOML")
            .at(document.at(at..at.saturating_add(1)))
            .with_help("bytes that are not UTF-8 go into hex = \"…\" or base64 = \"…\"")
    })
}

/// Reads the text.
pub(crate) fn parse(text: &Arc<str>, document: &Arc<Document>) -> Result<Parsed, Error> {
    let entries = DeTable::parse(text).map_err(|e| {
        let span = e.span().unwrap_or(0..0);
        let message = e.message().lines().next().unwrap_or("not TOML").to_owned();
        Error::invalid(format!("bad TOML: {message}")).at(document.at(span))
    })?;
    let root = Table::new(document, entries.get_ref(), 0..0);
    root.allow("image.toml", &KEYS)?;
    Ok(Parsed {
        policy: policy(&root)?,
        sources: root.tables("source")?.iter().map(source).collect::<Result<_, _>>()?,
        remove: removals(&root)?,
        nodes: root.table("nodes")?.map_or_else(|| Ok(Vec::new()), |table| nodes(&table))?,
        outputs: output::read(&root, text)?,
    })
}

/// Owner, time and mode policies, at the top or in a source.
fn policy(table: &Table<'_>) -> Result<Policy, Error> {
    let mut policy = Policy::default();
    if let Some(owner) = table.table("owner")? {
        owner.allow("owner", &["all-root", "uid", "gid", "offset", "map-uid", "map-gid"])?;
        if owner.boolean("all-root")?.unwrap_or(false) {
            if owner.get("uid").is_some() || owner.get("gid").is_some() {
                return Err(owner
                    .error_here("all-root is uid = 0 and gid = 0")
                    .with_help("drop one of the two"));
            }
            policy = policy.with_all_root();
        } else {
            policy.uid = owner.owner("uid")?;
            policy.gid = owner.owner("gid")?;
        }
        policy.offset = owner.integer("offset")?.unwrap_or(0);
        policy.map_uid = owner_map(&owner, "map-uid")?;
        policy.map_gid = owner_map(&owner, "map-gid")?;
    }
    if let Some(time) = table.table("time")? {
        time.allow("time", &["set", "clamp"])?;
        policy.mtime = time.time("set")?;
        policy.clamp = time.time("clamp")?;
    }
    if let Some(mode) = table.table("mode")? {
        mode.allow("mode", &["file-clear", "file-set", "directory-clear", "directory-set"])?;
        let bits = |key| mode.mode(key).map(Option::unwrap_or_default);
        policy.file_mode = ModeMask { clear: bits("file-clear")?, set: bits("file-set")? };
        policy.directory_mode = ModeMask { clear: bits("directory-clear")?, set: bits("directory-set")? };
    }
    Ok(policy)
}

fn owner_map(owner: &Table<'_>, key: &str) -> Result<BTreeMap<u32, u32>, Error> {
    let Some(table) = owner.table(key)? else { return Ok(BTreeMap::new()) };
    let entry = |(from, to): (&toml::Spanned<_>, &Value<'_>)| {
        let from_text: &toml::de::DeString<'_> = from.get_ref();
        let number = from_text.parse().map_err(|_| {
            let bad = BadValue::new(format!("{key}: {from_text:?} is not a number from 0 to 4294967295"));
            table.error(bad.with_help(format!("for example: {key} = {{ 1000 = 0 }}")), from.span())
        })?;
        Ok((number, table.as_owner(key, to)?))
    };
    table.entries().iter().map(entry).collect()
}

fn source(table: &Table<'_>) -> Result<Source, Error> {
    let settings = [
        "at",
        "base",
        "variables",
        "exclude",
        "remove",
        "one-file-system",
        "hard-links",
        "xattrs",
        "owner",
        "time",
        "mode",
    ];
    let kinds = SourceKind::ALL.map(SourceKind::prefix);
    table.allow("[[source]]", &[&kinds[..], &settings[..]].concat())?;
    let mut policy = policy(table)?;
    let exclude = table.strings("exclude")?;
    crate::glob::check(&exclude)?;
    policy.exclude = exclude.into_iter().map(|(pattern, _)| pattern).collect();
    policy.one_file_system = table.boolean("one-file-system")?.unwrap_or(false);
    policy.hard_links = table.boolean("hard-links")?.unwrap_or(true);
    policy.xattrs = xattr_policy(table)?;
    let remove = removals(table)?;
    let spec = source_spec(table, !remove.is_empty())?;
    Ok(Source { remove, spec, policy, place: table.place() })
}

fn removals(table: &Table<'_>) -> Result<Vec<(String, Place)>, Error> {
    let remove = table.strings("remove")?;
    crate::glob::check(&remove)?;
    Ok(remove)
}

fn source_spec(table: &Table<'_>, may_be_empty: bool) -> Result<Option<SourceSpec>, Error> {
    let given: Vec<_> =
        SourceKind::ALL.into_iter().filter(|kind| table.get(kind.prefix()).is_some()).collect();
    let [kind] = *given else {
        let kinds = SourceKind::ALL.map(SourceKind::prefix).join(", ");
        if given.is_empty() && may_be_empty {
            return Ok(None);
        }
        let what = if given.is_empty() { "none" } else { "more than one" };
        return Err(table.error_here(format!("a source has one of {kinds}; this has {what}")));
    };
    let path = table.string(kind.prefix())?.unwrap_or_default();
    if path.is_empty() || path.contains('\0') {
        let bad = BadValue::new(format!("{} {path:?} is not a path", kind.prefix()));
        return Err(table.error(bad, table.span_of(kind.prefix())));
    }
    let mut spec = SourceSpec::new(kind, path);
    if let Some(at) = table.image_path("at")? {
        if matches!(kind, SourceKind::Paths | SourceKind::Image) {
            let bad = BadValue::new(format!(
                "at has no meaning for {}: its paths say where they go",
                kind.prefix()
            ));
            return Err(table.error(bad, table.span_of("at")));
        }
        spec.at = at;
    }
    use SourceKind::{InitList, PackFile, Pseudo};
    if let Some(base) = table.string("base")? {
        only_for(table, "base", kind, &[Pseudo, PackFile, InitList])?;
        spec.base = Some(base.into());
    }
    if let Some(variables) = table.table("variables")? {
        only_for(table, "variables", kind, &[InitList])?;
        for key in variables.entries().keys() {
            let value = variables.string(key.get_ref())?.unwrap_or_default();
            spec.variables.insert(key.get_ref().to_string(), value.to_owned());
        }
    }
    Ok(Some(spec))
}

/// Refuses a key that a kind of source has no use for.
fn only_for(table: &Table<'_>, key: &str, kind: SourceKind, kinds: &[SourceKind]) -> Result<(), Error> {
    if kinds.contains(&kind) {
        return Ok(());
    }
    let kinds: Vec<_> = kinds.iter().map(|kind| kind.prefix()).collect();
    let bad = BadValue::new(format!("{key} has no meaning for {}", kind.prefix()));
    Err(table.error(bad.with_help(format!("it is for {}", kinds.join(", "))), table.span_of(key)))
}

fn xattr_policy(table: &Table<'_>) -> Result<XattrPolicy, Error> {
    match table.get("xattrs").map(|value| (value.get_ref(), value.span())) {
        None | Some((DeValue::Boolean(true), _)) => Ok(XattrPolicy::Standard),
        Some((DeValue::Boolean(false), _)) => Ok(XattrPolicy::None),
        Some((DeValue::String(text), _)) if text == "acl" => Ok(XattrPolicy::WithAcls),
        Some((_, span)) => Err(table.error(BadValue::new("xattrs must be true, false or \"acl\""), span)),
    }
}

fn nodes(table: &Table<'_>) -> Result<Vec<Declaration>, Error> {
    let mut nodes = Vec::new();
    let mut seen: HashMap<Vec<u8>, Place> = HashMap::new();
    for (key, value) in table.entries() {
        let place = table.document().at(key.span());
        let name = key.get_ref();
        if !name.starts_with('/') {
            let bad = BadValue::new(format!("node {name:?} does not start with '/'"));
            return Err(
                table.error(bad.with_help("quote the whole path: \"/etc/hostname\" = { … }"), key.span())
            );
        }
        let path = value::image_path(name.as_bytes()).map_err(|bad| table.error(bad, key.span()))?;
        if let Some(first) = seen.insert(path.clone(), place.clone()) {
            return Err(declared_twice(&path, first, place));
        }
        let node = table.as_table(&format!("node {name}"), value)?;
        let (action, meta) = node_action(&node, &path).map_err(|e| e.at(place))?;
        nodes.push(Declaration { path, span: key.span(), action, meta });
    }
    Ok(nodes)
}

/// Type names of nodes with the keys that only they have.
const TYPES: [(&str, &[&str]); 8] = [
    ("directory", &[]),
    ("file", &["text", "hex", "base64", "host"]),
    ("symlink", &["target"]),
    ("hardlink", &["target"]),
    ("char", &["major", "minor"]),
    ("block", &["major", "minor"]),
    ("fifo", &[]),
    ("socket", &[]),
];

const META_KEYS: [&str; 5] = ["mode", "uid", "gid", "mtime", "xattrs"];

fn node_action(node: &Table<'_>, path: &[u8]) -> Result<(Action, Meta), Error> {
    let own: Vec<&str> = TYPES.iter().flat_map(|(_, keys)| keys.iter().copied()).collect();
    node.allow("a node", &[&["type"], &META_KEYS[..], &own[..]].concat())?;
    let kind = node_type(node, path)?;
    if let Some(kind) = kind {
        refuse_foreign_keys(node, kind, path)?;
    }
    let mut meta = meta(node)?;
    let action = match kind {
        None => modify(node, path)?,
        Some("directory") => Action::Directory,
        Some("fifo") => Action::Fifo,
        Some("socket") => Action::Socket,
        Some("symlink") => symlink(node, path)?,
        Some("hardlink") => hard_link(node, path)?,
        Some("char") => Action::Device(Kind::CharDevice, device(node)?),
        Some("block") => Action::Device(Kind::BlockDevice, device(node)?),
        Some(_) => Action::File(data(node, path)?),
    };
    let host_data = matches!(action, Action::File(Data::Host(_)));
    if host_data && node.get("mode").is_some_and(|mode| mode.get_ref().as_str() == Some("host")) {
        meta.host_permissions = true;
    } else {
        meta.permissions = node.mode("mode")?;
    }
    Ok((action, meta))
}

/// The type as stated, or as the keys tell it. `None` when there is only metadata.
fn node_type(node: &Table<'_>, path: &[u8]) -> Result<Option<&'static str>, Error> {
    let Some(stated) = node.string("type")? else {
        let has = |keys: &[&str]| keys.iter().any(|key| node.get(key).is_some());
        if has(&["major", "minor"]) {
            let message =
                format!("{}: a device needs type = \"char\" or type = \"block\"", display_path(path));
            return Err(node.error_here(message));
        }
        return Ok(TYPES.iter().find(|(_, keys)| has(keys)).map(|(name, _)| *name));
    };
    let known = TYPES.map(|(name, _)| name);
    TYPES.iter().find(|(name, _)| *name == stated).map(|(name, _)| Some(*name)).ok_or_else(|| {
        let bad = BadValue::new(format!("unknown type {stated:?}"));
        let help = match value::closest(stated, &known) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => format!("types are {}", known.join(", ")),
        };
        node.error(bad.with_help(help), node.span_of("type"))
    })
}

fn refuse_foreign_keys(node: &Table<'_>, kind: &str, path: &[u8]) -> Result<(), Error> {
    let own = TYPES.iter().find(|(name, _)| *name == kind).map_or(&[][..], |(_, keys)| *keys);
    for (key, value) in node.entries() {
        let name = key.get_ref().as_ref();
        let common = name == "type" || META_KEYS.contains(&name);
        let of_target = kind == "hardlink" && name != "target" && name != "type";
        let symlink_mode = kind == "symlink" && name == "mode";
        if of_target || symlink_mode || (!common && !own.contains(&name)) {
            let bad = BadValue::new(format!("{}: a {kind} has no {name}", display_path(path)));
            let help = match (of_target, symlink_mode) {
                (true, _) => {
                    "a hard link is a second name: mode, owner, time and xattrs belong to its target"
                }
                (_, true) => "Linux knows no mode of symlinks: they show as 0777",
                _ => "drop the key, or change the type",
            };
            return Err(node.error(bad.with_help(help), key.span().start..value.span().end));
        }
    }
    Ok(())
}

fn meta(node: &Table<'_>) -> Result<Meta, Error> {
    Ok(Meta {
        permissions: None,
        host_permissions: false,
        uid: node.owner("uid")?,
        gid: node.owner("gid")?,
        mtime: node.time("mtime")?,
        xattrs: node.table("xattrs")?.map_or_else(|| Ok(Xattrs::new()), |table| xattrs(&table))?,
    })
}

fn xattrs(table: &Table<'_>) -> Result<Xattrs, Error> {
    let mut xattrs = Xattrs::new();
    for (key, value) in table.entries() {
        let name = value::xattr_name(key.get_ref().as_bytes()).map_err(|bad| table.error(bad, key.span()))?;
        let bytes = match value.get_ref() {
            DeValue::String(text) => text.as_bytes().to_vec(),
            DeValue::Table(_) => {
                let value = table.as_table("xattr", value)?;
                value.allow("an xattr", &["text", "hex", "base64"])?;
                inline_bytes(&value)?
                    .ok_or_else(|| value.error_here("an xattr has one of text, hex, base64"))?
            }
            _ => {
                let bad = BadValue::new(format!("xattr {} must be a string", key.get_ref()));
                let bad = bad.with_help("or { hex = \"…\" }, or { base64 = \"…\" }");
                return Err(table.error(bad, value.span()));
            }
        };
        xattrs.insert(name, bytes);
    }
    Ok(xattrs)
}

/// Bytes given as `text`, `hex` or `base64`; `None` when there are none of these.
fn inline_bytes(table: &Table<'_>) -> Result<Option<Vec<u8>>, Error> {
    let mut found = None;
    for key in ["text", "hex", "base64"] {
        let Some(text) = table.string(key)? else { continue };
        let bytes = match key {
            "text" => Ok(text.as_bytes().to_vec()),
            "hex" => value::hex(text),
            _ => value::base64(text),
        };
        let bytes = bytes.map_err(|bad| table.error(bad, table.span_of(key)))?;
        if found.replace(bytes).is_some() {
            return Err(table.error_here("only one of text, hex, base64 can be the data"));
        }
    }
    Ok(found)
}

fn data(node: &Table<'_>, path: &[u8]) -> Result<Data, Error> {
    let shown = display_path(path);
    match (inline_bytes(node)?, node.string("host")?) {
        (Some(bytes), None) => Ok(Data::Bytes(bytes.into())),
        (None, Some(host)) if !host.is_empty() && !host.contains('\0') => Ok(Data::Host(host.into())),
        (None, Some(_)) => Err(node.error(BadValue::new("host is not a path"), node.span_of("host"))),
        (None, None) => Err(node
            .error_here(format!("{shown}: a file needs its data"))
            .with_help("one of text = \"…\", hex = \"…\", base64 = \"…\", host = \"path\"; text = \"\" for an empty file")),
        (Some(_), Some(_)) => {
            Err(node.error_here(format!("{shown}: data is given twice")).with_help("keep one of text, hex, base64, host"))
        }
    }
}

fn symlink(node: &Table<'_>, path: &[u8]) -> Result<Action, Error> {
    let text = node.string("target")?.ok_or_else(|| needs(node, path, "target"))?;
    value::target(text.as_bytes()).map(Action::Symlink).map_err(|bad| node.error(bad, node.span_of("target")))
}

fn hard_link(node: &Table<'_>, path: &[u8]) -> Result<Action, Error> {
    let target = node.image_path("target")?.ok_or_else(|| needs(node, path, "target"))?;
    Ok(Action::HardLink(target))
}

fn needs(node: &Table<'_>, path: &[u8], key: &str) -> Error {
    node.error_here(format!("{}: {key} is missing", display_path(path)))
}

fn device(node: &Table<'_>) -> Result<flashwright_tree::Device, Error> {
    let number = |key: &str| {
        let number = node.integer(key)?.ok_or_else(|| node.error_here(format!("a device needs {key}")))?;
        u64::try_from(number)
            .map_err(|_| node.error(BadValue::new(format!("{key} {number} is negative")), node.span_of(key)))
    };
    let (major, minor) = (number("major")?, number("minor")?);
    value::device(major, minor).map_err(|bad| node.error(bad, node.span_of("major")))
}

fn modify(node: &Table<'_>, path: &[u8]) -> Result<Action, Error> {
    if node.entries().is_empty() {
        return Err(node
            .error_here(format!("{}: nothing is said about it", display_path(path)))
            .with_help("say what it is: type = \"directory\", text = \"…\", target = \"…\""));
    }
    Ok(Action::Modify)
}
