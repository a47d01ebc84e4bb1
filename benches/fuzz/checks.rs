//! The checks of the targets: each reads an input in the way of the program and compares what
//! must be the same. Which inputs they get is in `targets` and `mutate`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use vllm_grid::client::{Limits, whole};
use vllm_grid::configuration::hexadecimal;
use vllm_grid::engine::shell::{Script, quote, start_of};
use vllm_grid::engine::{compose, failure};
use vllm_grid::grid::{GridFile, ReadOptions};
use vllm_grid::history::record::Manifest;
use vllm_grid::history::{journal, replay};
use vllm_grid::secret::Secrets;
use vllm_grid::server::counters::Counters;
use vllm_grid::server::effective::{self, Sources};
use vllm_grid::server::prometheus::Scrape;
use vllm_grid::workload::Dataset;
use vllm_grid::{clean, event};

use super::mutate::Mutator;

/// What is wrong with a case.
pub(crate) type Wrong = Result<(), String>;

/// Configurations that a grid may have here.
const MAX_CONFIGURATIONS: usize = 500;

fn same<T: PartialEq + std::fmt::Debug>(what: &str, left: &T, right: &T) -> Wrong {
    if left == right {
        return Ok(());
    }
    let cut = |value: &T| format!("{value:?}").chars().take(300).collect::<String>();
    Err(format!("{what}: {} and {}", cut(left), cut(right)))
}

fn harmless(what: &str, text: &str) -> Wrong {
    let acts = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t');
    if text.contains(acts) { Err(format!("{what} acts on a terminal: {text:?}")) } else { Ok(()) }
}

pub(super) fn grid(input: &[u8], _: &mut Mutator<'_>) -> Wrong {
    let options = ReadOptions {
        max_configurations: MAX_CONFIGURATIONS,
        datasets: false,
        ..ReadOptions::default()
    };
    let file = match GridFile::parse(input.to_vec(), Path::new("grid.yaml"), &options) {
        Ok(file) => file,
        Err(errors) => {
            let shown = errors.render(100, false);
            return if shown.is_empty() { Err("an error without a word".into()) } else { Ok(()) };
        }
    };
    let grid = file.without_service();
    let count = grid.configurations.len();
    if count > MAX_CONFIGURATIONS + 1 {
        return Err(format!("{count} configurations, and {MAX_CONFIGURATIONS} are allowed"));
    }
    let names: BTreeSet<&str> = grid.configurations.iter().map(|it| it.name.as_str()).collect();
    same("names are unique", &names.len(), &count)?;
    for name in names {
        harmless("a name", name)?;
        // A folder's name begins with the launch's number.
        if name.contains('/') || name.len() > 200 {
            return Err(format!("a name leaves its folder: {name:?}"));
        }
    }
    let manifest = Manifest::of(&grid, "s".to_owned(), jiff::Timestamp::UNIX_EPOCH);
    manifest.build_strategy();
    let text = serde_json::to_string(&manifest).map_err(|error| error.to_string())?;
    let back: Manifest = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    same("a manifest is read as it was written", &back, &manifest)
}

pub(super) fn shell(input: &[u8], mutator: &mut Mutator<'_>) -> Wrong {
    let source = String::from_utf8_lossy(input);
    let own = [mutator.text(20), mutator.text(20)];
    if let Ok(script) = Script::read(&source, &own) {
        start_of(script.arguments());
        let appended = ["--x".to_owned(), mutator.text(12).replace('\0', "")];
        let (edited, positional) = script.edited(&[], &appended);
        if let Ok(again) = Script::read(&edited, &positional) {
            let known = |script: &Script| -> Vec<Option<String>> {
                script.arguments().iter().map(|word| word.value.clone()).collect()
            };
            let mut expected = known(&script);
            expected.extend(appended.map(Some));
            same("arguments with two appended", &known(&again), &expected)?;
        } else if !source.contains('\0') {
            return Err(format!("an edited script is none any more: {edited:?}"));
        }
    }
    let text = String::from_utf8_lossy(&input[..input.len().min(200)]).replace('\0', "");
    let quoted = format!("exec vllm serve m --x {}", quote(&text));
    let script = match Script::read(&quoted, &[]) {
        Ok(script) => script,
        // What the parser cannot take is estimated without regard to quotes.
        Err(_) if text.matches(['(', '{', '[']).count() > 8 || text.contains(['<', '>']) => {
            return Ok(());
        }
        Err(error) => return Err(format!("{error}: {quoted:?}")),
    };
    let last = script.arguments().last().and_then(|word| word.value.clone());
    same("a quoted text is one word", &last, &Some(text))
}

/// Lines of a journal with the numbers and checksums that they need, mostly.
pub(super) fn whole_lines(mutator: &mut Mutator<'_>) -> Vec<u8> {
    let bytes = mutator.input();
    if mutator.once_in(8) {
        return bytes;
    }
    let text = String::from_utf8_lossy(&bytes);
    let mut whole = String::new();
    for (at, line) in text.lines().enumerate() {
        let inner = line.split_once("\"line\":").and_then(|(_, inner)| inner.strip_suffix('}'));
        let Some(inner) = inner else { continue };
        let Some((before, after)) = inner.split_once("\"sequence\":") else { continue };
        let after = after.trim_start_matches(|letter: char| letter.is_ascii_digit());
        let inner = format!("{before}\"sequence\":{}{after}", at + 1);
        let sum = hexadecimal(&Sha256::digest(inner.as_bytes())[..8]);
        let _ = writeln!(whole, "{{\"checksum\":\"{sum}\",\"line\":{inner}}}");
    }
    whole.into_bytes()
}

thread_local! {
    /// A file in memory, where there is such a file system.
    static FILE: PathBuf = {
        let folder = if Path::new("/dev/shm").is_dir() { "/dev/shm".into() } else { std::env::temp_dir() };
        let thread = format!("{:?}", std::thread::current().id());
        let thread: String = thread.chars().filter(char::is_ascii_digit).collect();
        folder.join(format!("vllm-grid-fuzz-{}-{thread}", std::process::id()))
    };
    static MANIFEST: Manifest = {
        let text = include_str!("../../runs/example/manifest.json");
        serde_json::from_str(text).expect("the example's manifest")
    };
}

pub(super) fn journal_lines(input: &[u8], _: &mut Mutator<'_>) -> Wrong {
    let path = FILE.with(Clone::clone);
    fs::write(&path, input).map_err(|error| error.to_string())?;
    let read = journal::read(&path);
    let _ = fs::remove_file(&path);
    let Ok(lines) = read else { return Ok(()) };
    for line in &lines {
        let text = serde_json::to_string(line).map_err(|error| error.to_string())?;
        let back: journal::Line =
            serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
        let again = serde_json::to_string(&back).map_err(|error| error.to_string())?;
        same("an entry is read as it was written", &again, &text)?;
    }
    let manifest = MANIFEST.with(Clone::clone);
    let _ = replay::replay(manifest, &lines);
    replay::production_steps(&lines);
    Ok(())
}

pub(super) fn sse(input: &[u8], mutator: &mut Mutator<'_>) -> Wrong {
    let limit = [64, 1 << 20][mutator.below(2)];
    let at_once = whole::events(&[input], limit);
    let events = whole::events(&mutator.pieces(input), limit);
    let (Some(at_once), Some(events)) = (at_once, events) else { return Ok(()) };
    same("events do not depend on where chunks end", &events, &at_once)
}

/// A response whose framing is right, mostly.
pub(super) fn response(mutator: &mut Mutator<'_>) -> Vec<u8> {
    let body = mutator.input();
    if mutator.once_in(6) {
        return body;
    }
    let mut bytes = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n".to_vec();
    if mutator.once_in(3) {
        bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
        bytes.extend_from_slice(&body);
        return bytes;
    }
    bytes.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
    for piece in mutator.pieces(&body) {
        let extension = if mutator.once_in(20) { ";a=b" } else { "" };
        bytes.extend_from_slice(format!("{:x}{extension}\r\n", piece.len()).as_bytes());
        bytes.extend_from_slice(piece);
        bytes.extend_from_slice(b"\r\n");
    }
    if !mutator.once_in(9) {
        bytes.extend_from_slice(b"0\r\n\r\n");
    }
    bytes
}

pub(super) fn http(input: &[u8], mutator: &mut Mutator<'_>) -> Wrong {
    let (record, answer) = whole::response(&[input], Limits::default());
    if let Some(error) = &record.error {
        harmless("an error", &error.message)?;
        if error.message.len() > 8000 {
            return Err(format!("an error of {} bytes", error.message.len()));
        }
        return Ok(());
    }
    let (again, same_answer) = whole::response(&mutator.pieces(input), Limits::default());
    // How many pieces an answer may come in is a bound of its own.
    if again.error.as_ref().is_some_and(|it| it.message.contains("in pieces of a few bytes")) {
        return Ok(());
    }
    same("no error, wherever pieces end", &again.error, &None)?;
    same("usage", &again.usage, &record.usage)?;
    same("finish reason", &again.finish_reason, &record.finish_reason)?;
    let bytes = |record: &vllm_grid::client::record::RequestRecord| -> Vec<u32> {
        record.chunks.iter().map(|chunk| chunk.bytes).collect()
    };
    same("chunks", &bytes(&again), &bytes(&record))?;
    same("the answer", &same_answer, &answer)
}

pub(super) fn prometheus(input: &[u8], mutator: &mut Mutator<'_>) -> Wrong {
    let text = String::from_utf8_lossy(input);
    Counters::parse(&text);
    Scrape::parse(&text);
    let labels: Vec<(String, String)> =
        (0..mutator.below(4)).map(|at| (format!("l{at}"), mutator.text(30))).collect();
    let escaped: Vec<String> = labels
        .iter()
        .map(|(key, value)| {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            format!("{key}=\"{value}\"")
        })
        .collect();
    let value = mutator.below(1 << 30) as f64 / 7.0;
    let scrape = Scrape::parse(&format!("# HELP m h\nm{{{}}} {value}\n", escaped.join(",")));
    let Some(sample) = scrape.named("m").next() else {
        return Err(format!("a sample is lost: {escaped:?}"));
    };
    same("labels", &sample.labels, &labels)?;
    same("the value", &sample.value.to_bits(), &value.to_bits())
}

pub(super) fn compose_output(input: &[u8], _: &mut Mutator<'_>) -> Wrong {
    let text = String::from_utf8_lossy(input);
    match compose::parse(&text, "vllm", "project") {
        Ok(spec) => {
            spec.port();
            spec.view(None);
            spec.reveal_to(&Secrets::default());
            let again = compose::parse(&text, "vllm", "project");
            same("read twice", &again.as_ref(), &Ok(&spec))
        }
        Err(error) if error.to_string().is_empty() => Err("an error without a word".into()),
        Err(_) => Ok(()),
    }
}

pub(super) fn dataset(input: &[u8], mutator: &mut Mutator<'_>) -> Wrong {
    let Ok(dataset) = Dataset::parse(input, Path::new("prompts.json")) else { return Ok(()) };
    if dataset.count() == 0 {
        return Err("a dataset without a prompt".to_owned());
    }
    let entry = mutator.below(dataset.count());
    dataset.prompt(entry);
    let said = dataset.said(entry);
    if said.is_empty() {
        return Err("an entry in which no user says anything".to_owned());
    }
    dataset.said_bytes(entry, 2);
    dataset.conversations(2);
    dataset.prompt_tokens();
    Ok(())
}

pub(super) fn dotenv(input: &[u8], mutator: &mut Mutator<'_>) -> Wrong {
    let text = String::from_utf8_lossy(input);
    let secrets = Secrets::default();
    secrets.add_dotenv(&text);
    secrets.add_text(&text);
    secrets.mask(&text);
    // A value that nothing else can be part of.
    let value = format!("s3cr3t-{:x}", mutator.below(usize::MAX));
    let secrets = Secrets::default();
    secrets.add_dotenv(&format!("X=1\nHF_TOKEN={value}\nY=2\n"));
    let masked = secrets.mask(&format!("a {value} b")).into_owned();
    if masked.contains(&value) { Err("a secret is shown".to_owned()) } else { Ok(()) }
}

pub(super) fn manifest(input: &[u8], _: &mut Mutator<'_>) -> Wrong {
    // A document that is cut is never read: mend what the mutator cuts most.
    let Ok(manifest) = serde_json::from_slice::<Manifest>(input) else { return Ok(()) };
    manifest.machine_pace();
    manifest.build_strategy();
    let text = serde_json::to_string(&manifest).map_err(|error| error.to_string())?;
    let back: Manifest = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
    same("a manifest is read as it was written", &back, &manifest)?;
    let lines: Vec<journal::Line> = Vec::new();
    let _ = replay::replay(manifest, &lines);
    Ok(())
}

pub(super) fn log(input: &[u8], mutator: &mut Mutator<'_>) -> Wrong {
    let text = String::from_utf8_lossy(input);
    let cleaned = clean::lines(&text);
    let code = [None, Some(0), Some(1), Some(137)][mutator.below(4)];
    let exit = failure::Exit { code, oom_killed: mutator.once_in(5) };
    let classified = failure::classify(&cleaned, exit, mutator.once_in(2));
    for line in &classified.lines {
        harmless("a line of the log", line)?;
        if line.chars().count() > 1000 {
            return Err(format!("a line of {} bytes", line.len()));
        }
    }
    failure::misses_hub(&cleaned);
    let _ = event::BootPhase::of(&text);
    let sources = Sources { log: Some(&cleaned), ..Sources::default() };
    effective::read(&sources, &vllm_grid::configuration::Flags::default());
    Ok(())
}

pub(super) fn text(input: &[u8], _: &mut Mutator<'_>) -> Wrong {
    let text = String::from_utf8_lossy(input);
    let line = clean::plain(&text).into_owned();
    if line.contains(char::is_control) {
        return Err(format!("a control character is left: {line:?}"));
    }
    same("cleaning twice is cleaning once", &clean::plain(&line).into_owned(), &line)
}
