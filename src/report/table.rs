//! The ranking as a table for a terminal: one renderer of
//! [`Ranking::findings`]. Fits the given width: columns without space are left out or
//! listed below the table. What is said is decided in [`crate::results`]; the words
//! and what depends on the layout are here and in `notes`.

use serde_json::Value;

use super::bounds;
use super::fields::{Field, PADDING, draw};
use super::notes;
use super::text::{plain, wrap};
use crate::configuration::canonical;
use crate::history::record::Manifest;
use crate::metric::{Goal, Scale};
use crate::results::findings::Finding;
use crate::results::number;
use crate::results::ranking::{ConstraintVerdict, RankedConfiguration, Ranking};

/// More configurations than this are not explained one by one.
const LEGEND_ROWS: usize = 24;

/// Columns that a name needs at least; others are left out for it.
const MIN_NAME: usize = 12;

/// The ranking as text of at most `columns` columns (at least 60 are used).
/// Ends with a newline.
pub fn render(ranking: &Ranking, manifest: &Manifest, columns: usize) -> String {
    let columns = columns.max(60);
    let findings = ranking.findings();
    let layout = Layout::choose(ranking, manifest, columns);
    let mut blocks = vec![title(ranking, manifest, &findings, &layout, columns)];
    if !ranking.rows.is_empty() {
        blocks.push(draw(&layout.fields.iter().collect::<Vec<_>>()));
    }
    let bounds = bounds::render(ranking, columns).filter(|_| ranking.rows.len() <= LEGEND_ROWS);
    let shown = notes::Shown { effect: layout.shown.effect, bounds: bounds.is_some() };
    let mut notes = notes::below(&findings, shown, ranking.rows.iter().any(lost));
    notes.extend(legend(ranking, manifest, &layout));
    blocks.extend(bounds);
    let notes: Vec<String> = notes.iter().map(|note| wrap(&plain(note), columns, "  ")).collect();
    if !notes.is_empty() {
        blocks.push(notes.join("\n"));
    }
    blocks.join("\n\n") + "\n"
}

fn title(
    ranking: &Ranking,
    manifest: &Manifest,
    findings: &[Finding],
    layout: &Layout,
    columns: usize,
) -> String {
    let goal = match ranking.objective.goal {
        Goal::Minimize => "minimize",
        Goal::Maximize => "maximize",
    };
    let count = ranking.rows.len();
    let plural = if count == 1 { "" } else { "s" };
    let unit = match number::unit(&ranking.objective.metric) {
        unit if !layout.shown.units && !unit.is_empty() => format!(" in {unit}"),
        _ => String::new(),
    };
    let line = format!(
        "{}: {count} configuration{plural}, engine {}, {goal} {}{unit}",
        ranking.sweep, manifest.engine, ranking.objective.metric
    );
    let mark = findings.contains(&Finding::Simulated).then(|| notes::SIMULATED.to_owned());
    let lines = mark.into_iter().chain([line, notes::headline(findings)]);
    lines.map(|line| wrap(&plain(&line), columns, "  ")).collect::<Vec<_>>().join("\n")
}

/// Which columns are shown.
struct Layout {
    fields: Vec<Field>,
    /// Whether a name was cut.
    names_cut: bool,
    /// Whether what differs is not in the table.
    differences_open: bool,
    shown: Shown,
}

/// What a table has space for.
#[derive(Clone, Copy)]
struct Shown {
    /// The objective compared with the baseline's.
    effect: bool,
    differences: bool,
    /// The figures' unit; the title has it otherwise.
    units: bool,
}

impl Layout {
    /// The first of these that leaves space for names and differences: all
    /// columns, without the effect against the baseline, without the differences,
    /// without both, without the figures' unit.
    fn choose(ranking: &Ranking, manifest: &Manifest, columns: usize) -> Self {
        let varies = !manifest.varied.is_empty();
        let compared = ranking.rows.iter().any(|row| row.effect().is_some());
        for (effect, differences) in [(true, true), (false, true), (true, false), (false, false)] {
            if (effect && !compared) || (differences && !varies) {
                continue;
            }
            let mut layout =
                Self::with(ranking, manifest, Shown { effect, differences, units: true });
            let whole = effect || differences;
            if layout.fit(columns, differences, false) && (whole || !layout.names_cut) {
                layout.differences_open |= varies && !differences;
                return layout;
            }
        }
        let mut layout = Self::with(
            ranking,
            manifest,
            Shown { effect: false, differences: false, units: false },
        );
        // An empty name identifies nothing.
        while layout.fields.len() > 3 && layout.space(columns, 1) < MIN_NAME {
            layout.fields.pop();
        }
        layout.fit(columns, false, true);
        layout.differences_open |= varies;
        layout
    }

    fn with(ranking: &Ranking, manifest: &Manifest, shown: Shown) -> Self {
        let rows = &ranking.rows;
        let cells = |read: &dyn Fn(&RankedConfiguration) -> String| -> Vec<String> {
            rows.iter().map(read).collect()
        };
        let unit = if shown.units { number::unit(&ranking.objective.metric) } else { "" };
        let mut fields = vec![
            Field::new("rank", cells(&|row| row.rank_label.clone().unwrap_or("-".to_owned()))),
            Field::new("configuration", cells(&|row| plain(&name(row)))),
        ];
        if shown.differences {
            fields.push(Field::new("differs in", cells(&|row| differs(row, manifest))));
        }
        let objective = |row: &RankedConfiguration| {
            let estimate = row.estimates.first().and_then(Option::as_ref);
            estimate.map_or("-".to_owned(), |estimate| number::estimate(estimate, unit))
        };
        let header = format!("{} [95%]", ranking.objective.metric.name);
        fields.push(Field::new(header, cells(&objective)).right());
        if shown.effect {
            let own = if ranking.scale == Scale::Ratios { "1" } else { "0" };
            let effect = |row: &RankedConfiguration| match row.effect() {
                Some(effect) => notes::effect(effect),
                None if row.baseline && row.eligible => own.to_owned(),
                None => "-".to_owned(),
            };
            fields.push(Field::new("to baseline", cells(&effect)).right());
        }
        fields.push(Field::new("n", cells(&numbers)));
        if rows.iter().any(|row| row.failures > 0) {
            fields.push(Field::new("failed", cells(&|row| row.failures.to_string())).right());
        }
        if rows.iter().any(lost) {
            fields.push(Field::new("lost", cells(&|row| row.failed_repeats.to_string())).right());
        }
        if !ranking.constrained.is_empty() {
            fields.push(Field::new("constraints", cells(&constraints)));
        }
        Self { fields, names_cut: false, differences_open: false, shown }
    }

    /// What the other columns leave for the `flexible` ones behind the first.
    fn space(&self, columns: usize, flexible: usize) -> usize {
        let taken = |field: &Field| field.width() + PADDING;
        let fixed: usize = self.fields[..1].iter().map(taken).sum::<usize>()
            + self.fields[1 + flexible..].iter().map(taken).sum::<usize>();
        columns.saturating_sub(fixed + flexible * PADDING)
    }

    /// Cuts names and differences to the space that is left; false where that
    /// would leave too little of them.
    fn fit(&mut self, columns: usize, differences: bool, force: bool) -> bool {
        let space = self.space(columns, if differences { 2 } else { 1 });
        let names = self.fields[1].width();
        if !differences {
            if space < names.min(20) && !force {
                return false;
            }
            self.names_cut = names > space;
            self.fields[1].cut(space);
            return true;
        }
        let differing = self.fields[2].width();
        let for_names = names.min(space.saturating_sub(differing).max(24));
        let for_differences = space.saturating_sub(for_names);
        // Differences that are cut are half of the truth: all or none.
        if for_differences < differing {
            return false;
        }
        self.names_cut = names > for_names;
        self.fields[1].cut(for_names);
        true
    }
}

/// The name, marked where it is the baseline.
fn name(row: &RankedConfiguration) -> String {
    let mark = if row.baseline { "*" } else { "" };
    format!("{}{mark}", row.name)
}

/// `2x5` for two launches of five repeats each; `2:9` for nine repeats in two launches.
fn numbers(row: &RankedConfiguration) -> String {
    match row.estimates.first().and_then(Option::as_ref) {
        Some(e) if e.repeats % e.launches == 0 => {
            format!("{}x{}", e.launches, e.repeats / e.launches)
        }
        Some(e) => format!("{}:{}", e.launches, e.repeats),
        None => "-".to_owned(),
    }
}

/// Whether repeats of it failed.
fn lost(row: &RankedConfiguration) -> bool {
    row.failed_repeats > 0
}

/// The worst verdict of all constraints.
fn constraints(row: &RankedConfiguration) -> String {
    // Nothing measured: the reason is below the table.
    if row.repeats == 0 {
        return "-".to_owned();
    }
    let word = match row.constraints.iter().map(|bounded| bounded.verdict).max() {
        Some(ConstraintVerdict::Holds) => "met",
        Some(ConstraintVerdict::NotShown) => "not shown",
        Some(ConstraintVerdict::Violated) => "violated",
        Some(ConstraintVerdict::NotMeasured) => "not measured",
        None => "-",
    };
    word.to_owned()
}

/// What the grid varied of a configuration, in few words.
fn differs(row: &RankedConfiguration, manifest: &Manifest) -> String {
    let parts = manifest.varied.iter().map(|flag| {
        let value = match row.varied.get(flag) {
            None | Some(Value::Null) => "-".to_owned(),
            Some(Value::Bool(true)) => "on".to_owned(),
            Some(Value::Bool(false)) => "off".to_owned(),
            Some(Value::String(text)) => plain(text),
            Some(other) => canonical(other),
        };
        format!("{} {value}", short(flag))
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// The usual short word for a flag.
fn short(flag: &str) -> &str {
    match flag {
        "gpu-memory-utilization" => "util",
        "enable-prefix-caching" => "prefix",
        "enable-chunked-prefill" => "chunk",
        "max-num-seqs" => "seqs",
        "max-num-batched-tokens" => "batch",
        "max-model-len" => "len",
        "tensor-parallel-size" => "tp",
        other => other.strip_prefix("enable-").unwrap_or(other),
    }
}

/// The configurations in full, where the table cut their names or left out what they
/// differ in.
fn legend(ranking: &Ranking, manifest: &Manifest, layout: &Layout) -> Vec<String> {
    let rows = &ranking.rows;
    if !layout.differences_open && !layout.names_cut {
        return Vec::new();
    }
    if rows.len() > LEGEND_ROWS {
        return vec!["names in full: ranking.csv; flags: results.csv".to_owned()];
    }
    let line = |row: &RankedConfiguration| {
        let label = row.rank.map_or("-".to_owned(), |rank| format!("#{rank}"));
        let varied = match differs(row, manifest) {
            text if text.is_empty() => text,
            text => format!(": {text}"),
        };
        format!("{label} {}{varied}", row.name)
    };
    rows.iter().map(line).collect()
}
