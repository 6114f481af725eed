//! Declarations into the tree: the host is looked at here, and nowhere else but in the scan.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};
use std::sync::Arc;

use flashwright_tree::{
    Content, HostFile, Kind, Node, NodeId, NodeKind, Source, Tree, display_path, join_path,
};
use rustix::fs::FileType;

use crate::builder::{Builder, Origin, Spot, declared_twice};
use crate::declaration::{Action, Data, Declaration, Meta};
use crate::scan::{Request, Wants, host_content, scan};
use crate::{Class, Document, Error, Severity};

/// Output that a command may have, in bytes: it is kept in memory.
const MAX_COMMAND_OUTPUT: u64 = 64 << 20;

/// Runs of zeros that become holes again, in bytes: the page size, below which no file system has holes.
const HOLE_GRANULARITY: usize = 4096;

/// The data that follows the definitions of a pseudo file.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    pub(crate) file: Arc<HostFile>,
    /// First byte of data, from the start of the file.
    pub(crate) start: u64,
}

/// Carries out declarations of one text below `at`. Nodes are made first, then hard links, then metadata is changed,
/// so that the order of lines does not matter.
pub(crate) fn apply(
    builder: &mut Builder<'_>,
    declarations: &[Declaration],
    document: &Arc<Document>,
    at: &[u8],
    section: Option<&Section>,
) -> Result<(), Error> {
    let mut links = Vec::new();
    let mut changes = Vec::new();
    for declaration in declarations {
        let path = join_below(at, &declaration.path);
        if builder.chain.excludes(&path) {
            continue;
        }
        let place = document.at(declaration.span.clone());
        let origin = builder.origin(place.clone());
        match &declaration.action {
            Action::HardLink(target) => links.push(Link { path, target: join_below(at, target), origin }),
            Action::Modify | Action::ModifyIfThere | Action::ModifyBelow => {
                changes.push((path, declaration, origin))
            }
            _ => make(builder, declaration, &path, origin, section).map_err(|e| e.at(place))?,
        }
    }
    resolve_links(builder, &links)?;
    changes.iter().try_for_each(|(path, declaration, origin)| change(builder, declaration, path, *origin))
}

fn join_below(at: &[u8], path: &[u8]) -> Vec<u8> {
    if path.is_empty() { at.to_vec() } else { join_path(at, path) }
}

fn make(
    builder: &mut Builder<'_>,
    declaration: &Declaration,
    path: &[u8],
    origin: Origin,
    section: Option<&Section>,
) -> Result<(), Error> {
    if let Action::Glob(glob) = &declaration.action {
        return crate::pack_glob::expand(builder, glob, &declaration.meta, path, origin);
    }
    if let Action::Host { path: host, follow, directories } = &declaration.action {
        let wants = if *directories { Wants::Anything } else { Wants::NoDirectory };
        let host = builder.host_path(host);
        return scan(builder, &Request { host: &host, at: path, origin, follow: *follow, wants });
    }
    let Some(spot) = builder.parent(path, origin)? else {
        return make_root(builder, declaration, origin);
    };
    let (kind, meta) = node_kind(builder, declaration, path, section)?;
    if kind_of(&kind) == Kind::Directory
        && let Some(id) = builder.tree.lookup(spot.directory, spot.name)
        && builder.tree.is_directory(id)
    {
        builder.claim_directory(id, path, meta.as_ref().unwrap_or(&declaration.meta), origin)?;
        return builder.modify(id, &declaration.meta, path);
    }
    let metadata = builder.metadata(meta.as_ref().unwrap_or(&declaration.meta), kind_of(&kind), path)?;
    builder.put(spot, Node::new(metadata, kind), origin).map(|_| ())
}

fn make_root(builder: &mut Builder<'_>, declaration: &Declaration, origin: Origin) -> Result<(), Error> {
    if matches!(declaration.action, Action::Directory) {
        builder.claim_directory(Tree::ROOT, b"", &declaration.meta, origin)?;
        return builder.modify(Tree::ROOT, &declaration.meta, b"");
    }
    Err(Error::invalid("/: the root of the image can only be a directory"))
}

const fn kind_of(kind: &NodeKind) -> Kind {
    match kind {
        NodeKind::Directory => Kind::Directory,
        NodeKind::Symlink(_) => Kind::Symlink,
        _ => Kind::File,
    }
}

/// What the node is, and its metadata where the host decides a part of it.
fn node_kind(
    builder: &mut Builder<'_>,
    declaration: &Declaration,
    path: &[u8],
    section: Option<&Section>,
) -> Result<(NodeKind, Option<Meta>), Error> {
    let kind = match &declaration.action {
        Action::File(Data::Host(host)) => {
            let (content, stat) = host_content(&builder.host_path(host))?;
            // The mask leaves 12 bits, which fit.
            let bits = u16::try_from(stat.st_mode & 0o7777).unwrap_or(0);
            let meta = host_mode(builder, declaration, path, bits);
            debug_assert_eq!(FileType::from_raw_mode(stat.st_mode), FileType::RegularFile);
            return Ok((NodeKind::File(content), meta));
        }
        Action::File(data) => NodeKind::File(file_data(builder, data, path, section)?),
        Action::Symlink(target) => NodeKind::Symlink(target.clone()),
        Action::Device(Kind::BlockDevice, device) => NodeKind::BlockDevice(*device),
        Action::Device(_, device) => NodeKind::CharDevice(*device),
        Action::Fifo => NodeKind::Fifo,
        Action::Socket => NodeKind::Socket,
        // The others never come here, see `apply` and `make`.
        _ => NodeKind::Directory,
    };
    Ok((kind, None))
}

/// Takes the host's permission bits where that is asked for; says so where a program loses its x bits.
fn host_mode(builder: &mut Builder<'_>, declaration: &Declaration, path: &[u8], bits: u16) -> Option<Meta> {
    let mut meta = declaration.meta.clone();
    if meta.host_permissions {
        meta.permissions = Some(bits);
    } else if meta.permissions.is_none() && bits & 0o111 != 0 {
        let message = format!(
            "{}: mode 0644, though the host file has {bits:04o}; mode = \"host\" keeps that",
            display_path(path)
        );
        builder.note(Severity::Warning, message, None);
    }
    Some(meta)
}

fn file_data(
    builder: &Builder<'_>,
    data: &Data,
    path: &[u8],
    section: Option<&Section>,
) -> Result<Content, Error> {
    match data {
        Data::Bytes(bytes) => Ok(Content::from_bytes(Arc::clone(bytes))),
        Data::Command(command) => run(builder, command, path),
        Data::Host(host) => Ok(host_content(&builder.host_path(host))?.0),
        Data::Section { offset, len, sparse } => {
            let section = section.ok_or_else(|| Error::invalid("there is no data section"))?;
            section_data(section, *offset, *len, *sparse)
        }
    }
}

fn section_data(section: &Section, offset: u64, len: u64, sparse: bool) -> Result<Content, Error> {
    let available = section.file.identity().len.saturating_sub(section.start);
    if offset.checked_add(len).is_none_or(|end| end > available) {
        let message =
            format!("{len} bytes at {offset} are beyond the data section, which has {available} bytes");
        return Err(Error::invalid(message).with_help("the file is cut short: make it again"));
    }
    let start = section.start + offset;
    let whole = Content::empty().with(Source::Host(Arc::clone(&section.file)), start, len);
    if sparse { with_holes(&whole, section, start) } else { Ok(whole) }
}

/// Turns aligned runs of zeros into holes.
fn with_holes(whole: &Content, section: &Section, start: u64) -> Result<Content, Error> {
    let mut reader = whole.reader();
    let mut buffer = vec![0; 32 * HOLE_GRANULARITY];
    let mut content = Content::empty();
    let (mut offset, mut data_from) = (0, 0);
    let host = |from: u64, to: u64, content: Content| {
        content.with(Source::Host(Arc::clone(&section.file)), start + from, to - from)
    };
    while offset < whole.len() {
        let len = usize::try_from(whole.len() - offset).unwrap_or(usize::MAX).min(buffer.len());
        let read = reader.read_exact_at(offset, &mut buffer[..len]);
        read.map_err(|e| Error::new(Class::Io, e.to_string()))?;
        for page in buffer[..len].chunks(HOLE_GRANULARITY) {
            let end = offset + page.len() as u64;
            if page.iter().all(|&byte| byte == 0) {
                content = host(data_from, offset, content).with(Source::Hole, 0, page.len() as u64);
                data_from = end;
            }
            offset = end;
        }
    }
    Ok(host(data_from, offset, content))
}

fn run(builder: &Builder<'_>, command: &[u8], path: &[u8]) -> Result<Content, Error> {
    let shown = String::from_utf8_lossy(command).into_owned();
    let refuse =
        |class, what: String| Error::new(class, format!("{}: command {shown:?} {what}", display_path(path)));
    if !builder.options.allow_commands {
        return Err(refuse(Class::Refused, "is not run".into()).with_help(
            "--allow-commands runs it, with all rights you have; better: run it yourself and name its output with 'l', or as host = \"…\" in image.toml",
        ));
    }
    let mut sh = Command::new("sh");
    sh.arg("-c").arg(OsStr::from_bytes(command)).stdin(Stdio::null()).stdout(Stdio::piped());
    if !builder.base_dir.as_os_str().is_empty() {
        sh.current_dir(&builder.base_dir);
    }
    let io = |e: std::io::Error| refuse(Class::Io, format!("failed: {e}"));
    let mut child = sh.spawn().map_err(io)?;
    let mut output = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MAX_COMMAND_OUTPUT + 1).read_to_end(&mut output).map_err(io)?;
    }
    // The pipe is closed by now: a command that would write more ends by SIGPIPE.
    let status = child.wait().map_err(io)?;
    if output.len() as u64 > MAX_COMMAND_OUTPUT {
        let what = format!("writes more than {} MiB", MAX_COMMAND_OUTPUT >> 20);
        return Err(refuse(Class::Invalid, what).with_help("write it to a file first and name that with 'l'"));
    }
    if !status.success() {
        return Err(refuse(Class::Io, format!("failed: {status}")).with_help("run it by hand to see why"));
    }
    Ok(Content::from_bytes(output))
}

/// A hard link still to be made.
#[derive(Debug)]
struct Link {
    path: Vec<u8>,
    target: Vec<u8>,
    origin: Origin,
}

fn resolve_links(builder: &mut Builder<'_>, links: &[Link]) -> Result<(), Error> {
    let mut by_path: HashMap<&[u8], &Link> = HashMap::new();
    for link in links {
        if let Some(first) = by_path.insert(&link.path, link) {
            return Err(declared_twice(&link.path, builder.place(first.origin), builder.place(link.origin)));
        }
    }
    let targets =
        links.iter().map(|link| final_target(builder, link, &by_path)).collect::<Result<Vec<_>, _>>()?;
    for (link, target) in links.iter().zip(targets) {
        let place = builder.place(link.origin);
        let spot = builder.parent(&link.path, link.origin).map_err(|e| e.at(place))?;
        let spot: Spot<'_> = spot.ok_or_else(|| Error::invalid("/: the root cannot be a hard link"))?;
        builder.put_link(spot, target, link.origin)?;
    }
    Ok(())
}

/// What a link leads to, through further links. Each step takes one link, so that more steps than links are a loop.
fn final_target(
    builder: &Builder<'_>,
    link: &Link,
    by_path: &HashMap<&[u8], &Link>,
) -> Result<NodeId, Error> {
    let shown = display_path(&link.path);
    let mut last = link;
    for _ in 0..=by_path.len() {
        if let Some(next) = by_path.get(&*last.target) {
            last = next;
            continue;
        }
        let target = display_path(&last.target);
        let place = builder.place(last.origin);
        let Some(id) = builder.tree.resolve(&last.target) else {
            return Err(Error::invalid(format!("{shown}: hard link to {target}, and there is nothing"))
                .at(place)
                .with_help("the target is a path of the image; symlinks on the way to it are not followed"));
        };
        if builder.tree.is_directory(id) {
            return Err(Error::invalid(format!("{shown}: hard link to {target}, which is a directory"))
                .at(place)
                .with_help("use a symlink: no file system has hard links to directories"));
        }
        return Ok(id);
    }
    Err(Error::invalid(format!("{shown}: a loop of hard links"))
        .at(builder.place(link.origin))
        .with_help("one of them must name a file"))
}

fn change(
    builder: &mut Builder<'_>,
    declaration: &Declaration,
    path: &[u8],
    origin: Origin,
) -> Result<(), Error> {
    let place = builder.place(origin);
    let Some(id) = builder.tree.resolve(path) else {
        if matches!(declaration.action, Action::ModifyIfThere) {
            return Ok(());
        }
        let message = format!("{}: there is nothing to change", display_path(path));
        return Err(Error::invalid(message).at(place).with_help(
            "say what it is (its type), or correct the path; symlinks on the way are not followed",
        ));
    };
    let all = match declaration.action {
        Action::ModifyBelow => builder.below(id, path),
        _ => vec![(id, path.to_vec())],
    };
    let mut all = all.iter();
    all.try_for_each(|(id, path)| builder.modify(*id, &declaration.meta, path)).map_err(|e| e.at(place))
}
