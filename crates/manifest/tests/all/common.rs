//! What several tests need: a folder with files, and a listing of a tree as text.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use flashwright_manifest::{
    Error, Image, Loaded, Options, Policy, SourceKind, SourceSpec, build, load_image,
};
use flashwright_tree::{NodeKind, Source, Tree, display_path};
use tempfile::TempDir;

pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn join(&self, path: &str) -> PathBuf {
        self.path().join(path)
    }

    /// Writes a file, its folders made with mode 0755, time 1000 for all.
    pub(crate) fn file(&self, path: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(path);
        self.dir(path.parent().unwrap().strip_prefix(self.path()).unwrap().to_str().unwrap());
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        set_time(&path, 1000);
        path
    }

    pub(crate) fn dir(&self, path: &str) {
        let mut so_far = self.path().to_owned();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            so_far.push(part);
            if !so_far.exists() {
                std::fs::create_dir(&so_far).unwrap();
                std::fs::set_permissions(&so_far, std::fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
    }

    pub(crate) fn mode(&self, path: &str, mode: u32) {
        std::fs::set_permissions(self.join(path), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Loads `image.toml` of this text.
    pub(crate) fn image(&self, text: &str) -> Result<Image, Error> {
        self.image_with(text, |_| ())
    }

    pub(crate) fn image_with(&self, text: &str, change: impl FnOnce(&mut Options)) -> Result<Image, Error> {
        load_image(&self.file("image.toml", text), &options(change))
    }

    /// Builds from one source of that kind and text.
    pub(crate) fn source(&self, kind: SourceKind, text: impl AsRef<[u8]>) -> Result<Loaded, Error> {
        self.source_with(kind, text, |_| ())
    }

    pub(crate) fn source_with(
        &self,
        kind: SourceKind,
        text: impl AsRef<[u8]>,
        change: impl FnOnce(&mut Options),
    ) -> Result<Loaded, Error> {
        let path = self.file("source", text);
        let options = options(|options| {
            options.base_dir = self.path().to_owned();
            change(options);
        });
        build(&[SourceSpec::new(kind, path)], &Policy::default(), &options)
    }

    /// An error as text, without the name of the temporary folder.
    pub(crate) fn shown(&self, error: &Error) -> String {
        format!("{error:?}").replace(&format!("{}/", self.path().display()), "")
    }
}

pub(crate) fn set_time(path: &Path, seconds: u64) {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    std::fs::File::open(path).unwrap().set_modified(time).unwrap();
}

pub(crate) fn options(change: impl FnOnce(&mut Options)) -> Options {
    let mut options = Options::default();
    change(&mut options);
    options
}

pub(crate) fn policy(change: impl FnOnce(&mut Policy)) -> Policy {
    let mut policy = Policy::default();
    change(&mut policy);
    policy
}

/// One line for each name: path, letter, mode, owner, time, and what only the kind has.
pub(crate) fn listing(tree: &Tree) -> String {
    let mut lines = String::new();
    for entry in tree.walk() {
        let m = &entry.node.metadata;
        let mut line = format!(
            "{} {} {:04o} {}:{} @{}",
            display_path(&entry.path),
            entry.node.kind().letter(),
            m.permissions,
            m.uid,
            m.gid,
            m.mtime.seconds
        );
        match &entry.node.kind {
            NodeKind::File(_) if !entry.first => line += " (again)",
            NodeKind::File(content) => {
                let holes = content.extents().iter().filter(|e| matches!(e.source, Source::Hole)).count();
                let bytes = content.to_vec().unwrap();
                if bytes.len() < 64 {
                    line += &format!(" {:?}", String::from_utf8_lossy(&bytes));
                } else {
                    line += &format!(" {} bytes", bytes.len());
                }
                if holes > 0 {
                    line += &format!(" {holes} holes");
                }
            }
            NodeKind::Symlink(target) => line += &format!(" -> {}", String::from_utf8_lossy(target)),
            NodeKind::CharDevice(d) | NodeKind::BlockDevice(d) => {
                line += &format!(" {}:{}", d.major, d.minor)
            }
            _ => {}
        }
        for (name, value) in &m.xattrs {
            line += &format!(" {}={:?}", String::from_utf8_lossy(name), String::from_utf8_lossy(value));
        }
        lines += &line;
        lines.push('\n');
    }
    lines
}
