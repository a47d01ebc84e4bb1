//! An error as it is printed: its words lose their secrets before they are wrapped,
//! because a secret that is broken into two lines would not be found again. Words of
//! files and servers also lose what acts on a terminal: the colours around them stay.

use std::error::Error;
use std::fmt;

use miette::{Diagnostic, LabeledSpan, MietteHandlerOpts, ReportHandler, Severity, SourceCode};
use vllm_grid::clean;
use vllm_grid::secret::Secrets;

/// The text of an error, with its snippets and its help.
pub(crate) fn render(error: &dyn Diagnostic, secrets: &Secrets) -> String {
    let rendered = unbound(&Rendered(Masked::of(error, secrets)).to_string());
    // Snippets are shown line by line, as they are.
    secrets.mask(&rendered).into_owned()
}

/// Where letters of commands stand while lines are broken: nobody uses these places.
const BOUND: u32 = 0xE000;

/// The longest quotation that one line has room for.
const ROOM: usize = 66;

/// A text whose quotations no line breaks: what is between backticks is copied from one line. One
/// that no line has room for is broken between words alone.
fn bound(text: &str) -> String {
    let is_bound = |letter: char, all: bool| {
        letter.is_ascii()
            && !letter.is_ascii_alphanumeric()
            && letter != '\n'
            && (all || letter != ' ')
    };
    let mut parts = Vec::new();
    for (at, part) in text.split('`').enumerate() {
        let all = part.len() <= ROOM;
        let letter = |letter: char| match letter {
            _ if at % 2 == 1 && is_bound(letter, all) => {
                char::from_u32(BOUND + u32::from(letter)).unwrap_or(letter)
            }
            _ => letter,
        };
        parts.push(part.chars().map(letter).collect::<String>());
    }
    parts.join("`")
}

/// The same as it was.
fn unbound(text: &str) -> String {
    let letter = |letter: char| match u32::from(letter).checked_sub(BOUND) {
        Some(place @ 0..=0x7f) => char::from_u32(place).unwrap_or(letter),
        _ => letter,
    };
    text.chars().map(letter).collect()
}

struct Rendered<'a>(Masked<'a>);

impl fmt::Display for Rendered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        MietteHandlerOpts::new().build().debug(&self.0, f)
    }
}

/// A diagnostic in words without secrets.
#[derive(Debug)]
struct Masked<'a> {
    inner: &'a dyn Diagnostic,
    message: String,
    help: Option<String>,
    cause: Option<Cause>,
    related: Vec<Masked<'a>>,
}

impl<'a> Masked<'a> {
    fn of(inner: &'a dyn Diagnostic, secrets: &Secrets) -> Self {
        let mask = |text: String| bound(&secrets.mask(&clean::lines(&text)));
        Self {
            inner,
            message: mask(inner.to_string()),
            help: inner.help().map(|help| mask(help.to_string())),
            cause: inner.source().map(|cause| Cause::of(cause, secrets)),
            related: inner
                .related()
                .into_iter()
                .flatten()
                .map(|it| Self::of(it, secrets))
                .collect(),
        }
    }
}

impl fmt::Display for Masked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Masked<'_> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_ref().map(|cause| cause as &(dyn Error + 'static))
    }
}

impl Diagnostic for Masked<'_> {
    fn severity(&self) -> Option<Severity> {
        self.inner.severity()
    }

    fn help<'b>(&'b self) -> Option<Box<dyn fmt::Display + 'b>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.inner.source_code()
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.inner.labels()
    }

    fn related<'b>(&'b self) -> Option<Box<dyn Iterator<Item = &'b dyn Diagnostic> + 'b>> {
        if self.related.is_empty() {
            return None;
        }
        Some(Box::new(self.related.iter().map(|it| it as &dyn Diagnostic)))
    }
}

/// Why an error came about.
#[derive(Debug)]
struct Cause {
    message: String,
    cause: Option<Box<Cause>>,
}

impl Cause {
    fn of(error: &dyn Error, secrets: &Secrets) -> Self {
        let cause = error.source().map(|cause| Box::new(Self::of(cause, secrets)));
        let message = secrets.mask(&clean::lines(&error.to_string())).into_owned();
        Self { message, cause }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_ref().map(|cause| cause.as_ref() as &(dyn Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_would_be_wrapped_is_masked_before() {
        let secrets = Secrets::default();
        secrets.add("sk-0123-4567-89ab-cdef");
        for filler in 40..100 {
            let words = "x".repeat(filler);
            let help = format!("{words} sk-0123-4567-89ab-cdef");
            let report = miette::miette!(help = help, "{words} sk-0123-4567-89ab-cdef");
            let text = render(report.as_ref(), &secrets);
            assert_eq!(text.matches("***").count(), 2, "{text}");
            assert!(!text.contains("sk-"), "{text}");
        }
    }
}
