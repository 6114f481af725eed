//! What a run tells: for people on standard error, for programs on standard output.

use std::fs;

use sha2::{Digest, Sha256};

use crate::common::{Sandbox, noise};

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("root/one", noise(300_000));
    sandbox.write("root/two", noise(300_000));
    sandbox
}

#[test]
fn people_get_lines_on_standard_error_and_no_bar() {
    let sandbox = sandbox();
    let run = sandbox.line("pack squashfs root -o out.squashfs --max-size 1M");
    run.assert_ok();
    assert_eq!(run.stdout, "");
    let lines: Vec<&str> = run.stderr.lines().collect();
    assert!(lines[0].starts_with("out.squashfs: squashfs, 3 nodes, "), "{lines:?}");
    assert_eq!(lines[1], "  585.94 KiB (600000 bytes) in");
    assert!(lines[2].starts_with("  296 KiB (303104 bytes) out, ratio 0.505"), "{lines:?}");
    assert_eq!(lines[3], "  728 KiB (745472 bytes) left of 1 MiB (1048576 bytes)");
    assert_eq!(lines[4], "  duplicates: 1 whole file, 292.97 KiB (300000 bytes) in all");
    assert_eq!(lines.len(), 5, "{lines:?}");
    let quiet = sandbox.line("pack squashfs root -o out.squashfs -q");
    assert_eq!((quiet.code, quiet.stdout.as_str(), quiet.stderr.as_str()), (0, "", ""));
}

#[test]
fn programs_get_one_object_on_standard_output() {
    let sandbox = sandbox();
    let run = sandbox.line("pack squashfs root -o out.squashfs --json");
    run.assert_ok();
    assert_eq!(run.stderr, "");
    let json = run.json();
    assert_eq!(json["warnings"], serde_json::json!([]));
    let [output] = &json["outputs"].as_array().unwrap()[..] else { panic!("{json}") };
    let keys: Vec<&str> = output.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "block_size",
        "blocks",
        "bytes_in",
        "bytes_out",
        "bytes_used",
        "compression",
        "duplicate_bytes",
        "duplicate_files",
        "format",
        "fragments",
        "hole_bytes",
        "kernel_needs",
        "max_size",
        "nodes",
        "path",
        "ratio",
        "seconds",
        "sha256",
    ];
    assert_eq!(keys, expected);
    let bytes = fs::read(sandbox.path("out.squashfs")).unwrap();
    let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(output["sha256"], digest);
    assert_eq!(output["bytes_out"], bytes.len());
    assert_eq!(output["bytes_in"], 600_000);
    assert_eq!(output["duplicate_files"], 1);
    assert_eq!(output["nodes"], 3);
    assert!(output["seconds"].as_f64().unwrap() > 0.0);
}

#[test]
fn overrides_are_told_with_v_only() {
    let sandbox = sandbox();
    sandbox.write("over/one", "x");
    let quiet = sandbox.line("pack squashfs root over -o out");
    assert!(!quiet.stderr.contains("/one"), "{}", quiet.stderr);
    let verbose = sandbox.line("pack squashfs root over -o out -v");
    verbose.assert_ok();
    assert!(verbose.stderr.contains("/one"), "{}", verbose.stderr);
}
