//! Durations and sizes as people write them: `30m`, `5MiB`.

/// Milliseconds in each unit of time, largest first.
const TIME_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Bytes in each unit of size, largest first.
const SIZE_UNITS: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// Parses `10s`, `30m`, `300ms` into milliseconds; none when it is not a whole number and a unit.
pub(super) fn parse_duration(text: &str) -> Option<u64> {
    parse_with_units(text, &TIME_UNITS)
}

/// Parses `5MiB`, `64 KiB` or a plain number of bytes; none for anything else.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    parse_with_units(text, &SIZE_UNITS).or_else(|| text.parse().ok())
}

/// Writes milliseconds in the largest unit that leaves a whole number.
pub(super) fn format_duration(milliseconds: u64) -> String {
    format_with_units(milliseconds, &TIME_UNITS, "ms")
}

/// Writes bytes in the largest unit that leaves a whole number.
pub(super) fn format_size(bytes: u64) -> String {
    format_with_units(bytes, &SIZE_UNITS, "B")
}

fn parse_with_units(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits_end = text.find(|character: char| !character.is_ascii_digit())?;
    let (digits, unit) = text.split_at(digits_end);
    let number: u64 = digits.parse().ok()?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.checked_mul(*factor)
}

fn format_with_units(value: u64, units: &[(&str, u64)], smallest: &str) -> String {
    units
        .iter()
        .find(|(_, factor)| value != 0 && value.is_multiple_of(*factor))
        .map_or_else(
            || format!("{value}{smallest}"),
            |(name, factor)| format!("{}{name}", value / factor),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_number_and_a_unit() {
        assert_eq!(parse_duration("30m"), Some(1_800_000));
        assert_eq!(parse_duration("300ms"), Some(300));
        assert_eq!(parse_duration("10 s"), Some(10_000));
        assert_eq!(parse_duration("2h"), Some(7_200_000));
        assert_eq!(parse_duration("90d"), Some(7_776_000_000));
        for bad in [
            "30",
            "",
            "m",
            "1.5s",
            "-3s",
            "30min",
            "99999999999999999999s",
        ] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_are_binary_units_or_plain_bytes() {
        assert_eq!(parse_size("5MiB"), Some(5 * 1024 * 1024));
        assert_eq!(parse_size("64 KiB"), Some(65_536));
        assert_eq!(parse_size("1GiB"), Some(1 << 30));
        assert_eq!(parse_size("5242880"), Some(5_242_880));
        for bad in ["5MB", "5M", "", "MiB", "-1", "20000000000GiB"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for value in [0, 1, 300, 1_000, 90_000, 1_800_000, 86_400_000, 1_234_567] {
            assert_eq!(parse_duration(&format_duration(value)), Some(value));
        }
        for value in [0, 1, 1_023, 1_024, 5 << 20, (5 << 20) + 1, 3 << 30] {
            assert_eq!(parse_size(&format_size(value)), Some(value));
        }
        assert_eq!(format_duration(1_800_000), "30m");
        assert_eq!(format_size(5 << 20), "5MiB");
    }
}
