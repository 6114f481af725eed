//! Sizes as people write them: `131072`, `128K`, `128KiB`, `0x20000`. K is 1024, always.

const UNITS: [(&str, u32); 4] = [("k", 10), ("m", 20), ("g", 30), ("t", 40)];

/// Bytes meant by `text`: a decimal or `0x` hexadecimal number, then optionally K, M, G or T (or KiB, MiB, …), in
/// either case, all powers of 1024.
///
/// # Errors
/// A message for people, without the text itself.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let lower = text.to_ascii_lowercase();
    let (number, shift) = match lower.strip_prefix("0x") {
        Some(hex) => (u64::from_str_radix(hex, 16), 0),
        None => {
            let digits = lower.find(|c: char| !c.is_ascii_digit()).unwrap_or(lower.len());
            let (digits, unit) = lower.split_at(digits);
            if digits.is_empty() {
                return Err(NOT_A_SIZE.into());
            }
            (digits.parse(), unit_shift(unit)?)
        }
    };
    let number = number.map_err(|_| NOT_A_SIZE.to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "more than 2^64 bytes".into())
}

const NOT_A_SIZE: &str =
    "not a size; write bytes, or a whole number with K, M or G (K = KiB = 1024), or hex as 0x20000";

fn unit_shift(unit: &str) -> Result<u32, String> {
    let unit = unit.trim_start();
    if unit.is_empty() || unit == "b" {
        return Ok(0);
    }
    if unit.starts_with('.') {
        return Err("sizes are whole numbers; write 1536K for 1.5M".into());
    }
    for (letter, shift) in UNITS {
        match unit.strip_prefix(letter) {
            Some("" | "i" | "ib") => return Ok(shift),
            Some("b") => {
                let big = letter.to_ascii_uppercase();
                return Err(format!(
                    "{big}B means 1000s to some and 1024s to others; write {big} or {big}iB for 1024s"
                ));
            }
            _ => {}
        }
    }
    Err(NOT_A_SIZE.into())
}

/// A size for people: exact where it is a round number of units, else three digits, and always the bytes.
pub(crate) fn show(bytes: u64) -> String {
    let exact = [("GiB", 30), ("MiB", 20), ("KiB", 10)]
        .into_iter()
        .find(|(_, shift)| bytes >= 1 << shift)
        .map(|(unit, shift)| (unit, 1u64 << shift));
    match exact {
        Some((unit, one)) if bytes.is_multiple_of(one) => format!("{} {unit} ({bytes} bytes)", bytes / one),
        Some((unit, one)) => {
            let hundredths = (u128::from(bytes) * 100 + u128::from(one / 2)) / u128::from(one);
            format!("{}.{:02} {unit} ({bytes} bytes)", hundredths / 100, hundredths % 100)
        }
        None if bytes == 1 => "1 byte".into(),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_people_write_them() {
        let cases = [
            ("0", 0),
            ("131072", 131_072),
            ("128K", 131_072),
            ("128k", 131_072),
            ("128KiB", 131_072),
            ("128 kib", 131_072),
            ("1M", 1 << 20),
            ("1Mi", 1 << 20),
            ("0x20000", 131_072),
            ("0XfA0000", 0x00fa_0000),
            ("4G", 4 << 30),
            ("512B", 512),
            ("16777215T", 16_777_215 << 40),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_explained() {
        let cases = [
            ("", "not a size"),
            ("K", "not a size"),
            ("-1", "not a size"),
            ("0x", "not a size"),
            ("0x10K", "not a size"),
            ("12Q", "not a size"),
            ("1.5M", "1536K"),
            ("128KB", "write K or KiB"),
            ("16777216T", "2^64"),
            ("99999999999999999999", "not a size"),
        ];
        for (text, part) in cases {
            let message = parse(text).unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn sizes_for_people() {
        let cases = [
            (0, "0 bytes"),
            (1, "1 byte"),
            (1023, "1023 bytes"),
            (131_072, "128 KiB (131072 bytes)"),
            (1_600_000, "1.53 MiB (1600000 bytes)"),
            (5 << 30, "5 GiB (5368709120 bytes)"),
        ];
        for (bytes, shown) in cases {
            assert_eq!(show(bytes), shown);
        }
    }
}
