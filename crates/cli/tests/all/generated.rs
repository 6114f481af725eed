//! What is made from the definitions of the flags: help, man pages, completions.

use std::fs;

use crate::common::{Sandbox, names_in};

const COMMANDS: [&[&str]; 11] = [
    &["build"],
    &["pack", "squashfs"],
    &["pack", "jffs2"],
    &["pack", "ubifs"],
    &["pack", "cpio"],
    &["list"],
    &["extract"],
    &["check"],
    &["info"],
    &["completions"],
    &["man"],
];

#[test]
fn every_command_has_help_with_examples() {
    let sandbox = Sandbox::new();
    for command in COMMANDS {
        let run = sandbox.run(command.iter().chain(&["--help"]));
        assert_eq!(run.code, 0);
        let example = format!("\nExamples:\n  flashwright {}", command.join(" "));
        assert!(run.stdout.contains(&example), "{command:?}: {}", run.stdout);
        assert_eq!(run.stderr, "");
    }
}

#[test]
fn man_pages_and_completions() {
    let sandbox = Sandbox::new();
    assert!(sandbox.line("man").stdout.contains(".TH flashwright 1"));
    sandbox.line("man pages/man1").assert_ok();
    let pages = names_in(&sandbox.path("pages/man1"));
    assert!(pages.contains(&"flashwright-pack-squashfs.1".to_owned()), "{pages:?}");
    let page = fs::read_to_string(sandbox.path("pages/man1/flashwright-pack-squashfs.1")).unwrap();
    assert!(page.contains("block") && page.contains("Examples"), "{page}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = sandbox.run(["completions", shell]);
        assert!(run.code == 0 && run.stdout.contains("squashfs"), "{shell}");
    }
}
