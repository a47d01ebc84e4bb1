//! The commands that show what there is: `report`, `metrics`, `workloads`,
//! `schema`, `completions`.

use std::path::{Component, Path, PathBuf};

use clap::CommandFactory as _;
use vllm_grid::clean;
use vllm_grid::history::extent::Extent;
use vllm_grid::history::folder::Folder;
use vllm_grid::history::journal;
use vllm_grid::history::record::SweepRecord;
use vllm_grid::metric::{Direction, Metric};
use vllm_grid::report::document::Document;
use vllm_grid::results::ranking;
use vllm_grid::results::reading::next::confirm_hours;
use vllm_grid::results::reading::{Place, Reading};
use vllm_grid::sweep::confirm::would_fail;
use vllm_grid::workload::{GATE_METRICS, KINDS, Kind, LAUNCH, catalogue};
use vllm_grid::{report, results};

use crate::cli::{Cli, Format, MetricsArgs, ReportArgs, Shell, WorkloadsArgs};
use crate::exit::{CommandError, Exit, print, print_with};
use crate::output::remark;

/// `report` as text or JSON: what the sweep showed and its ranking, from the journal.
pub(super) fn report(args: &ReportArgs, format: Format) -> Result<Exit, CommandError> {
    let folder = Folder::existing(&args.run)?;
    if format == Format::Json && !args.workload.is_empty() {
        let what = "--format json has the figures of all workloads: leave out --workload";
        return Err(CommandError::message(Exit::Usage, what));
    }
    let record = read(&folder)?;
    let ranking = results::ranking::rank(&record);
    if args.workload.is_empty() {
        return ranked(&folder, &record, &ranking, format, Writer::Others);
    }
    let kinds = kinds(&args.workload)?;
    let ran = |kind: &&Kind| record.manifest.workloads.iter().any(|it| it.kind().key == kind.key);
    if let Some(kind) = kinds.iter().find(|kind| !ran(kind)) {
        let what = format!("the sweep has no workload `{}`", kind.name);
        return Err(CommandError::message(Exit::Usage, what));
    }
    for kind in kinds {
        let exported = folder.has_tables();
        print(&report::figures::render(&ranking, &record.manifest, kind, width(), exported))?;
        let cases = results::why::of(&record, &ranking, kind);
        let why = report::why::render(&ranking, kind, &cases, width());
        if !why.is_empty() {
            print(&format!("\n{why}"))?;
        }
    }
    Ok(outcome(&ranking))
}

/// A sweep so far; what is missing of it is said on standard error.
pub(super) fn read(folder: &Folder) -> Result<SweepRecord, CommandError> {
    let (record, notes) = folder.read()?;
    for note in notes {
        remark(&format!("warning: {}", clean::plain(&note)));
    }
    Ok(record)
}

/// `metrics`: the catalogue.
pub(crate) fn metrics(args: &MetricsArgs) -> Result<Exit, CommandError> {
    let is_of_none =
        |name: &str| name == LAUNCH || GATE_METRICS.iter().any(|metric| metric.workload == name);
    let (others, workloads): (Vec<String>, Vec<String>) =
        args.workload.iter().cloned().partition(|name| is_of_none(name));
    let kinds =
        if others.is_empty() || !workloads.is_empty() { kinds(&workloads)? } else { Vec::new() };
    let is_asked_for = |metric: &&Metric| {
        kinds.iter().any(|kind| kind.key == metric.workload)
            || others.iter().any(|name| name == metric.workload)
            || (args.workload.is_empty() && is_of_none(metric.workload))
    };
    let catalogue: Vec<&Metric> =
        catalogue().iter().chain(GATE_METRICS).filter(is_asked_for).collect();
    if args.format == Format::Json {
        print_json(&catalogue)?;
        return Ok(Exit::Done);
    }
    for metric in catalogue {
        let better = match metric.direction {
            Direction::Lower => ", less is better",
            Direction::Higher => ", more is better",
            Direction::Neutral => "",
        };
        let text = format!(
            "{}.{} [{}{better}]\n    {} Source: {}.\n",
            metric.workload, metric.name, metric.unit, metric.definition, metric.source
        );
        print(&text)?;
    }
    Ok(Exit::Done)
}

/// `workloads`: what each measures, and its options.
pub(crate) fn workloads(args: &WorkloadsArgs) -> Result<Exit, CommandError> {
    let kinds = kinds(&args.names)?;
    match args.format {
        Format::Json => print_json(&report::workloads::describe(&kinds))?,
        Format::Text => print(&report::workloads::render(&kinds, width()))?,
    }
    Ok(Exit::Done)
}

/// `schema`: what a grid may have, for editors.
pub(crate) fn schema() -> Result<Exit, CommandError> {
    print(&vllm_grid::grid::schema::text())?;
    Ok(Exit::Done)
}

/// `completions`: a shell's script.
pub(crate) fn completions(shell: Shell) -> Result<Exit, CommandError> {
    let mut cli = Cli::command();
    let generator = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(generator, &mut cli, "vllm-grid", &mut script);
    let mut script = String::from_utf8_lossy(&script).into_owned();
    if shell == Shell::Bash {
        // clap_complete spells a name with `-` in two ways, so that no subcommand's branch is
        // ever reached.
        script = script.replace("vllm__subcmd__grid", "vllm__grid");
    }
    // Made of our own help alone: tabs and escapes of the shell stay as they are.
    print_with(|out| out.write_all(script.as_bytes()))?;
    Ok(Exit::Done)
}

/// The kinds of workloads of these names; all without any.
fn kinds(names: &[String]) -> Result<Vec<&'static Kind>, CommandError> {
    if names.is_empty() {
        return Ok(KINDS.iter().collect());
    }
    let named = names.iter().map(|name| Kind::named(name));
    named.map(|kind| kind.map_err(|error| CommandError::new(Exit::Usage, error))).collect()
}

/// Writes result and ranking files into a folder; returns their paths.
pub(crate) fn write(
    folder: &Path,
    record: &SweepRecord,
    ranking: &ranking::Ranking,
) -> Result<Vec<PathBuf>, CommandError> {
    report::export::write(folder, record, ranking)
        .map_err(|error| CommandError::new(Exit::Environment, error))
}

/// Who may be writing a sweep's journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writer {
    /// This process, which is done with it.
    Ourselves,
    /// Perhaps another one.
    Others,
}

/// Prints what a sweep showed, and its ranking; the exit code says whether there is one.
pub(crate) fn ranked(
    folder: &Folder,
    record: &SweepRecord,
    ranking: &ranking::Ranking,
    format: Format,
    writer: Writer,
) -> Result<Exit, CommandError> {
    let place = place(folder, record, ranking, writer)?;
    let reading = Reading::of(ranking, &record.manifest, &place);
    if format == Format::Json {
        let (manifest, extent) = (&record.manifest, place.extent.as_ref());
        print_json(&Document::of(ranking, manifest, &reading, &place.run, extent))?;
        return Ok(outcome(ranking));
    }
    let block = report::reading::render(&reading, width());
    let table = report::table::render(ranking, &record.manifest, width(), place.exported);
    match writer {
        Writer::Others => print(&format!("{block}\n{table}"))?,
        // What is printed last is what a person sees first.
        Writer::Ourselves => {
            print(&format!("{table}\nresults: {}\n\n{block}", folder.path().display()))?;
        }
    }
    Ok(outcome(ranking))
}

/// What a sweep showed, for who acts by it.
pub(super) fn reading(
    folder: &Folder,
    record: &SweepRecord,
    ranking: &ranking::Ranking,
) -> Result<Reading, CommandError> {
    let place = place(folder, record, ranking, Writer::Others)?;
    Ok(Reading::of(ranking, &record.manifest, &place))
}

/// What the commands that follow are called with.
pub(super) fn place(
    folder: &Folder,
    record: &SweepRecord,
    ranking: &ranking::Ranking,
    writer: Writer,
) -> Result<Place, CommandError> {
    let now = jiff::ZonedDateTime::now();
    let extent = Extent::read(folder, record, writer == Writer::Ourselves, &now)?;
    let grid = direct(&folder.original_grid(&record.manifest));
    let candidate = ranking.decision.as_ref().map(|it| it.candidate.configuration.as_str());
    let baseline = ranking.rows.iter().find(|row| row.baseline).map(|row| row.name.as_str());
    let pair = candidate.zip(baseline);
    // While another process works on it, production is stopped on purpose.
    let works = writer == Writer::Others && journal::is_written_in(folder.path());
    Ok(Place {
        run: folder.path().display().to_string(),
        grid: grid.is_file().then(|| grid.display().to_string()),
        extent: Some(extent),
        confirm: pair.and_then(|(candidate, baseline)| confirm_hours(record, candidate, baseline)),
        production: record.unproven.clone().filter(|_| !works),
        not_launched: not_launched(record, ranking),
        exported: folder.has_tables(),
    })
}

/// What a confirmation that ended without a result could not launch again. It is looked for there
/// alone: each name reads all launches.
fn not_launched(record: &SweepRecord, ranking: &ranking::Ranking) -> Vec<String> {
    let ended = ranking.without_result().filter(|it| !it.can_go_on());
    let names = ended.into_iter().flat_map(|_| &ranking.rows).map(|row| &row.name);
    names.filter(|name| would_fail(record, name).is_some()).cloned().collect()
}

/// `runs/a/../../grids/b.yaml` as `grids/b.yaml`.
pub(super) fn direct(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for part in path.components() {
        let up = part == Component::ParentDir;
        if up && matches!(parts.components().next_back(), Some(Component::Normal(_))) {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts
}

/// Whether something has a rank.
pub(super) fn outcome(ranking: &ranking::Ranking) -> Exit {
    if ranking.rows.iter().any(|row| row.rank.is_some()) { Exit::Done } else { Exit::NothingRanked }
}

/// How the process ends after a confirmation: a gain is a result, also one that is not shown,
/// and who breaks a bound, or is not to serve, is not to be used, whatever it gains.
/// What it showed is printed: the block above may be about another configuration.
pub(crate) fn confirmed(ranking: &ranking::Ranking, number: u32) -> Result<Exit, CommandError> {
    let Some(gain) = ranking.confirmed.iter().find(|it| it.number == number) else {
        return Ok(Exit::NothingRanked);
    };
    print(&format!("\n{}", report::confirmation::render(gain, width())))?;
    let is_good = gain.is_result() && !gain.is_refuted();
    Ok(if is_good { Exit::Done } else { Exit::NothingRanked })
}

/// Columns of the terminal; 80 where there is none.
pub(crate) fn width() -> usize {
    let terminal = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    let columns = terminal.or_else(|| std::env::var("COLUMNS").ok()?.parse().ok());
    columns.unwrap_or(80).clamp(40, 400)
}

/// Prints JSON, one document, as it is made: a plan can be large.
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<(), CommandError> {
    print_with(|out| {
        serde_json::to_writer_pretty(&mut *out, value)?;
        out.write_all(b"\n")
    })
}
