//! FIT images made by hand: what they hash to, and trees that mean harm.
#![allow(clippy::arithmetic_side_effects, reason = "sizes of images made here")]

use sha2::Digest;

use super::*;

/// Names of properties, each with its NUL.
const STRINGS: &[u8] = b"data\0data-size\0data-offset\0data-position\0algo\0value\0";

/// The words of a tree.
#[derive(Default)]
struct Tree(Vec<u8>);

impl Tree {
    fn word(&mut self, value: usize) {
        self.0.extend(u32::try_from(value).unwrap().to_be_bytes());
    }

    fn padded(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn open(&mut self, name: &str) -> &mut Self {
        self.word(1);
        self.padded(format!("{name}\0").as_bytes());
        self
    }

    fn close(&mut self) -> &mut Self {
        self.word(2);
        self
    }

    fn property(&mut self, name: &str, value: &[u8]) -> &mut Self {
        let name = format!("{name}\0");
        let at = STRINGS.windows(name.len()).position(|window| window == name.as_bytes()).unwrap();
        [3, value.len(), at].into_iter().for_each(|value| self.word(value));
        self.padded(value);
        self
    }

    fn number(&mut self, name: &str, value: u32) -> &mut Self {
        self.property(name, &value.to_be_bytes())
    }

    fn hash(&mut self, name: &str, algorithm: &str, value: &[u8]) -> &mut Self {
        let algorithm = format!("{algorithm}\0");
        self.open(name).property("value", value).property("algo", algorithm.as_bytes()).close()
    }

    fn sha256(&mut self, name: &str, data: &[u8]) -> &mut Self {
        self.hash(name, "sha256", &sha2::Sha256::digest(data))
    }

    fn crc32(&mut self, name: &str, data: &[u8]) -> &mut Self {
        self.hash(name, "crc32", &flashwright_media::crc32(data).to_be_bytes())
    }

    /// The whole image: header, tree, names, and what is behind it.
    fn image(&mut self, behind: &[u8]) -> Vec<u8> {
        self.word(9);
        let len = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap();
        let (tree, strings) = (len(&self.0), len(STRINGS));
        let header = [0xd00d_feed, 56 + tree + strings, 56, 56 + tree, 40, 17, 16, 0, strings, tree];
        let mut bytes: Vec<u8> = header.into_iter().flat_map(u32::to_be_bytes).collect();
        bytes.extend([0; 16]);
        bytes.extend(&self.0);
        bytes.extend(STRINGS);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(behind);
        bytes
    }
}

fn findings(bytes: &[u8]) -> Findings {
    let mut source = bytes;
    let image = identify(&bytes[..bytes.len().min(HEAD_LEN)]);
    assert_eq!(image.name(), "fit");
    check(&image, &mut source).unwrap()
}

fn reasons(bytes: &[u8]) -> Vec<String> {
    findings(bytes).refusals.iter().map(|refusal| format!("{}: {}", refusal.word, refusal.reason)).collect()
}

fn noise(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|index| u8::try_from((index * index + seed) % 251).unwrap()).collect()
}

/// A kernel in the tree, a device tree behind it by its offset, a ramdisk by its position.
fn three_images() -> (Vec<u8>, [usize; 3]) {
    let (kernel, dtb, ramdisk) = (noise(200_001, 1), noise(7000, 2), noise(100_000, 3));
    let mut tree = Tree::default();
    tree.open("").property("data", b"not of an image").open("images");
    tree.open("kernel-1").property("data", &kernel);
    tree.crc32("hash@1", &kernel).sha256("hash-2", &kernel);
    tree.open("signature-1").property("algo", b"sha256,rsa2048\0").property("value", b"x").close();
    tree.close();
    tree.open("fdt-1").number("data-size", 7000).number("data-offset", 0).sha256("hash", &dtb).close();
    let position = 300_000u32;
    tree.open("ramdisk").number("data-position", position).number("data-size", 100_000);
    tree.crc32("hash-1", &ramdisk).close().close();
    tree.open("configurations")
        .open("conf-1")
        .hash("hash-1", "sha256", b"of nothing")
        .close()
        .close()
        .close();
    let mut bytes = tree.image(&dtb);
    let at = bytes.len() - dtb.len();
    bytes.resize(300_000, 0);
    bytes.extend(&ramdisk);
    let kernel_at = bytes.windows(100).position(|window| window == &kernel[..100]).unwrap();
    (bytes, [kernel_at, at, 300_000])
}

#[test]
fn every_hash_of_every_image_is_compared() {
    let (whole, [kernel, dtb, ramdisk]) = three_images();
    assert_eq!(findings(&whole), Findings::default());
    let told = |damage: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        damage(&mut bytes);
        reasons(&bytes)
    };
    let sha256 = |bytes: &[u8]| -> String {
        sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let crc = |bytes: &[u8]| format!("{:#010x}", flashwright_media::crc32(bytes));
    for flipped in [0, 100_000, 200_000] {
        let mut data = noise(200_001, 1);
        data[flipped] ^= 4;
        let line = |hash: &str, found: &str, expected: &str| {
            format!(
                "checksum: image kernel-1 of the FIT at {kernel:#010x}: {hash} {found}, expected {expected}"
            )
        };
        let whole = noise(200_001, 1);
        let expected =
            [line("CRC", &crc(&data), &crc(&whole)), line("sha256", &sha256(&data), &sha256(&whole))];
        assert_eq!(told(&|bytes| bytes[kernel + flipped] ^= 4), expected);
    }
    let found = told(&|bytes| bytes[dtb + 6999] ^= 1);
    assert!(
        found[0].starts_with(&format!("checksum: image fdt-1 of the FIT at {dtb:#010x}: sha256 ")),
        "{found:?}"
    );
    let found = told(&|bytes| bytes[ramdisk] ^= 1);
    assert!(found[0].starts_with("checksum: image ramdisk of the FIT at 0x000493e0: CRC "), "{found:?}");
    assert_eq!(found.len(), 1);
    let found = told(&|bytes| bytes.truncate(ramdisk + 99_999));
    let expected =
        "truncated: the FIT with the images behind it has 400000 bytes, the image only 399999: 1 are cut off";
    assert_eq!(found, [expected]);
}

#[test]
fn a_hash_that_cannot_be_compared() {
    let data = noise(500, 7);
    let one = |hash: &dyn Fn(&mut Tree)| {
        let mut tree = Tree::default();
        tree.open("")
            .open("images")
            .open("a\x01 long name of more bytes than anybody has")
            .property("data", &data);
        hash(&mut tree);
        findings(&tree.close().close().close().image(b""))
    };
    for algorithm in ["sha1", "md5", "sha512", "a name that is longer than any of these"] {
        let found = one(&|tree| {
            tree.hash("hash-1", algorithm, b"0123").crc32("hash-2", &data);
        });
        let shown: String = algorithm.replace(' ', "?").chars().take(32).collect();
        let line = format!("image a??long?name?of?more?bytes?than? of the FIT: its {shown} was not checked");
        assert_eq!((found.refusals.len(), found.unchecked), (0, vec![line]));
    }
    // Too short, too long, none at all.
    let sha256 = sha2::Sha256::digest(&data);
    for value in [&sha256[..31], &[&sha256[..], &[0]].concat(), &[]] {
        let found = one(&|tree| {
            tree.hash("hash-1", "sha256", value);
        });
        assert_eq!((found.refusals.len(), found.unchecked.len()), (1, 0));
    }
    assert_eq!(
        one(&|tree| {
            tree.hash("hash", "crc32", &[0; 4]);
        })
        .refusals
        .len(),
        1
    );
    // Of no kind, it is not known here; and what is no hash is nothing.
    assert_eq!(
        one(&|tree| {
            tree.open("hash-1").close();
        })
        .unchecked
        .len(),
        1
    );
    assert_eq!(
        one(&|tree| {
            tree.hash("has", "crc32", &[0; 4]);
        }),
        Findings::default()
    );
    assert_eq!(
        one(&|tree| {
            tree.hash("cipher", "sha256", &[0; 4]);
        }),
        Findings::default()
    );
    // Notes and refusals are few, whatever there is.
    let many = one(&|tree| {
        (0..1000).for_each(|_| {
            tree.hash("hash", "sha1", b"");
        })
    });
    assert_eq!((many.refusals.len(), many.unchecked.len()), (0, MAX_FAULTS));
    let many = one(&|tree| {
        (0..6).for_each(|_| {
            tree.crc32("hash", &data).hash("hash", "crc32", b"");
        })
    });
    assert_eq!(many.refusals.len(), 6);
}

#[test]
fn an_image_without_data() {
    let mut tree = Tree::default();
    tree.open("").open("images").open("kernel").crc32("hash-1", b"").close().close().close();
    assert_eq!(reasons(&tree.image(b"")), ["checksum: image kernel of the FIT: it has a hash, and no data"]);
    let mut tree = Tree::default();
    tree.open("")
        .open("images")
        .open("empty")
        .property("data", b"")
        .crc32("hash-1", b"")
        .close()
        .close()
        .close();
    assert_eq!(findings(&tree.image(b"")), Findings::default());
}

#[test]
fn trees_that_mean_harm() {
    // Hashing everything again and again ends.
    let data = noise(1000, 3);
    let mut tree = Tree::default();
    tree.open("").open("images");
    for _ in 0..4000 {
        tree.open("k").number("data-position", 0).number("data-size", 200_000);
        tree.hash("hash", "sha256", b"").close();
    }
    let found = reasons(&tree.close().close().image(&data));
    assert_eq!(found.len(), MAX_FAULTS + 1);
    assert_eq!(found[MAX_FAULTS], "checksum: 3992 more checksums of the image are wrong");
    // Deep, and never closed.
    let mut tree = Tree::default();
    tree.open("").open("images");
    (0..100_000).for_each(|_| {
        tree.open("hash").property("data", b"1");
    });
    let found = reasons(&tree.image(b""));
    assert!(found[0].contains("no node or property"), "{found:?}");
    // Closed more often than opened.
    let mut tree = Tree::default();
    tree.open("").open("images").close().close().close();
    assert!(reasons(&tree.image(b""))[0].contains("no node or property"));
    // Every byte of the tree, changed: no panic, and no image is read beyond its end.
    let mut tree = Tree::default();
    tree.open("").open("images").open("k").number("data-size", 8).number("data-offset", 0);
    tree.crc32("hash-1", b"12345678").open("deeper").close().close().close();
    let whole = tree.close().image(b"12345678");
    assert_eq!(findings(&whole), Findings::default());
    for at in 0..whole.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            for len in [bytes.len(), at] {
                let mut source = &bytes[..len];
                drop(check(&identify(source), &mut source));
            }
        }
    }
}
