//! "Did you mean …": the known word that a mistyped one is nearest to.

/// The known word closest to `word`, when it is close enough to be a slip of the finger: at most one edit for every
/// three letters, or its beginning.
pub(crate) fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    let scored = known.into_iter().filter_map(|candidate| Some((distance(&word, candidate)?, candidate)));
    scored.min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

fn distance(word: &str, known: &str) -> Option<usize> {
    if word.len() >= 2 && known.starts_with(word) {
        return Some(0);
    }
    let distance = strsim::osa_distance(word, known);
    (distance <= word.len().max(known.len()).div_ceil(3)).then_some(distance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised() {
        let known = ["gzip", "lz4", "lzo", "xz", "zstd"];
        for (word, expected) in [
            ("zstdd", Some("zstd")),
            ("gz", Some("gzip")),
            ("ZSTD", Some("zstd")),
            ("lz", Some("lz4")),
            ("brotli", None),
            ("", None),
        ] {
            assert_eq!(closest(word, known), expected, "{word}");
        }
    }
}
