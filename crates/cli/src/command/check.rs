//! `check`: everything that is wrong with an image.

use std::io::{self, Write};

use flashwright_tree::{Finding, Findings, Severity, display_path};
use serde_json::{Value, json};

use crate::args::CheckArgs;
use crate::command::build::print_json;
use crate::command::ubi;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::formats::{Checked, Image};

pub(crate) fn run(args: &CheckArgs) -> Result<(), Failure> {
    if let Some(volumes) = ubi::open(&args.image)? {
        return ubi::check(args, &volumes);
    }
    let path = &args.image.image;
    let image = Image::open(path, &args.known)?;
    let Checked { findings, unchecked } = (image.format.check)(&image)?;
    let count = findings.faults();
    if args.image.json {
        let list: Vec<Value> = findings.list.iter().map(object).collect();
        let format = image.format.name;
        print_json(
            &json!({ "format": format, "sound": count == 0, "count": count, "findings": list, "unchecked": unchecked }),
        )?;
    } else if count > 0 || !args.quiet {
        print(&findings)?;
        if count == 0 {
            print_line(&verdict(&image, &findings, &unchecked))?;
        }
    }
    match count {
        0 => Ok(()),
        1 => Err(failed(format!("{}: 1 finding", path.display()))),
        count => Err(failed(format!("{}: {count} findings", path.display()))),
    }
}

/// That nothing is wrong, and with what.
fn verdict(image: &Image<'_>, findings: &Findings, unchecked: &[&str]) -> String {
    let (path, format) = (image.path.display(), image.format.name);
    if unchecked.is_empty() && findings.is_clean() {
        return format!("{path}: {format}: sound");
    }
    if unchecked.is_empty() {
        return format!("{path}: {format}: sound, as a file system in use is");
    }
    format!("{path}: {format}: nothing wrong found, but not checked: {}", unchecked.join("; "))
}

fn failed(message: String) -> Failure {
    Failure::new(Exit::Verification, message).help("make or copy the image again")
}

fn print(findings: &Findings) -> Result<(), Failure> {
    for finding in &findings.list {
        print_line(&format!("{}: {finding}", severity(finding)))?;
    }
    if findings.more > 0 {
        return print_line(&format!("and {} more", findings.more));
    }
    Ok(())
}

const fn severity(finding: &Finding) -> &'static str {
    match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

fn object(finding: &Finding) -> Value {
    json!({
        "severity": severity(finding),
        "path": finding.path.as_ref().map(|path| display_path(path).to_string()),
        "inode": finding.inode,
        "offset": finding.offset,
        "what": finding.what,
        "expected": finding.expected,
        "found": finding.found,
    })
}

fn print_line(line: &str) -> Result<(), Failure> {
    writeln!(io::stdout(), "{line}").map_err(|error| Failure::stdout(&error))
}
