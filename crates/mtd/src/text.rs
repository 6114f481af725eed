//! Text cut at single bytes: what names of devices and tables of the kernel need, in a fraction of the code of the standard
//! library's search for any character.

/// What is before the first `separator`, which is ASCII, and what is behind it; `None` when there is none.
#[must_use]
pub fn cut(text: &str, separator: u8) -> Option<(&str, &str)> {
    let at = text.bytes().position(|byte| byte == separator)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// What comes first in `text`, up to `separator` or the end; `text` is what is left then, `None` after the last.
pub fn next<'a>(text: &mut Option<&'a str>, separator: u8) -> Option<&'a str> {
    let whole = (*text)?;
    let (first, rest) = match cut(whole, separator) {
        Some((first, rest)) => (first, Some(rest)),
        None => (whole, None),
    };
    *text = rest;
    Some(first)
}

/// The pieces of `text` between separators.
pub fn pieces(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || next(&mut rest, separator))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_those_of_the_standard_library() {
        for text in ["", "a", " ", "a b", " a  b ", "ä ö", "a b c"] {
            let (ours, theirs): (Vec<_>, Vec<_>) = (pieces(text, b' ').collect(), text.split(' ').collect());
            assert_eq!(ours, theirs, "{text:?}");
            assert_eq!(cut(text, b' '), text.split_once(' '), "{text:?}");
        }
    }
}
