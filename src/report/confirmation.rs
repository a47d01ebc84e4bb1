//! What a confirmation showed, in one sentence: what `confirm` ends with, whichever
//! configuration the block above is about.

use super::text::{plain, wrap};
use crate::results::confirmed::ConfirmedGain;

/// The confirmation's own sentence, its failed launches and its times, in lines of at most
/// `columns` columns (at least 60 are used). Ends with a newline.
pub fn render(gain: &ConfirmedGain, columns: usize) -> String {
    let mut parts = vec![format!("confirmation {}: {gain}", gain.number)];
    let failed = [(gain.failed.candidate, &gain.candidate), (gain.failed.baseline, &gain.baseline)];
    for (count, name) in failed.into_iter().filter(|(count, _)| *count > 0) {
        let plural = if count == 1 { "" } else { "es" };
        parts.push(format!("{count} launch{plural} of {name} failed"));
    }
    if let Some((from, until)) = gain.from.zip(gain.until) {
        // A confirmation may go on another day.
        let one_day = from.strftime("%F").to_string() == until.strftime("%F").to_string();
        let end = if one_day { "%H:%M" } else { "%F %H:%M" };
        parts.push(format!("{} to {} UTC", from.strftime("%F %H:%M"), until.strftime(end)));
    }
    let text = parts.join("; ");
    wrap(&plain(&text), columns.max(60), "  ") + "\n"
}
