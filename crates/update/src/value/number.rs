//! Numbers as JavaScript writes them (ECMA-262, `Number::toString`).

/// Appends a number; JSON has none that is not finite.
pub(super) fn write(out: &mut Vec<u8>, number: f64) {
    if !number.is_finite() {
        out.extend_from_slice(b"null");
        return;
    }
    if number == 0.0 {
        out.push(b'0');
        return;
    }
    // The shortest digits that give the number back, as `d.dddde±x`.
    let scientific = format!("{number:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    // The decimal point stands behind so many digits.
    let point = exponent.parse::<i32>().unwrap_or(0).saturating_add(1);
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or(0));
    let split = |at: i32| {
        digits
            .split_at_checked(usize::try_from(at).unwrap_or(0))
            .unwrap_or((&digits, ""))
    };
    let text = if count <= point && point <= 21 {
        format!("{sign}{digits}{}", zeros(point.saturating_sub(count)))
    } else if 0 < point && point <= 21 {
        let (whole, fraction) = split(point);
        format!("{sign}{whole}.{fraction}")
    } else if -6 < point && point <= 0 {
        format!("{sign}0.{}{digits}", zeros(point.saturating_neg()))
    } else {
        let (first, rest) = split(1);
        let fraction = if rest.is_empty() {
            String::new()
        } else {
            format!(".{rest}")
        };
        format!("{sign}{first}{fraction}e{:+}", point.saturating_sub(1))
    };
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_are_written_as_javascript_does() {
        #[track_caller]
        fn check(number: f64, expect: &str) {
            let mut out = Vec::new();
            super::write(&mut out, number);
            assert_eq!(String::from_utf8(out).unwrap(), expect);
        }
        check(0.0, "0");
        check(-0.0, "0");
        check(1.0, "1");
        check(-1.5, "-1.5");
        check(0.1, "0.1");
        check(0.000_001, "0.000001");
        check(0.000_000_1, "1e-7");
        check(1.25e-7, "1.25e-7");
        check(123_456.789, "123456.789");
        check(1e20, "100000000000000000000");
        check(1e21, "1e+21");
        check(1.5e300, "1.5e+300");
        check(f64::from(0.1_f32), "0.10000000149011612");
        check(5e-324, "5e-324");
        check(9_007_199_254_740_993.0, "9007199254740992");
        check(f64::NAN, "null");
        check(f64::INFINITY, "null");
    }
}
