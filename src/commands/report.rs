//! `report`: as text and JSON by `show`, as Markdown and as one HTML page here, and the page
//! again after each launch while a sweep runs. The same files are written when a sweep ends, and
//! by `export`, with the tables.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use vllm_grid::history::folder::Folder;
use vllm_grid::history::journal;
use vllm_grid::history::record::SweepRecord;
use vllm_grid::input;
use vllm_grid::report::content::{self, Input, MOST_COMPARED, files};
use vllm_grid::report::{export, markdown, page, pictures};
use vllm_grid::results::analysis::{Analysis, Records};
use vllm_grid::results::ranking::{self, Ranking};
use vllm_grid::results::reading::Reading;

use super::report_file;
use super::show::{self, Writer};
use crate::cli::{ExportArgs, Format, ReportArgs, ReportFormat};
use crate::exit::{CommandError, Exit, print, print_with};
use crate::output::secrets;

/// Between two looks at a journal that grows.
const LOOK: Duration = Duration::from_secs(2);
/// Bytes of a grid file that are read.
const MAX_GRID: u64 = 1 << 20;
/// The page in a sweep's folder.
const PAGE: &str = "report.html";
/// The same as Markdown.
const MARKDOWN: &str = "report.md";

/// `report`.
pub(super) async fn report(args: &ReportArgs) -> Result<Exit, CommandError> {
    let is_page = matches!(args.format, ReportFormat::Markdown | ReportFormat::Html);
    if !args.workload.is_empty() && is_page {
        let what =
            "--format markdown and html have the figures of all workloads: leave out --workload";
        return Err(CommandError::message(Exit::Usage, what));
    }
    if !is_page && !args.follow && (args.output.is_some() || !args.configurations.is_empty()) {
        let what = "--output and --configurations need --format markdown or html, or --follow";
        return Err(CommandError::message(Exit::Usage, what));
    }
    if args.follow {
        return follow(args).await;
    }
    match args.format {
        ReportFormat::Text => show::report(args, Format::Text),
        ReportFormat::Json => show::report(args, Format::Json),
        ReportFormat::Markdown | ReportFormat::Html => once(args),
    }
}

/// The seven sections, to standard output or to a file.
fn once(args: &ReportArgs) -> Result<Exit, CommandError> {
    let folder = Folder::existing(&args.run)?;
    let record = show::read(&folder)?;
    let ranking = ranking::rank(&record);
    let compared = named(&ranking, &args.configurations)?;
    let output = args.output.as_deref().filter(|it| !report_file::is_standard_output(it));
    if let Some(path) = output {
        report_file::check(path, folder.path())?;
    }
    let from = output.map_or(folder.path(), parent);
    let analysis = Analysis::of(&record, &ranking, folder.path());
    let material = Material::of(&folder, from, &record, &ranking, analysis, Writer::Others)?;
    let input = material.input(&record, &ranking, &compared);
    let text = match args.format {
        ReportFormat::Markdown => markdown::render(&input),
        _ => page::render(&input),
    };
    match output {
        Some(path) => {
            put(path, &text)?;
            print(&format!("{}\n", path.display()))?;
        }
        None => print_with(|out| out.write_all(text.as_bytes()))?,
    }
    Ok(show::outcome(&ranking))
}

/// `export`: the files again.
pub(super) fn export(args: &ExportArgs) -> Result<Exit, CommandError> {
    let folder = Folder::existing(&args.run)?;
    let record = show::read(&folder)?;
    let target = args.output.as_deref().unwrap_or(folder.path());
    std::fs::create_dir_all(target).map_err(|error| {
        let what = format!("the folder {} cannot be created: {error}", target.display());
        CommandError::message(Exit::Environment, what)
    })?;
    let ranking = ranking::rank(&record);
    let mut written = show::write(target, &record, &ranking)?;
    written.extend(write(&folder, target, &record, &ranking, Writer::Others)?);
    for path in written {
        print(&format!("{}\n", path.display()))?;
    }
    Ok(Exit::Done)
}

/// Writes page and Markdown of a sweep into `target`; returns their paths. One that cannot be
/// written does not keep the other from it.
pub(super) fn write(
    folder: &Folder,
    target: &Path,
    record: &SweepRecord,
    ranking: &Ranking,
    writer: Writer,
) -> Result<Vec<PathBuf>, CommandError> {
    let compared = content::compared(ranking);
    let analysis = Analysis::of(record, ranking, folder.path());
    let material = Material::of(folder, target, record, ranking, analysis, writer)?;
    let input = material.input(record, ranking, &compared);
    let written =
        [(PAGE, page::render(&input)), (MARKDOWN, markdown::render(&input))].map(|(name, text)| {
            let path = target.join(name);
            put(&path, &text).map(|()| path)
        });
    written.into_iter().collect()
}

/// A file without secrets: what the record has lost already may stand in the grid's copy.
fn put(path: &Path, text: &str) -> Result<(), CommandError> {
    export::write_text(path, &secrets().mask(text))
        .map_err(|error| CommandError::new(Exit::Environment, error))
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The rows of configurations that a person names.
fn named(ranking: &Ranking, names: &[String]) -> Result<Vec<usize>, CommandError> {
    if names.is_empty() {
        return Ok(content::compared(ranking));
    }
    if names.len() > MOST_COMPARED {
        let what =
            format!("--configurations: {MOST_COMPARED} at most can be compared side by side");
        return Err(CommandError::message(Exit::Usage, what));
    }
    let row = |name: &String| {
        let name = name.trim();
        let rows = &ranking.rows;
        let found = rows.iter().position(|row| row.name == name);
        let found =
            found.or_else(|| rows.iter().position(|row| row.aliases.iter().any(|it| it == name)));
        found.ok_or_else(|| {
            let what = format!("--configurations: the sweep has no configuration `{name}`");
            CommandError::message(Exit::Usage, what)
        })
    };
    let mut chosen = Vec::new();
    for index in names.iter().map(row) {
        let index = index?;
        if !chosen.contains(&index) {
            chosen.push(index);
        }
    }
    Ok(chosen)
}

/// What a report needs besides record and ranking.
struct Material {
    reading: Reading,
    analysis: Analysis,
    pictures: Vec<pictures::Picture>,
    place: vllm_grid::results::reading::Place,
    grid: Option<String>,
    files: std::collections::BTreeMap<u32, files::LaunchFiles>,
    base: String,
}

impl Material {
    /// `from`: the folder that the report will lie in.
    fn of(
        folder: &Folder,
        from: &Path,
        record: &SweepRecord,
        ranking: &Ranking,
        analysis: Analysis,
        writer: Writer,
    ) -> Result<Self, CommandError> {
        let place = show::place(folder, record, ranking, writer)?;
        let reading = Reading::of(ranking, &record.manifest, &place);
        let grid = input::read(&folder.grid_path(), MAX_GRID).ok();
        let grid = grid.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Ok(Self {
            pictures: content::pictures_of(ranking, &analysis),
            reading,
            analysis,
            place,
            grid,
            files: files::of(folder, record),
            base: base(from, folder.path()),
        })
    }

    fn input<'a>(
        &'a self,
        record: &'a SweepRecord,
        ranking: &'a Ranking,
        compared: &'a [usize],
    ) -> Input<'a> {
        Input {
            record,
            ranking,
            reading: &self.reading,
            analysis: &self.analysis,
            pictures: &self.pictures,
            extent: self.place.extent.as_ref(),
            grid: self.grid.as_deref(),
            files: &self.files,
            base: &self.base,
            compared,
            now: jiff::Timestamp::now(),
        }
    }
}

/// From one folder to another, as a relative link begins: empty, or with `/` at its end.
fn base(from: &Path, to: &Path) -> String {
    let (Ok(from), Ok(to)) = (from.canonicalize(), to.canonicalize()) else {
        return String::new();
    };
    let shared = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(shared).map(|_| "..".to_owned());
    let down = to.components().skip(shared);
    let down = down.map(|it| it.as_os_str().to_string_lossy().into_owned());
    let path: Vec<String> = up.chain(down).collect();
    if path.is_empty() { String::new() } else { files::link(&format!("{}/", path.join("/"))) }
}

/// The page again after each launch, until nobody works on the sweep.
async fn follow(args: &ReportArgs) -> Result<Exit, CommandError> {
    let folder = Folder::existing(&args.run)?;
    let path = args.output.clone().unwrap_or_else(|| folder.path().join(PAGE));
    if report_file::is_standard_output(&path) {
        let what = "--follow writes a file: name one with --output, or leave it out";
        return Err(CommandError::message(Exit::Usage, what));
    }
    report_file::check(&path, folder.path())?;
    // A server is measured meanwhile, on this machine as a rule: this thread comes behind it.
    let _ = rustix::process::nice(10);
    let mut seen = Seen::default();
    let mut records = Records::default();
    loop {
        // Whether somebody writes is asked first: what comes between both is seen next time.
        let works = journal::is_written_in(folder.path());
        if !works {
            // Whoever worked on it has written its own page by now.
            let ranking = rewrite(args, &folder, &path, &mut records)?;
            return Ok(show::outcome(&ranking));
        }
        let news = seen
            .has_news(&folder.journal_path())
            .map_err(|error| CommandError::new(Exit::Environment, error))?;
        if news {
            rewrite(args, &folder, &path, &mut records)?;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Writes the page, and says so.
fn rewrite(
    args: &ReportArgs,
    folder: &Folder,
    path: &Path,
    records: &mut Records,
) -> Result<Ranking, CommandError> {
    let (record, _) = folder.read()?;
    let ranking = ranking::rank(&record);
    let compared = named(&ranking, &args.configurations)?;
    let analysis = Analysis::of_cached(&record, &ranking, folder.path(), records);
    let from = parent(path);
    let material = Material::of(folder, from, &record, &ranking, analysis, Writer::Others)?;
    let input = material.input(&record, &ranking, &compared);
    put(path, &page::render(&input))?;
    // As the page counts them: a trial that was launched twice is over once.
    let extent = material.place.extent.as_ref();
    let over = extent.map_or_else(String::new, |it| format!("{} of {}", it.done, it.of));
    let now = jiff::Timestamp::now().strftime("%H:%M:%S").to_string();
    let state = if extent.is_some_and(content::goes_on) { "" } else { ", the end" };
    print(&format!("{now} UTC  {over} launches are over{state}: {}\n", path.display()))?;
    Ok(ranking)
}

/// How far a journal was read. Only what is new of it is looked at, and that as text: a page is
/// written from all of it anyway.
#[derive(Debug, Default)]
struct Seen {
    /// Bytes of whole lines.
    bytes: u64,
    /// Whether the page was written once.
    begun: bool,
}

/// Entries after which a page says something else.
const NEWS: [&[u8]; 6] = [
    b"\"kind\":\"launch_ended\"",
    b"\"kind\":\"session_started\"",
    b"\"kind\":\"session_ended\"",
    b"\"kind\":\"confirmation_started\"",
    b"\"kind\":\"confirmation_ended\"",
    b"\"kind\":\"block_started\"",
];

impl Seen {
    /// Whether a launch ended, or the sweep's state changed, since the last look.
    fn has_news(&mut self, journal: &Path) -> std::io::Result<bool> {
        let length = std::fs::metadata(journal)?.len();
        if length < self.bytes {
            // Its torn end was cut off.
            self.bytes = 0;
        }
        let mut new = Vec::new();
        if length > self.bytes {
            let mut file = std::fs::File::open(journal)?;
            file.seek(SeekFrom::Start(self.bytes))?;
            file.take(length - self.bytes).read_to_end(&mut new)?;
            let whole = new.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            new.truncate(whole);
            self.bytes += whole as u64;
        }
        let mut lines = new.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let has = |line: &[u8], what: &[u8]| memchr::memmem::find(line, what).is_some();
        let is_news = |line: &[u8]| NEWS.iter().any(|what| has(line, what));
        let last = new.rsplit(|byte| *byte == b'\n').find(|line| !line.is_empty());
        // Who works on the sweep writes its own page behind its last entry.
        let ends = last.is_some_and(|line| {
            has(line, NEWS[2]) && !has(line, journal::WINDOW_CLOSED.as_bytes())
        });
        let news = lines.any(is_news);
        let first = !std::mem::replace(&mut self.begun, true);
        Ok((first || news) && !ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_written_after_a_launch_and_not_after_a_repeat() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let add = |text: &str| {
            let mut file =
                std::fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
            std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        };
        let line = |kind: &str| format!("{{\"line\":{{\"entry\":{{\"kind\":\"{kind}\"}}}}}}\n");
        let mut seen = Seen::default();
        add(&line("session_started"));
        assert!(seen.has_news(&path).unwrap(), "the first page");
        assert!(!seen.has_news(&path).unwrap(), "nothing is new");
        add(&line("repeat_finished"));
        assert!(!seen.has_news(&path).unwrap(), "a repeat");
        let ended = line("launch_ended");
        add(&ended[..20]);
        assert!(!seen.has_news(&path).unwrap(), "half a line");
        add(&ended[20..]);
        assert!(seen.has_news(&path).unwrap(), "a launch");
        add(&(line("launch_ended") + &line("session_ended")));
        assert!(!seen.has_news(&path).unwrap(), "the sweep writes its own page");
        std::fs::write(&path, line("launch_ended")).unwrap();
        assert!(seen.has_news(&path).unwrap(), "read again from its beginning");
    }

    #[test]
    fn links_lead_from_where_the_page_lies_to_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let (run, page) = (folder.path().join("runs/a b"), folder.path().join("pages"));
        std::fs::create_dir_all(&run).unwrap();
        std::fs::create_dir_all(&page).unwrap();
        assert_eq!(base(&run, &run), "");
        assert_eq!(base(&page, &run), "../runs/a%20b/");
    }
}
