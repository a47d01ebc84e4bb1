//! The compose tool's complaint as one sentence: without the marks of its log, Python's
//! traceback and the names of its exceptions. Pure.

/// What an exception's last line begins with, and a log's.
const MARKS: &[&str] = &["ERROR: ", "Error: ", "error: "];

/// Lines that a program adds to its end, whatever its reason is.
const OF_LOADER: &str = "Failed to execute script";

/// The sentence of what a tool printed when it failed.
pub(super) fn sentence(stderr: &str) -> String {
    let is_reason = |line: &&str| !line.trim().is_empty() && !is_aside(line);
    let lines: Vec<&str> = stderr.lines().filter(is_reason).collect();
    let is_trace = |line: &&str| line.trim_end().ends_with("Traceback (most recent call last):");
    // Of exceptions that follow from each other the last one is what a person sees elsewhere.
    let lines: Vec<&str> = match lines.iter().rposition(is_trace) {
        Some(at) => lines[at + 1..].iter().copied().skip_while(|it| is_indented(it)).collect(),
        None => lines,
    };
    let mut sentence = String::new();
    for line in lines {
        let text = without_marks(line.trim());
        if !sentence.is_empty() {
            let goes_on = sentence.ends_with([':', ',']) || is_indented(line);
            sentence.push_str(if goes_on { " " } else { "; " });
        }
        sentence.push_str(text);
    }
    if sentence.is_empty() { "it did not say why".to_owned() } else { sentence }
}

fn is_indented(line: &str) -> bool {
    line.starts_with([' ', '\t'])
}

/// Whether a line is of something else than the reason.
fn is_aside(line: &str) -> bool {
    line.starts_with("WARNING: ") || line.contains("level=warning") || line.contains(OF_LOADER)
}

/// A line without what its program puts before it: `ERROR: .FileNotFoundError: [Errno 2] `.
fn without_marks(line: &str) -> &str {
    let mut rest = line;
    while let Some(shorter) = MARKS.iter().find_map(|mark| rest.strip_prefix(mark)) {
        rest = shorter;
    }
    if let Some((class, said)) = rest.split_once(": ")
        && is_exception(class)
    {
        rest = said;
    }
    let number = rest.strip_prefix("[Errno ").and_then(|it| it.split_once("] "));
    match number {
        Some((number, said)) if number.bytes().all(|it| it.is_ascii_digit()) => said,
        _ => rest,
    }
}

/// Whether a text is the name of a Python exception.
fn is_exception(text: &str) -> bool {
    let is_name = |it: char| it.is_ascii_alphanumeric() || matches!(it, '.' | '_');
    let class = text.rsplit('.').next().unwrap_or_default();
    let ends = ["Error", "Exception"].iter().any(|end| class.ends_with(end) && class != *end);
    let begins = class.starts_with(|it: char| it.is_ascii_uppercase());
    begins && ends && text.chars().all(is_name)
}

#[cfg(test)]
mod tests {
    use super::sentence;

    #[test]
    fn a_complaint_is_one_sentence_in_either_tool_s_words() {
        for (said, expected) in [
            (
                "ERROR: yaml.scanner.ScannerError: mapping values are not allowed here\n  in \"./c.yaml\", line 3, column 5\n",
                "mapping values are not allowed here in \"./c.yaml\", line 3, column 5",
            ),
            (
                "ERROR: .FileNotFoundError: [Errno 2] No such file or directory: './n.yaml'",
                "No such file or directory: './n.yaml'",
            ),
            (
                "ERROR: The Compose file './c.yaml' is invalid because:\nUnsupported config option for services.a: 'x'\nservices.b.ports is invalid\n",
                "The Compose file './c.yaml' is invalid because: Unsupported config option for services.a: 'x'; services.b.ports is invalid",
            ),
            (
                "WARNING: The X variable is not set.\nTraceback (most recent call last):\n  File \"a.py\", line 1, in main\n    run()\nKeyError: 'a'\n\nDuring handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n  File \"a.py\", line 9, in main\n    run()\n    ~~~^^\ncompose.config.errors.ConfigurationError: no such anchor\n[71] Failed to execute script docker-compose\n",
                "no such anchor",
            ),
            (
                "time=\"2026-11-28\" level=warning msg=\"the attribute `version` is obsolete\"\nvalidating /c.yaml: services.a Additional property x is not allowed\n",
                "validating /c.yaml: services.a Additional property x is not allowed",
            ),
            (
                "yaml: line 3: mapping values are not allowed in this context",
                "yaml: line 3: mapping values are not allowed in this context",
            ),
            ("compose.yaml: no such file", "compose.yaml: no such file"),
            (" \n", "it did not say why"),
        ] {
            assert_eq!(sentence(said), expected, "{said}");
        }
    }
}
