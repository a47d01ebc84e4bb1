//! Durations as people write and say them.

/// Seconds of a duration in whole days, hours, minutes and seconds, larger
/// units first; `None` where it is none, or 0.
pub fn read(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    let mut seconds = 0_u64;
    let mut units = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)].into_iter();
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].chars().next()?;
        let (_, factor) = units.find(|(known, _)| *known == unit)?;
        seconds = seconds.checked_add(number.checked_mul(factor)?)?;
        rest = rest[digits + unit.len_utf8()..].trim_start();
    }
    (seconds > 0).then_some(seconds)
}

/// A duration in the unit that a person would choose.
pub fn spoken(seconds: f64) -> String {
    let hours = seconds / 3600.0;
    if seconds < 120.0 {
        format!("{seconds:.0} s")
    } else if hours < 2.0 {
        format!("{:.0} min", seconds / 60.0)
    } else if hours < 100.0 {
        format!("{hours:.1} h")
    } else {
        format!("{:.0} days", hours / 24.0)
    }
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn durations_are_read_in_hours_minutes_and_seconds() {
        for (text, seconds) in [
            ("8h", Some(28_800)),
            ("90m", Some(5400)),
            ("1h30m", Some(5400)),
            ("1h 30m", Some(5400)),
            ("1d", Some(86_400)),
            ("45s", Some(45)),
            ("0h", None),
            ("8", None),
            ("h", None),
            ("30m1h", None),
            ("1,5h", None),
            ("99999999999999999999h", None),
            ("", None),
        ] {
            assert_eq!(read(text), seconds, "{text}");
        }
    }
}
