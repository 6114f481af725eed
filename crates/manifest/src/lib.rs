//! What a flash image contains: every input format made one [`Tree`].
//!
//! ```text
//! image.toml ──► sources in order ──► nodes by path ──► Tree + outputs + notes
//!                 │ host directories        (declared in the file)
//!                 │ tar and cpio archives
//!                 │ pseudo files, Liminix JSON, device tables, pack files, init lists
//!                 └ lists of host paths
//! ```
//!
//! [`load_image`] reads an `image.toml` whole; [`build`] makes a tree of sources that a command line names. Each
//! error says where it is, with the text to show and a remedy, as a [`miette::Diagnostic`]. Text is parsed apart from
//! the host: [`parse_toml`], [`parse_pseudo`] and the like touch no file, so that they can be fuzzed.
//!
//! Nothing here reads the clock, the environment or the users of the host; [`Options`] brings what must be known.
//! No data of host files is read, only names, metadata and the position of holes. No root is needed.

mod apply;
mod archive;
mod builder;
mod declaration;
mod device_table;
mod error;
mod fields;
mod glob;
mod image;
mod init_list;
mod liminix;
mod names;
mod options;
mod output;
mod pack_file;
mod pack_glob;
mod paths;
mod pseudo;
mod scan;
mod source;
mod table;
mod value;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use flashwright_tree::Tree;

use crate::builder::Builder;
use crate::options::{Chain, Rules};

pub use builder::Origins;
pub use declaration::{Action, Data, Declaration, Glob, Meta};
pub use error::{Class, Document, Error, Note, Place, Severity};
pub use options::{ModeMask, Options, Policy, XattrPolicy};
pub use output::Output;
pub use source::{SourceKind, SourceSpec};

/// What an `image.toml` describes.
#[derive(Debug)]
#[non_exhaustive]
pub struct Image {
    /// What the image contains.
    pub tree: Tree,
    /// What is to be written, in the order of the file.
    pub outputs: Vec<Output>,
    /// What is worth saying.
    pub notes: Vec<Note>,
    /// Every source that was read, with its path on the host as it was opened.
    pub inputs: Vec<SourceSpec>,
    /// Where each node comes from.
    pub origins: Origins,
}

/// A tree made of sources.
#[derive(Debug)]
#[non_exhaustive]
pub struct Loaded {
    /// What the image contains.
    pub tree: Tree,
    /// What is worth saying.
    pub notes: Vec<Note>,
    /// Every source that was read, with its path on the host as it was opened.
    pub inputs: Vec<SourceSpec>,
    /// Where each node comes from.
    pub origins: Origins,
}

/// Reads an `image.toml` and everything it names. `path` is relative to the current directory.
///
/// # Errors
/// [`Class::Io`] when the host refuses a file, [`Class::Invalid`] when a text or the tree it describes is wrong,
/// [`Class::Refused`] when a pseudo file wants to run a command and [`Options::allow_commands`] is not set.
pub fn load_image(path: &Path, options: &Options) -> Result<Image, Error> {
    let mut builder = Builder::new(options, Chain::default())?;
    let outputs = image::add(&mut builder, path)?;
    builder.inputs.push(SourceSpec::new(SourceKind::Image, path));
    let Loaded { tree, notes, inputs, origins } = builder.finish();
    Ok(Image { tree, outputs, notes, inputs, origins })
}

/// Makes one tree of sources, the later over the earlier. The policy applies to all they bring, also to the nodes
/// that an `image.toml` among them declares, after its own policies.
///
/// # Errors
/// As [`load_image`]; [`Class::Usage`] when the policy makes no sense.
pub fn build(sources: &[SourceSpec], policy: &Policy, options: &Options) -> Result<Loaded, Error> {
    let mut builder =
        Builder::new(options, Chain::of(Rules::new(policy.clone()).map_err(Error::into_usage)?))?;
    sources.iter().try_for_each(|spec| source::add(&mut builder, spec, None))?;
    Ok(builder.finish())
}

/// Checks the text of an `image.toml` and returns its outputs, without looking at any file it names.
///
/// # Errors
/// [`Class::Invalid`], as [`load_image`].
pub fn parse_toml(text: &str) -> Result<(Vec<Declaration>, Vec<Output>), Error> {
    let document = Document::new("image.toml", text.as_bytes());
    image::parse(&text.into(), &document).map(image::Parsed::into_parts)
}

/// Reads the definitions of a pseudo file, without looking at any file or running any command.
///
/// # Errors
/// [`Class::Invalid`] at the first line that is none.
pub fn parse_pseudo(text: &[u8]) -> Result<Vec<Declaration>, Error> {
    let document = Document::new("pseudo file", pseudo::definitions(text));
    Ok(pseudo::parse(text, &document)?.declarations)
}

/// Reads the JSON tree of Liminix, without looking at any file.
///
/// # Errors
/// [`Class::Invalid`] at the first value that does not fit.
pub fn parse_liminix(text: &[u8]) -> Result<Vec<Declaration>, Error> {
    liminix::parse(text, &Document::new("liminix.json", text))
}

/// Reads a list of host paths, without looking at any of them.
///
/// # Errors
/// [`Class::Invalid`] at the first line that is no absolute path.
pub fn parse_paths(text: &[u8]) -> Result<Vec<Declaration>, Error> {
    paths::parse(text, &Document::new("paths", text))
}

/// Reads a device table, without looking at any file.
///
/// # Errors
/// [`Class::Invalid`] at the first line that is none, [`Class::Refused`] for `..` in a path.
pub fn parse_device_table(text: &[u8]) -> Result<Vec<Declaration>, Error> {
    device_table::parse(text, &Document::new("device table", text))
}

/// Reads a pack file of gensquashfs, without looking at any file it names.
///
/// # Errors
/// As [`parse_device_table`].
pub fn parse_pack_file(text: &[u8]) -> Result<Vec<Declaration>, Error> {
    pack_file::parse(text, &Document::new("pack file", text))
}

/// Reads a list as gen_init_cpio does, without looking at any file it names. `variables` has the values of `${NAME}`.
///
/// # Errors
/// As [`parse_device_table`]; [`Class::Refused`] for a variable without a value.
pub fn parse_init_list(text: &[u8], variables: &BTreeMap<String, String>) -> Result<Vec<Declaration>, Error> {
    init_list::parse(text, &Document::new("init list", text), variables)
}

/// Reads a tar archive in memory that is not compressed. The tree's content shares the memory.
///
/// # Errors
/// [`Class::Invalid`] with the position of what is wrong, [`Class::Refused`] for `..` in a path.
pub fn read_tar(bytes: impl Into<Arc<[u8]>>) -> Result<Loaded, Error> {
    let options = Options::default();
    let mut builder = Builder::new(&options, Chain::default())?;
    let document = Document::untitled("tar");
    archive::add_tar(&mut builder, &archive::Archive::in_memory(bytes.into()), &document, b"")?;
    Ok(builder.finish())
}
