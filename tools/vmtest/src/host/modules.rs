//! The modules of a kernel, with those they need.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use liblzma::read::XzDecoder;

use crate::Error;

/// A module as the guest loads it.
#[derive(Debug, Clone)]
pub(crate) struct LoadableModule {
    /// Name, with `_` only.
    pub(crate) name: String,
    /// Content of the `.ko` file, not compressed.
    pub(crate) image: Vec<u8>,
}

/// All modules of one kernel.
#[derive(Debug)]
pub(crate) struct ModuleTree {
    folder: PathBuf,
    files: HashMap<String, PathBuf>,
    builtin: Vec<String>,
}

impl ModuleTree {
    /// The modules below `folder`, which is `/lib/modules/VERSION` of the kernel's package.
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        let mut files = HashMap::new();
        let mut folders = vec![folder.join("kernel")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).map_err(Error::io(&folder))? {
                let path = entry.map_err(Error::io(&folder))?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Some(name) = module_name(&path) {
                    files.insert(name, path);
                }
            }
        }
        let builtin = fs::read_to_string(folder.join("modules.builtin")).unwrap_or_default();
        let builtin = builtin.lines().filter_map(|line| module_name(Path::new(line))).collect();
        Ok(ModuleTree { folder: folder.to_owned(), files, builtin })
    }

    /// The module `name` and all that it needs, what is needed first. Nothing for what is built into the kernel.
    pub(crate) fn with_dependencies(&self, name: &str) -> Result<Vec<LoadableModule>, Error> {
        let mut ready: Vec<LoadableModule> = Vec::new();
        // A module is pushed again after those it needs; the second time it is ready.
        let mut pending = vec![(normal(name), false)];
        while let Some((name, needs_met)) = pending.pop() {
            if ready.iter().any(|module| module.name == name) || self.builtin.contains(&name) {
                continue;
            }
            let image = self.load(&name)?;
            if needs_met {
                ready.push(LoadableModule { name, image });
            } else {
                pending.push((name, true));
                pending.extend(dependencies(&image).into_iter().map(|name| (name, false)));
            }
        }
        Ok(ready)
    }

    fn load(&self, name: &str) -> Result<Vec<u8>, Error> {
        let missing = || Error::NoModule { name: name.to_owned(), folder: self.folder.clone() };
        let path = self.files.get(name).ok_or_else(missing)?;
        read_maybe_xz(path).map_err(Error::io(path))
    }
}

/// Writes the modules of that names, and those they need, into `folder`, from the kernel in [`crate::peers_dir`]. A
/// file `order` there lists them as they must be loaded.
///
/// # Errors
/// [`Error::NoModule`], [`Error::Io`].
pub fn write_modules(names: &[String], folder: &Path) -> Result<(), Error> {
    let tree = ModuleTree::open(&crate::peers_dir().join("vm/amd64/modules"))?;
    let mut order: Vec<String> = Vec::new();
    for name in names {
        for module in tree.with_dependencies(name)? {
            let file = format!("{}.ko", module.name);
            let path = folder.join(&file);
            fs::write(&path, &module.image).map_err(Error::io(&path))?;
            if !order.contains(&file) {
                order.push(file);
            }
        }
    }
    let path = folder.join("order");
    fs::write(&path, order.join("\n") + "\n").map_err(Error::io(&path))
}

/// A file's content, decompressed when its name ends in `.xz`.
pub(crate) fn read_maybe_xz(path: &Path) -> io::Result<Vec<u8>> {
    let bytes = fs::read(path)?;
    if path.extension().is_none_or(|extension| extension != "xz") {
        return Ok(bytes);
    }
    let mut plain = Vec::new();
    XzDecoder::new_multi_decoder(bytes.as_slice()).read_to_end(&mut plain)?;
    Ok(plain)
}

/// `kernel/crypto/lz4-hc.ko.xz` is module `lz4_hc`.
fn module_name(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let stem = file.strip_suffix(".xz").unwrap_or(file).strip_suffix(".ko")?;
    Some(normal(stem))
}

fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// What `.modinfo`, a section of strings `key=value` that end in NUL, says that the module needs.
fn dependencies(image: &[u8]) -> Vec<String> {
    let entries = image.split(|&byte| byte == 0);
    let lists = entries.filter_map(|entry| {
        if let Some(list) = entry.strip_prefix(b"depends=") {
            return Some((list, b','));
        }
        entry.strip_prefix(b"softdep=pre: ").map(|list| (list, b' '))
    });
    lists
        .flat_map(|(list, separator)| list.split(move |&byte| byte == separator))
        .filter_map(|name| std::str::from_utf8(name).ok())
        .take_while(|name| *name != "post:")
        .filter(|name| !name.is_empty())
        .map(normal)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(info: &str) -> Vec<u8> {
        format!("\x7fELF\0\0license=GPL\0{info}\0name=x\0").into_bytes()
    }

    #[test]
    fn needed_modules_come_first_and_once() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("kernel/fs")).unwrap();
        let files = [
            ("fs/top-fs.ko", "depends=mid,low-er"),
            ("mid.ko", "depends=low_er,built-in"),
            ("low-er.ko", "depends="),
        ];
        for (name, info) in files {
            fs::write(dir.path().join("kernel").join(name), module(info)).unwrap();
        }
        fs::write(dir.path().join("modules.builtin"), "kernel/built-in.ko\n").unwrap();
        let tree = ModuleTree::open(dir.path()).unwrap();
        let names =
            |name| tree.with_dependencies(name).unwrap().into_iter().map(|m| m.name).collect::<Vec<_>>();
        assert_eq!(names("top_fs"), ["low_er", "mid", "top_fs"]);
        assert_eq!(names("built_in"), [""; 0]);
        assert!(matches!(tree.with_dependencies("none"), Err(Error::NoModule { .. })));
    }
}
