//! Stamps: a thing is made once for each recipe.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

fn path(name: &str) -> PathBuf {
    vmtest::peers_dir().join("stamps").join(name)
}

/// True when `name` was made from this very recipe.
pub(crate) fn is_fresh(name: &str, recipe: &str) -> bool {
    fs::read_to_string(path(name)).is_ok_and(|made| made == recipe)
}

/// Notes that `name` was made from that recipe.
pub(crate) fn set(name: &str, recipe: &str) -> Result<()> {
    let path = path(name);
    let folder = path.parent().context("a stamp is in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::write(&path, recipe).with_context(|| format!("cannot write {}", path.display()))
}
