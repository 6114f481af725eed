//! Our LZO1X streams unpack, start as a version 0 stream must, and stay small.

use flashwright_codec::{CodecError, lzo};
use proptest::collection::vec;
use proptest::prelude::*;

/// Bytes without any repetition to speak of, always the same.
fn noise(len: usize, mut state: u32) -> Vec<u8> {
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

/// Something like text: words drawn unevenly from a small list, with numbers between.
fn text(len: usize) -> Vec<u8> {
    const WORDS: [&str; 16] = [
        "eraseblock",
        "the ",
        "of ",
        "a page ",
        "is written ",
        "flash ",
        "and ",
        "volume ",
        "header ",
        "0x",
        "; ",
        "\n\t",
        "struct ",
        "u32 ",
        "never ",
        "checksum ",
    ];
    let mut text = Vec::new();
    for draw in noise(len, 7).chunks(2) {
        let [a, b] = *draw else { break };
        let word = WORDS[usize::from(a.min(b) >> 4)];
        text.extend_from_slice(word.as_bytes());
        if a > 200 {
            text.extend_from_slice(format!("{:x}", u32::from(a) * u32::from(b)).as_bytes());
        }
    }
    text.truncate(len);
    text
}

/// Something like machine code: four-byte words, some fields of which change.
fn code(len: usize) -> Vec<u8> {
    let words = noise(len, 11);
    words
        .chunks(4)
        .flat_map(|w| [w[0] & 0x1F, w[0] >> 5 << 4, 0x9F & w[w.len() - 1], 0xE5])
        .take(len)
        .collect()
}

fn pack(input: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    assert!(lzo::compressor().compress(input, usize::MAX, &mut packed).unwrap());
    packed
}

/// Packs and unpacks; returns the length of the stream.
fn round_trip(input: &[u8]) -> usize {
    let packed = pack(input);
    let mut output = vec![0; input.len()];
    assert_eq!(lzo::decompressor().decompress(&packed, &mut output), Ok(input.len()));
    assert!(output == input, "{} bytes", input.len());
    // 17 would announce version 1; 16 and below, except a long first run, are copies from nowhere.
    assert!(input.is_empty() || packed[0] == 0 || packed[0] > 17);
    let worst = input.len() + input.len() / 255 + 6;
    assert!(packed.len() <= worst, "{} bytes became {}", input.len(), packed.len());
    packed.len()
}

#[test]
fn an_empty_unit_is_an_end_marker() {
    assert_eq!(pack(b""), [0x11, 0, 0]);
    assert_eq!(lzo::decompressor().decompress(&[0x11, 0, 0], &mut []), Ok(0));
}

#[test]
fn short_units_unpack() {
    for len in 0..600 {
        round_trip(&noise(len, 1));
        round_trip(&vec![0; len]);
        round_trip(&text(len));
        round_trip(&code(len));
    }
}

#[test]
fn known_streams() {
    let cases: [(&[u8], &[u8]); 5] = [
        (b"a", b"\x12a\x11\0\0"),
        (b"abcd", b"\x15abcd\x11\0\0"),
        // A copy of eight bytes from three back, one literal after it.
        (b"abcabcabcabx", b"\x14abc\xE9\0x\x11\0\0"),
        // A run of one byte: a copy from one back, 63 bytes in four bytes.
        (&[7; 64], b"\x12\x07\x20\x1E\0\0\x11\0\0"),
        // After a literal a copy of two bytes from five back, which saves telling of six literals.
        (b"abcabcabcabqbcrst", b"\x14abc\xE9\0q\x03\x01rst\x11\0\0"),
    ];
    for (input, stream) in cases {
        assert_eq!(pack(input), stream, "{input:02x?}");
    }
}

/// Units that make searches slow or counts long, of the largest size.
#[test]
fn repetitive_and_hostile_units_unpack() {
    const LEN: usize = 1 << 20;
    let repeat = |bytes: &[u8]| bytes.iter().copied().cycle().take(LEN).collect::<Vec<u8>>();
    assert_eq!(round_trip(&vec![0; LEN]), 1 + 1 + 1 + 4112 + 2 + 3);
    for period in [2, 3, 4, 5, 255, 1024, 1025, 2048, 2049, 3072, 3073, 16_384, 16_385, 49_151] {
        let packed = round_trip(&repeat(&noise(period, 3)));
        assert!(packed < period + LEN / 255 + period / 255 + 16, "{period}: {packed}");
    }
    // One byte too far back: nothing to copy.
    assert!(round_trip(&repeat(&noise(49_152, 3))) > LEN * 99 / 100);
    round_trip(&noise(LEN, 5));
    // The same four bytes everywhere, and something else after them each time.
    let mut chains = vec![0xFF; LEN];
    chains.chunks_exact_mut(7).zip(noise(LEN, 9)).for_each(|(piece, byte)| piece[6] = byte);
    round_trip(&chains);
    // Copies of growing length from everywhere.
    let mut growing = noise(4096, 13);
    for len in 1..1200 {
        growing.extend_from_within(len * 3..len * 4);
        growing.push(0);
    }
    round_trip(&growing);
}

/// Sizes are pinned: a change here changes images.
#[test]
fn streams_stay_small() {
    let cases = [
        ("text 4K", text(4096), 1_390),
        ("text 128K", text(131_072), 37_858),
        ("code 4K", code(4096), 3_247),
        ("code 128K", code(131_072), 94_092),
        ("mixed 1M", [text(400_000), code(400_000), noise(200_000, 17)].concat(), 599_773),
    ];
    for (name, input, len) in cases {
        assert_eq!(round_trip(&input), len, "{name}");
    }
}

#[test]
fn no_unit_depends_on_those_before() {
    let mut used = lzo::compressor();
    let units =
        [text(131_072), code(1 << 20), vec![0; 5000], text(4096), noise(70_000, 1), code(4096), text(50)];
    for unit in units.iter().chain(units.iter().rev()) {
        let mut packed = Vec::new();
        assert!(used.compress(unit, usize::MAX, &mut packed).unwrap());
        assert!(packed == pack(unit));
    }
}

#[test]
fn a_unit_that_is_too_long_is_refused() {
    let mut output = Vec::new();
    let error = lzo::compressor().compress(&vec![0; lzo::MAX_UNIT + 1], usize::MAX, &mut output).unwrap_err();
    assert!(matches!(error, CodecError::Library { codec: "lzo", .. }), "{error}");
    assert_eq!(round_trip(&vec![0; lzo::MAX_UNIT]), 1 + 1 + 1 + lzo::MAX_UNIT / 255 + 2 + 3);
    round_trip(&noise(lzo::MAX_UNIT, 19));
}

#[test]
fn the_limit_is_exact() {
    let unit = text(4096);
    let len = pack(&unit).len();
    let mut output = b"kept".to_vec();
    assert!(!lzo::compressor().compress(&unit, len - 1, &mut output).unwrap());
    assert_eq!(output, b"kept");
    assert!(lzo::compressor().compress(&unit, len, &mut output).unwrap());
    assert_eq!(output.len(), 4 + len);
}

/// Pieces of few symbols, copied from before at all distances.
fn unit() -> impl Strategy<Value = Vec<u8>> {
    let piece = (vec(0u8..6, 0..30), any::<prop::sample::Index>(), 0usize..400);
    (0usize..50_000, vec(piece, 0..60)).prop_map(|(start, pieces)| {
        let mut unit = noise(start, 21);
        for (literals, from, len) in pieces {
            unit.extend(literals);
            if !unit.is_empty() {
                let from = from.index(unit.len());
                unit.extend_from_within(from..unit.len().min(from + len));
            }
        }
        unit
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_unit_unpacks(unit in unit()) {
        round_trip(&unit);
    }

    #[test]
    fn a_tight_limit_changes_nothing(unit in unit(), below in 1usize..40) {
        let packed = pack(&unit);
        let mut output = Vec::new();
        prop_assert!(lzo::compressor().compress(&unit, packed.len(), &mut output).unwrap());
        prop_assert_eq!(&output, &packed);
        let below = packed.len().saturating_sub(below);
        prop_assert!(!lzo::compressor().compress(&unit, below, &mut output).unwrap());
        prop_assert_eq!(&output, &packed);
    }

    #[test]
    fn few_symbols_unpack(unit in vec(0u8..3, 0..3000)) {
        round_trip(&unit);
    }

    #[test]
    fn damage_never_panics(unit in unit(), hits in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut packed = pack(&unit);
        for (at, byte) in hits {
            let at = at.index(packed.len());
            packed[at] = byte;
        }
        let mut output = vec![0; unit.len() + 100];
        if let Ok(len) = lzo::decompressor().decompress(&packed, &mut output) {
            prop_assert!(len <= output.len());
        }
    }
}
