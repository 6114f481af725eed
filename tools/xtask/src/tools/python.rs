//! Readers of the peers that are Python packages, each behind a script that runs it with its own libraries.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result};

use super::stamp;
use crate::process::{command, output};

/// Packages from PyPI, with the versions that the tests are made for.
const PACKAGES: [&str; 2] = ["jefferson==0.4.8", "ubi_reader==0.8.16"];
/// Programs, each with the function that is its main one.
const PROGRAMS: [(&str, &str); 3] = [
    ("jefferson", "jefferson.cli:main"),
    ("ubireader_extract_files", "ubireader.scripts.ubireader_extract_files:main"),
    ("ubireader_extract_images", "ubireader.scripts.ubireader_extract_images:main"),
];
const STAMP: &str = "python";

/// Installs the packages, unless they are there.
pub(crate) fn ensure(update: bool) -> Result<()> {
    let folder = vmtest::peers_dir();
    let (packages, bin) = (folder.join("python"), folder.join("bin"));
    let recipe = PACKAGES.join(" ");
    if update || !stamp::is_fresh(STAMP, &recipe) {
        println!("tools: fetching {recipe} from PyPI");
        if packages.exists() {
            fs::remove_dir_all(&packages).with_context(|| format!("cannot remove {}", packages.display()))?;
        }
        let mut pip = command("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--root-user-action=ignore", "--target"]).arg(&packages);
        output(pip.args(PACKAGES))?;
        stamp::set(STAMP, &recipe)?;
    }
    fs::create_dir_all(&bin).with_context(|| format!("cannot make {}", bin.display()))?;
    for (name, main) in PROGRAMS {
        let script = bin.join(name);
        fs::write(&script, wrapper(name, main))
            .with_context(|| format!("cannot write {}", script.display()))?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

fn wrapper(name: &str, main: &str) -> String {
    let (module, function) = main.split_once(':').unwrap_or((main, "main"));
    format!(
        r#"#!/bin/sh
PYTHONPATH="${{0%/*}}/../python" exec python3 -c '
import sys
from {module} import {function}
sys.argv[0] = "{name}"
sys.exit({function}())
' "$@"
"#
    )
}
