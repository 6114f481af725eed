//! Every codec unpacks what it packed, keeps to limits, and takes damage with an error.

use flashwright_codec::{CodecError, Compressor, Decompressor, lz4, lzo, rtime, xz, zlib, zstd};
use proptest::collection::vec;
use proptest::prelude::*;

type Pair = (&'static str, Box<dyn Compressor>, Box<dyn Decompressor>);

fn codecs() -> Vec<Pair> {
    let level = |level| zlib::compressor(zlib::Level::new(level).unwrap()).unwrap();
    let plain = xz::Settings::preset(6, 1 << 17);
    let search = plain.with_bits(0, 2, 2).with_longest_search().with_bcj(Some(xz::Bcj::Arm));
    vec![
        ("zlib 1", level(1), zlib::decompressor()),
        ("zlib 12", level(12), zlib::decompressor()),
        ("xz", xz::compressor(plain), xz::decompressor(1 << 24)),
        ("xz arm", xz::compressor(search), xz::decompressor(1 << 24)),
        ("zstd", zstd::compressor(zstd::Level::new(15).unwrap()).unwrap(), zstd::decompressor().unwrap()),
        ("lz4", lz4::compressor(lz4::Mode::Fast), lz4::decompressor()),
        ("lz4 hc", lz4::compressor(lz4::Mode::Hc(12)), lz4::decompressor()),
        ("lzo", lzo::compressor(), lzo::decompressor()),
        ("rtime", rtime::compressor(), rtime::decompressor()),
    ]
}

/// Compressible bytes of any shape: runs, repeats, noise.
fn data() -> impl Strategy<Value = Vec<u8>> {
    let piece = (vec(any::<u8>(), 1..40), 1usize..60);
    vec(piece, 0..40)
        .prop_map(|pieces| pieces.into_iter().flat_map(|(bytes, times)| bytes.repeat(times)).collect())
}

#[test]
fn a_context_gives_the_same_bytes_whatever_it_did_before() {
    let noisy: Vec<u8> = (0..20_000u32).flat_map(|i| (i.wrapping_mul(i) / 7).to_le_bytes()).collect();
    let inputs = [b"flash".repeat(3000), vec![0; 131_072], noisy];
    for (name, mut used, _) in codecs() {
        for (position, input) in inputs.iter().enumerate() {
            let (mut first, mut again) = (Vec::new(), vec![7]);
            let (_, mut fresh, _) = codecs().into_iter().find(|codec| codec.0 == name).unwrap();
            assert!(used.compress(input, 2 * input.len() + 4096, &mut first).unwrap(), "{name} {position}");
            assert!(fresh.compress(input, 2 * input.len() + 4096, &mut again).unwrap());
            assert_eq!(first[..], again[1..], "{name} {position}");
        }
    }
}

#[test]
fn the_limit_is_kept() {
    let input = b"erase counts are never lost ".repeat(200);
    for (name, mut compressor, _) in codecs() {
        let mut whole = Vec::new();
        assert!(compressor.compress(&input, input.len(), &mut whole).unwrap(), "{name}");
        let mut output = b"kept".to_vec();
        // libdeflate and liblz4 may want a few bytes more room than they end up using.
        let enough = compressor.compress(&input, whole.len() + 16, &mut output).unwrap();
        assert!(enough && output[4..] == whole, "{name}");
        output.truncate(4);
        assert!(!compressor.compress(&input, whole.len() - 1, &mut output).unwrap(), "{name}");
        assert_eq!(output, b"kept", "{name}");
    }
}

#[test]
fn settings_out_of_range_are_refused() {
    for level in [0, 13] {
        assert!(matches!(zlib::Level::new(level), Err(CodecError::Setting { .. })));
    }
    for level in [0, 23] {
        assert!(matches!(zstd::Level::new(level), Err(CodecError::Setting { .. })));
    }
    let impossible = xz::Settings::preset(6, 4096).with_bits(4, 4, 2);
    assert!(matches!(xz::compress(&impossible, b"abc", 9, &mut Vec::new()), Err(CodecError::Library { .. })));
}

#[test]
fn a_stream_that_wants_too_much_memory_is_corrupt() {
    let mut packed = Vec::new();
    let input = b"a lot of memory ".repeat(100);
    assert!(xz::compress(&xz::Settings::preset(6, 1 << 28), &input, input.len(), &mut packed).unwrap());
    let error = xz::decompressor(1 << 24).decompress(&packed, &mut vec![0; input.len()]).unwrap_err();
    assert!(matches!(error, CodecError::Corrupt { .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_was_packed_unpacks(input in data()) {
        for (name, mut compressor, mut decompressor) in codecs() {
            let mut packed = Vec::new();
            if input.is_empty() || !compressor.compress(&input, input.len() + 256, &mut packed).unwrap() {
                continue;
            }
            let mut output = vec![0; input.len()];
            prop_assert_eq!(decompressor.decompress(&packed, &mut output).unwrap(), input.len(), "{}", name);
            prop_assert!(output == input, "{}", name);
            prop_assert!(decompressor.decompress(&packed, &mut vec![0; input.len() - 1]).is_err(), "{}", name);
            prop_assert!(decompressor.decompress(&packed[..packed.len() - 1], &mut output).is_err(), "{}", name);
        }
    }

    #[test]
    fn noise_never_panics(noise in vec(any::<u8>(), 0..600)) {
        for (_, _, mut decompressor) in codecs() {
            let mut output = vec![0; 4096];
            if let Ok(len) = decompressor.decompress(&noise, &mut output) {
                prop_assert!(len <= output.len());
            }
        }
    }
}
