//! Kubernetes quantities: `100m`, `1Gi`, `2e3`.

use std::fmt;

/// An exact amount, in units of 10⁻⁹, with the suffix family it was written in.
#[derive(Debug, Clone, Copy)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// The suffix family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `n u m "" k M G T P E`.
    Decimal,
    /// `Ki Mi Gi Ti Pi Ei`.
    Binary,
    /// `e3`.
    Exponent,
}

/// Why a text is not a quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not of the form number and suffix; upstream's text.
    #[error(
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    )]
    Form,
    /// The suffix is unknown; upstream's text.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

const NANO: i128 = 1_000_000_000;
/// Upstream caps amounts at 2⁶³−1 units.
const MAX: i128 = (i64::MAX as i128) * NANO;
const DECIMAL: [(&str, i128); 10] = [
    ("E", 1_000_000_000_000_000_000 * NANO),
    ("P", 1_000_000_000_000_000 * NANO),
    ("T", 1_000_000_000_000 * NANO),
    ("G", 1_000_000_000 * NANO),
    ("M", 1_000_000 * NANO),
    ("k", 1000 * NANO),
    ("", NANO),
    ("m", 1_000_000),
    ("u", 1000),
    ("n", 1),
];
const BINARY: [(&str, u32); 6] = [
    ("Ei", 60),
    ("Pi", 50),
    ("Ti", 40),
    ("Gi", 30),
    ("Mi", 20),
    ("Ki", 10),
];

impl Quantity {
    /// Parses Kubernetes' syntax. Fractions below 10⁻⁹ are rounded away from zero and amounts above
    /// 2⁶³−1 are capped, as upstream does.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (negative, rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
            return Err(Error::Form);
        }
        let (scale, format) = scale(suffix)?;
        let magnitude = magnitude(whole, fraction, scale);
        Ok(Self {
            nanos: if negative { -magnitude } else { magnitude },
            format,
        })
    }

    /// From thousandths, as `resources.requests.cpu` counts.
    pub fn from_milli(milli: i64) -> Self {
        Self {
            nanos: i128::from(milli) * (NANO / 1000),
            format: Format::Decimal,
        }
    }

    /// From whole units, printed with binary suffixes.
    pub fn from_bytes(bytes: i64) -> Self {
        Self {
            nanos: i128::from(bytes) * NANO,
            format: Format::Binary,
        }
    }

    /// Nothing, or a whole number of something.
    pub fn from_count(count: i64) -> Self {
        Self {
            nanos: i128::from(count) * NANO,
            format: Format::Decimal,
        }
    }

    /// Whether the amount is zero.
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// Thousandths, rounded up.
    pub fn milli(self) -> i64 {
        clamp(divide_up(self.nanos, NANO / 1000))
    }

    /// Whole units (bytes), rounded up.
    pub fn value(self) -> i64 {
        clamp(divide_up(self.nanos, NANO))
    }

    /// Whether the amount is below zero.
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// Whether the amount is a whole number of units.
    pub fn is_whole(self) -> bool {
        self.nanos % NANO == 0
    }
}

impl std::ops::Add for Quantity {
    type Output = Self;

    /// In the family of `self`, as upstream, unless that is zero.
    fn add(self, other: Self) -> Self {
        Self {
            nanos: (self.nanos + other.nanos).clamp(-MAX, MAX),
            format: if self.nanos == 0 {
                other.format
            } else {
                self.format
            },
        }
    }
}

impl std::ops::Sub for Quantity {
    type Output = Self;

    /// In the family of `self`, as upstream, unless that is zero.
    fn sub(self, other: Self) -> Self {
        let negative = Self {
            nanos: -other.nanos,
            ..other
        };
        self + negative
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

/// What a suffix multiplies by: `10^ten * 2^two`.
#[derive(Clone, Copy)]
struct Scale {
    ten: i32,
    two: u32,
}

fn scale(suffix: &str) -> Result<(Scale, Format), Error> {
    if let Some((_, two)) = BINARY.iter().find(|(s, _)| *s == suffix) {
        return Ok((Scale { ten: 0, two: *two }, Format::Binary));
    }
    let decimal = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
    if let Some(at) = decimal.iter().position(|s| *s == suffix) {
        let ten = (i32::try_from(at).unwrap_or(0) - 3) * 3;
        return Ok((Scale { ten, two: 0 }, Format::Decimal));
    }
    let exponent = suffix.strip_prefix(['e', 'E']).ok_or(Error::Suffix)?;
    let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Error::Suffix);
    }
    // Beyond a few dozen the amount is capped or rounded anyway.
    let ten = exponent
        .parse::<i32>()
        .map_err(|_| Error::Suffix)?
        .clamp(-100, 100);
    Ok((Scale { ten, two: 0 }, Format::Exponent))
}

/// The amount in nano units, rounded up, capped.
fn magnitude(whole: &str, fraction: &str, scale: Scale) -> i128 {
    // Digits beyond these can only matter for rounding up, which the final check adds.
    let significant: String = whole.chars().chain(fraction.chars()).collect();
    let significant = significant.trim_start_matches('0');
    if significant.is_empty() {
        return 0;
    }
    let kept = significant.len().min(30);
    let mut exponent = scale.ten + 9 - i32::try_from(fraction.len()).unwrap_or(i32::MAX / 2);
    exponent =
        exponent.saturating_add(i32::try_from(significant.len() - kept).unwrap_or(i32::MAX / 2));
    let cut = significant[kept..].bytes().any(|b| b != b'0');
    let Ok(mut amount) = significant[..kept].parse::<i128>() else {
        return MAX;
    };
    let mut inexact = cut;
    // The power of two first: it only ever makes the number larger, so nothing is lost by it.
    match amount.checked_mul(1_i128 << scale.two) {
        Some(next) if next <= i128::MAX / 16 => amount = next,
        _ => {
            // Too large to hold: give up low digits, which cannot matter next to the cap.
            while exponent < 0 && amount.checked_mul(1_i128 << scale.two).is_none() {
                inexact |= amount % 10 != 0;
                amount /= 10;
                exponent += 1;
            }
            match amount.checked_mul(1_i128 << scale.two) {
                Some(next) => amount = next,
                None => return MAX,
            }
        }
    }
    while exponent > 0 {
        match amount.checked_mul(10) {
            Some(next) if next <= MAX => amount = next,
            _ => return MAX,
        }
        exponent -= 1;
    }
    while exponent < 0 && amount > 0 {
        inexact |= amount % 10 != 0;
        amount /= 10;
        exponent += 1;
    }
    (amount + i128::from(inexact)).min(MAX)
}

fn divide_up(nanos: i128, by: i128) -> i128 {
    // Upstream rounds away from zero.
    let (quotient, rest) = (nanos / by, nanos % by);
    quotient + rest.signum()
}

fn clamp(n: i128) -> i64 {
    i64::try_from(n).unwrap_or(if n > 0 { i64::MAX } else { i64::MIN })
}

impl fmt::Display for Quantity {
    /// The canonical form: the largest suffix that leaves a whole number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        // Binary suffixes cannot print fractions, and upstream prints small amounts without them.
        let binary = self.format == Format::Binary
            && self.nanos % NANO == 0
            && self.nanos.abs() >= 1024 * NANO;
        if binary {
            let units = self.nanos / NANO;
            for (suffix, two) in BINARY {
                if units % (1_i128 << two) == 0 {
                    return write!(f, "{}{suffix}", units >> two);
                }
            }
            return write!(f, "{units}");
        }
        for (at, (suffix, size)) in DECIMAL.into_iter().enumerate() {
            if self.nanos % size == 0 {
                let count = self.nanos / size;
                let ten = 18 - 3 * i32::try_from(at).unwrap_or(0);
                return match self.format {
                    Format::Exponent if ten != 0 => write!(f, "{count}e{ten}"),
                    _ => write!(f, "{count}{suffix}"),
                };
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn canonical_forms() {
        for (text, want) in [
            ("0", "0"),
            ("0.5", "500m"),
            ("1000m", "1"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("100m", "100m"),
            ("2e3", "2e3"),
            ("2E3", "2e3"),
            ("2000", "2k"),
            ("1E", "1E"),
            ("0.1n", "1n"),
            ("-1", "-1"),
            ("+1", "1"),
            ("1.", "1"),
            (".5", "500m"),
            ("512", "512"),
            ("512Ki", "512Ki"),
            ("0.5Ki", "512"),
            ("0.5Mi", "512Ki"),
            ("12e6", "12e6"),
            ("1e100", "9223372036854775807"),
            ("00100", "100"),
            ("1.0000000001", "1000000001n"),
            ("3.7Gi", "3972844748800m"),
            ("16Gi", "16Gi"),
            ("128974848", "128974848"),
        ] {
            assert_eq!(Quantity::parse(text).unwrap().to_string(), want, "{text}");
        }
    }

    #[test]
    fn numbers_out() {
        let q = |t: &str| Quantity::parse(t).unwrap();
        assert_eq!(q("100m").milli(), 100);
        assert_eq!(q("1").milli(), 1000);
        assert_eq!(q("1Ki").value(), 1024);
        assert_eq!(q("100m").value(), 1);
        assert_eq!(q("64Mi").value(), 64 << 20);
        assert_eq!(q("1n").milli(), 1);
        assert!(q("1Gi") > q("1G"));
        assert!(q("-1").is_negative() && !q("1").is_negative());
        assert!(q("1Gi").is_whole() && !q("100m").is_whole());
    }

    #[test]
    fn sums() {
        let q = |t: &str| Quantity::parse(t).unwrap();
        assert_eq!((q("1Gi") + q("1G")).to_string(), "2073741824");
        assert_eq!((q("0") + q("512Mi")).to_string(), "512Mi");
        assert_eq!((q("1") - q("100m")).to_string(), "900m");
        assert_eq!((q("1Gi") - q("1Gi")).to_string(), "0");
        assert_eq!(q("1e100") + q("1"), q("1e100"));
        assert!(Quantity::from_count(0).is_zero());
    }

    #[test]
    fn not_quantities() {
        for (text, want) in [
            ("", Error::Form),
            ("x", Error::Form),
            (".", Error::Form),
            ("1.2.3", Error::Form),
            ("-", Error::Form),
            ("1x", Error::Suffix),
            ("1K", Error::Suffix),
            ("1gi", Error::Suffix),
            ("1e", Error::Suffix),
            ("1 Gi", Error::Suffix),
            ("1ee3", Error::Suffix),
        ] {
            assert_eq!(Quantity::parse(text), Err(want), "{text}");
        }
    }

    proptest! {
        #[test]
        fn canonical_form_means_the_same(text in "[+-]?[0-9]{1,12}(\\.[0-9]{0,9})?(n|u|m|k|M|G|Ki|Mi|Gi|e[0-9])?") {
            let quantity = Quantity::parse(&text).unwrap();
            let again = Quantity::parse(&quantity.to_string()).unwrap();
            prop_assert_eq!(quantity, again);
            prop_assert_eq!(quantity.to_string(), again.to_string());
        }

        #[test]
        fn never_panics(text in ".{0,40}") {
            if let Ok(quantity) = Quantity::parse(&text) {
                let _ = (quantity.milli(), quantity.value(), quantity.to_string());
            }
        }
    }
}
