//! Compressed archives: the same bytes every time, and what they unpack to is the archive.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use flashwright_cpio::{Compression, Error, Options, plan, read_bytes, write};
use flashwright_tree::{Content, Node, Tree, compare};

/// Text that compresses, noise that does not, and more than one LZ4 chunk of it.
fn tree() -> Tree {
    let mut tree = Tree::new();
    let mut state = 1_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let noise: Vec<u8> = (0..1_500_000).map(|_| noise()).collect();
    let text: Vec<u8> = (0..1_000_000_u32).flat_map(|i| (i / 7).to_le_bytes()).collect();
    for (name, data) in [(&b"a"[..], noise.clone()), (b"b", text.clone()), (b"c", [noise, text].concat())] {
        tree.insert(Tree::ROOT, name, Node::file(0o644, Content::from_bytes(data))).unwrap();
    }
    tree
}

fn written(tree: &Tree, compression: Compression) -> Vec<u8> {
    let mut options = Options::default();
    options.compression = compression;
    let mut bytes = Vec::new();
    let summary = write(tree, &options, &mut bytes).unwrap();
    assert_eq!(summary.output_len, bytes.len() as u64);
    bytes
}

/// What a program unpacks from its standard input; `None` where it is missing.
fn unpacked_by(program: &str, arguments: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let found = std::env::split_paths(&std::env::var_os("PATH")?).any(|dir| dir.join(program).exists());
    if !found {
        vmtest::skip(&format!("{program} is not installed"));
        return None;
    }
    let mut child =
        Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{program}");
    Some(output.stdout)
}

#[test]
fn what_is_written_unpacks_to_the_archive() {
    let tree = tree();
    let plain = written(&tree, Compression::None);
    assert_eq!(compare(&tree, &read_bytes(plain.clone()).unwrap()).unwrap(), []);
    for compression in Compression::ALL {
        let bytes = written(&tree, compression);
        assert_eq!(bytes, written(&tree, compression), "{}: the same bytes again", compression.name());
        let unpacked = match compression {
            Compression::None => Some(bytes),
            Compression::Gzip(_) => unpacked_by("gzip", &["-dc"], &bytes),
            Compression::Xz(_) => {
                let mut output = Vec::new();
                liblzma::read::XzDecoder::new(&bytes[..]).read_to_end(&mut output).unwrap();
                Some(output)
            }
            Compression::Zstd(_) => Some(zstd::decode_all(&bytes[..]).unwrap()),
            Compression::Lz4(_) => Some(unpacked_lz4(&bytes)),
            _ => Some(unpacked_lzop(&bytes)),
        };
        let Some(unpacked) = unpacked else { continue };
        assert!(unpacked == plain, "{} does not unpack to the archive", compression.name());
    }
}

fn word(bytes: &[u8]) -> [u8; 4] {
    bytes[..4].try_into().unwrap()
}

fn unpacked_lz4(bytes: &[u8]) -> Vec<u8> {
    assert_eq!(word(bytes), [0x02, 0x21, 0x4c, 0x18]);
    let (mut rest, mut output) = (&bytes[4..], Vec::new());
    while !rest.is_empty() {
        let len = u32::from_le_bytes(word(rest)) as usize;
        let mut chunk = vec![0; 8 << 20];
        let mut unpack = flashwright_codec::lz4::decompressor();
        let n = unpack.decompress(&rest[4..4 + len], &mut chunk).unwrap();
        output.extend_from_slice(&chunk[..n]);
        rest = &rest[4 + len..];
    }
    output
}

fn unpacked_lzop(bytes: &[u8]) -> Vec<u8> {
    assert_eq!(bytes[..9], [0x89, b'L', b'Z', b'O', 0, 13, 10, 26, 10]);
    assert_eq!(u32::from_be_bytes(word(&bytes[34..])), adler2::adler32_slice(&bytes[9..34]));
    let (mut rest, mut output) = (&bytes[38..], Vec::new());
    loop {
        let plain = u32::from_be_bytes(word(rest)) as usize;
        if plain == 0 {
            assert_eq!(rest.len(), 4, "bytes after the end mark");
            return output;
        }
        let packed = u32::from_be_bytes(word(&rest[4..])) as usize;
        let data = &rest[12..12 + packed];
        let mut block = vec![0; plain];
        if packed == plain {
            block.copy_from_slice(data);
        } else {
            flashwright_codec::lzo::decompressor().decompress(data, &mut block).unwrap();
        }
        assert_eq!(u32::from_be_bytes(word(&rest[8..])), adler2::adler32_slice(&block));
        output.extend_from_slice(&block);
        rest = &rest[12 + packed..];
    }
}

#[test]
fn lzop_itself_takes_it() {
    if Path::new("/usr/bin/lzop").exists() {
        let tree = tree();
        let plain = written(&tree, Compression::None);
        assert!(unpacked_by("lzop", &["-dc"], &written(&tree, Compression::Lzo)).unwrap() == plain);
    }
}

#[test]
fn headers_are_what_kernels_take() {
    let bytes = |compression| written(&Tree::new(), compression);
    // No name, no time, in no particular operating system.
    assert_eq!(bytes(Compression::Gzip(12))[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255]);
    // CRC-32 as check; a dictionary of 4096 bytes for so short an archive.
    let xz = bytes(Compression::Xz(9));
    assert_eq!(xz[..8], [0xfd, b'7', b'z', b'X', b'Z', 0, 0, 1]);
    assert_eq!(xz[14..17], [0x21, 1, 0]);
    assert_eq!(bytes(Compression::Zstd(22))[..4], [0x28, 0xb5, 0x2f, 0xfd]);
}

#[test]
fn levels_have_ranges() {
    for compression in Compression::ALL {
        assert_eq!(Compression::of(compression.name()), Some(compression));
        for level in 0..30 {
            let has = compression.levels().is_some_and(|levels| levels.contains(&level));
            assert_eq!(compression.with_level(level).is_ok(), has, "{} {level}", compression.name());
        }
    }
    let error = Compression::Gzip(1).with_level(13).unwrap_err();
    assert_eq!(error.to_string(), "gzip has no level 13: give one from 1 to 12");
    assert_eq!(Compression::Lzo.with_level(1).unwrap_err().to_string(), "lzo has no level 1: it has none");
    let mut options = Options::default();
    options.compression = Compression::Zstd(23);
    assert!(matches!(plan(&Tree::new(), &options), Err(Error::BadLevel { level: 23, .. })));
}
