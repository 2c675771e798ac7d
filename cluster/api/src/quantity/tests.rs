use proptest::prelude::*;

use super::*;

fn canonical(text: &str) -> String {
    match Quantity::parse(text) {
        Ok(quantity) => quantity.to_string(),
        Err(error) => format!("{error:?}"),
    }
}

#[test]
fn a_quantity_is_written_in_its_canonical_form() {
    for (text, expected) in [
        ("0", "0"),
        ("0Gi", "0"),
        ("1.5", "1500m"),
        ("1.5Gi", "1536Mi"),
        ("1500m", "1500m"),
        ("1000m", "1"),
        ("0.5", "500m"),
        (".5", "500m"),
        ("5.", "5"),
        ("1024", "1024"),
        ("1024Ki", "1Mi"),
        ("512Ki", "512Ki"),
        ("0.5Ki", "512"),
        ("0.1Ki", "102400m"),
        ("1023", "1023"),
        ("1000000", "1M"),
        ("1e3", "1e3"),
        ("1000e0", "1e3"),
        ("1E6", "1e6"),
        ("12E", "12E"),
        ("100E", "100E"),
        ("1000E", "1000E"),
        ("1e-3", "1e-3"),
        ("0.1m", "100u"),
        ("1n", "1n"),
        ("0.5n", "1n"),
        ("0.0000000001", "1n"),
        ("1e-400", "1e-9"),
        ("-0.5n", "-1n"),
        ("-1.5Gi", "-1536Mi"),
        ("+7", "7"),
        ("007k", "7k"),
        ("100Ei", "9223372036854775807"),
        ("1.00000000000000000000000000000000000000000000001", "1000000001n"),
    ] {
        assert_eq!(canonical(text), expected, "{text}");
    }
}

#[test]
fn what_is_not_a_quantity_is_refused_in_kubernetes_words() {
    for text in [
        "", "abc", "1 Gi", " 1", "1.1.1", "100x", "+", "-", ".", "m", "1Gi2x", "--1", "１",
    ] {
        assert_eq!(Quantity::parse(text), Err(ParseError::Format), "{text:?}");
    }
    for text in ["1mm", "1K", "1iK", "1e", "1e+", "1E3i", "1m3"] {
        let error = Quantity::parse(text).expect_err(text);
        assert!(matches!(error, ParseError::Suffix | ParseError::Format), "{text:?}");
    }
    assert_eq!(Quantity::parse("1K"), Err(ParseError::Suffix));
    assert_eq!(Quantity::parse("1e40"), Err(ParseError::Numeric));
    assert_eq!(
        ParseError::Format.to_string(),
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    );
}

#[test]
fn whole_and_milli_values_round_away_from_zero() {
    let value = |text: &str| Quantity::parse(text).map(|q| (q.value(), q.milli_value()));
    assert_eq!(value("1500m"), Ok((2, 1500)));
    assert_eq!(value("-1500m"), Ok((-2, -1500)));
    assert_eq!(value("1u"), Ok((1, 1)));
    assert_eq!(value("1Ki"), Ok((1024, 1_024_000)));
    assert_eq!(value("1000E"), Ok((i64::MAX, i64::MAX)));
    assert_eq!(value("-1000E"), Ok((i64::MIN, i64::MIN)));
}

#[test]
fn a_sum_keeps_the_format_of_what_was_there_first() {
    let parse = |text| Quantity::parse(text).expect("a quantity");
    assert_eq!((parse("1Gi") + parse("1Mi")).to_string(), "1025Mi");
    assert_eq!((parse("0") + parse("1Gi")).to_string(), "1Gi");
    assert_eq!((parse("2") - parse("500m")).to_string(), "1500m");
    assert_eq!(
        [parse("100m"), parse("1")].into_iter().sum::<Quantity>().to_string(),
        "1100m"
    );
    assert_eq!(parse("250m").times(4), parse("1"));
}

fn any_quantity() -> impl Strategy<Value = Quantity> {
    let nanos = prop_oneof![
        any::<i64>().prop_map(i128::from),
        any::<i64>().prop_map(|v| i128::from(v) * 1_000_000_000),
        (any::<i32>(), 0u32..60)
            .prop_map(|(v, bits)| (i128::from(v) << bits).clamp(-(1 << 62), 1 << 62) * 1_000_000_000),
    ];
    let format = prop_oneof![
        Just(Format::DecimalSi),
        Just(Format::BinarySi),
        Just(Format::DecimalExponent)
    ];
    (nanos, format).prop_map(|(nanos, format)| Quantity::from_nanos(nanos, format))
}

proptest! {
    #[test]
    fn the_canonical_text_reads_back_as_the_same_amount(quantity in any_quantity()) {
        let text = quantity.to_string();
        let back = Quantity::parse(&text).expect("canonical text");
        prop_assert_eq!(back, quantity);
        // A binary amount that no binary suffix divides is written bare, and then reads as a decimal one.
        prop_assert!(back.to_string() == text || quantity.format() == Format::BinarySi, "{} {}", back, text);
    }

    #[test]
    fn arithmetic_is_exact(a in any_quantity(), b in any_quantity()) {
        prop_assert_eq!(a + b - b, a);
        prop_assert_eq!(a + b, b + a);
        prop_assert_eq!(a < b, (a - b).nanos() < 0);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,12}") {
        let _ = Quantity::parse(&text);
    }

    #[test]
    fn text_that_looks_like_a_quantity_is_read_or_refused(text in "[+-]?[0-9.]{0,50}[eEinumkKMGTP]{0,2}[-+]?[0-9]{0,4}") {
        if let Ok(quantity) = Quantity::parse(&text) {
            prop_assert_eq!(Quantity::parse(&quantity.to_string()), Ok(quantity));
        }
    }
}
