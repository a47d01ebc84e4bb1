//! Values of options: numbers, percentages, durations, each with its limits.

/// A number of configurations that fit into memory: a million takes a few GB.
pub(super) fn configurations(text: &str) -> Result<usize, String> {
    let number = text.parse::<usize>().ok().filter(|number| (1..=1_000_000).contains(number));
    number.ok_or_else(|| "a whole number from 1 to 1000000 is needed".to_owned())
}

/// A fraction from a percentage.
pub(super) fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim().strip_suffix('%').and_then(|it| it.trim().parse::<f64>().ok());
    let allowed = number.filter(|it| (1.0..=100.0).contains(it));
    allowed
        .map(|it| it / 100.0)
        .ok_or_else(|| "a claim is a percentage from 1% to 100%, such as 10%".to_owned())
}

/// A share that a figure may be worse by, from a percentage.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let number = text.trim().strip_suffix('%').and_then(|it| it.trim().parse::<f64>().ok());
    let allowed = number.filter(|it| (0.0..100.0).contains(it));
    allowed
        .map(|it| it / 100.0)
        .ok_or_else(|| "a limit is a percentage from 0% to below 100%, such as 5%".to_owned())
}

/// Seconds from a duration.
pub(super) fn duration(text: &str) -> Result<u64, String> {
    let seconds = vllm_grid::grid::duration_seconds(text);
    seconds.ok_or_else(|| "a duration is written as 90m, 4h or 1h 30m".to_owned())
}
