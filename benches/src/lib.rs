//! What the micro-benchmarks work on: data and trees out of nothing, the same everywhere.
//!
//! `cargo bench --package flashwright-benches` runs them all, `… --bench squashfs -- write` those with that name.
//! Whole programs are compared by `cargo xtask bench`.

use flashwright_tree::{Content, Node, Tree};

const WORDS: [&str; 16] = [
    "flash",
    "block",
    "inode",
    "the",
    "of",
    "kernel",
    "a",
    "mount",
    "image",
    "page",
    "is",
    "and",
    "eraseblock",
    "write",
    "0x1985",
    "\n",
];

/// Numbers that look like chance: Marsaglia's xorshift.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

/// `len` bytes that compress about as well as programs do: words, and every so often bytes without sense.
#[must_use]
pub fn data(len: usize, seed: u64) -> Vec<u8> {
    let mut numbers = Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut bytes = Vec::with_capacity(len + 16);
    while bytes.len() < len {
        match numbers.byte() {
            0..200 => {
                let word = WORDS[usize::from(numbers.byte()) % WORDS.len()];
                bytes.extend_from_slice(word.as_bytes());
                bytes.push(b' ');
            }
            _ => bytes.extend_from_slice(&numbers.next().to_le_bytes()),
        }
    }
    bytes.truncate(len);
    bytes
}

/// A tree of `files` files, 50 to a directory: nine of ten small ones, the tenth of 300,000 bytes, some the same as
/// others.
///
/// # Panics
/// Never: every name is put in once.
#[must_use]
pub fn tree(files: u32) -> Tree {
    let mut tree = Tree::new();
    let mut directory = Tree::ROOT;
    for number in 0..files {
        if number % 50 == 0 {
            let name = format!("directory-{number}");
            directory = tree.insert(Tree::ROOT, name.as_bytes(), Node::directory(0o755)).expect("a new name");
        }
        let len = if number % 10 == 9 { 300_000 } else { 100 + (number as usize * 37) % 9000 };
        let content = Content::from_bytes(data(len, u64::from(number % 97)));
        let name = format!("file-{number}");
        tree.insert(directory, name.as_bytes(), Node::file(0o644, content)).expect("a new name");
    }
    tree
}
