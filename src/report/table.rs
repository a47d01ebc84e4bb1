//! The ranking as a table for a terminal. Fits the given width: columns that
//! find no room are left out or told below the table; nothing is told that the
//! ranking does not say.

use serde_json::Value;

use super::bounds;
use super::fields::{Field, PADDING, draw};
use super::text::{plain, wrap};
use crate::configuration::canonical;
use crate::history::record::Manifest;
use crate::metric::{Goal, Scale};
use crate::results::number;
use crate::results::preference::PREFERENCE;
use crate::results::ranking::{ConstraintVerdict, RankedConfiguration, Ranking, RankingVerdict};
use crate::statistics::Components;

/// More configurations than this are not explained one by one.
const LEGEND_ROWS: usize = 24;

/// Columns that a name needs at least; others are left out for it.
const MIN_NAME: usize = 12;

/// The ranking as text of at most `columns` columns (at least 60 are used).
/// Ends with a newline.
pub fn render(ranking: &Ranking, manifest: &Manifest, columns: usize) -> String {
    let columns = columns.max(60);
    let layout = Layout::choose(ranking, manifest, columns);
    let mut blocks = vec![title(ranking, manifest, &layout, columns)];
    if !ranking.rows.is_empty() {
        blocks.push(draw(&layout.fields.iter().collect::<Vec<_>>()));
    }
    let bounds = bounds::render(ranking, columns).filter(|_| ranking.rows.len() <= LEGEND_ROWS);
    let notes = notes(ranking, manifest, &layout, bounds.is_some());
    blocks.extend(bounds);
    let notes: Vec<String> = notes.iter().map(|note| wrap(note, columns, "  ")).collect();
    if !notes.is_empty() {
        blocks.push(notes.join("\n"));
    }
    blocks.join("\n\n") + "\n"
}

fn title(ranking: &Ranking, manifest: &Manifest, layout: &Layout, columns: usize) -> String {
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
    let mut lines = Vec::new();
    if ranking.simulated {
        let mark = "SIMULATED: every figure comes from the simulator, none from a GPU";
        lines.push(wrap(mark, columns, "  "));
    }
    lines.push(wrap(&plain(&line), columns, "  "));
    lines.push(wrap(&plain(&verdict(ranking)), columns, "  "));
    lines.join("\n")
}

/// The verdict, and what it does not carry.
fn verdict(ranking: &Ranking) -> String {
    let mut text = ranking.verdict.to_string();
    if let Some(first) = ranking.rows.first().filter(|row| row.eligible) {
        let open: Vec<String> = ranking
            .constrained
            .iter()
            .zip(&first.constraints)
            .filter(|(_, bounded)| bounded.verdict == ConstraintVerdict::NotShown)
            .map(|(metric, _)| metric.to_string())
            .collect();
        if !open.is_empty() {
            text = format!("{text}; not shown to hold: {}", open.join(", "));
        }
        if first.failed_repeats > 0 {
            let plural = if first.failed_repeats == 1 { "" } else { "s" };
            text = format!("{text}; {} repeat{plural} of it failed", first.failed_repeats);
        }
    }
    text
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

/// What a table has room for.
#[derive(Clone, Copy)]
struct Shown {
    /// The ratios to the baseline.
    ratio: bool,
    differences: bool,
    /// The figures' unit; the title tells it otherwise.
    units: bool,
}

impl Layout {
    /// The first of these that leaves room for names and differences: all
    /// columns, without the ratio to the baseline, without the differences,
    /// without both, without the figures' unit.
    fn choose(ranking: &Ranking, manifest: &Manifest, columns: usize) -> Self {
        let varies = !manifest.varied.is_empty();
        let compared = ranking.rows.iter().any(|row| compared(row).is_some());
        for (ratio, differences) in [(true, true), (false, true), (true, false), (false, false)] {
            if (ratio && !compared) || (differences && !varies) {
                continue;
            }
            let mut layout =
                Self::with(ranking, manifest, Shown { ratio, differences, units: true });
            let whole = ratio || differences;
            if layout.fit(columns, differences, false) && (whole || !layout.names_cut) {
                layout.differences_open |= varies && !differences;
                return layout;
            }
        }
        let mut layout =
            Self::with(ranking, manifest, Shown { ratio: false, differences: false, units: false });
        // A name that is cut to nothing names nothing.
        while layout.fields.len() > 3 && layout.room(columns, 1) < MIN_NAME {
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
        if shown.ratio {
            let own = if ranking.scale == Scale::Ratios { "1" } else { "0" };
            let told = |row: &RankedConfiguration| match compared(row) {
                Some(told) => told,
                None if row.baseline && row.eligible => own.to_owned(),
                None => "-".to_owned(),
            };
            fields.push(Field::new("to baseline", cells(&told)).right());
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

    /// What the other fields leave for the `flexible` ones behind the first.
    fn room(&self, columns: usize, flexible: usize) -> usize {
        let taken = |field: &Field| field.width() + PADDING;
        let fixed: usize = self.fields[..1].iter().map(taken).sum::<usize>()
            + self.fields[1 + flexible..].iter().map(taken).sum::<usize>();
        columns.saturating_sub(fixed + flexible * PADDING)
    }

    /// Cuts names and differences to the room that is left; false where that
    /// would leave too little of them.
    fn fit(&mut self, columns: usize, differences: bool, force: bool) -> bool {
        let room = self.room(columns, if differences { 2 } else { 1 });
        let names = self.fields[1].width();
        if !differences {
            if room < names.min(20) && !force {
                return false;
            }
            self.names_cut = names > room;
            self.fields[1].cut(room);
            return true;
        }
        let told = self.fields[2].width();
        let for_names = names.min(room.saturating_sub(told).max(24));
        let for_differences = room.saturating_sub(for_names);
        // Differences that are cut tell half of it: all or not at all.
        if for_differences < told {
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

/// The objective beside the baseline's: a ratio, or a difference where means may be zero.
fn compared(row: &RankedConfiguration) -> Option<String> {
    let ratio = row.baseline_ratio.map(|ratio| number::ratio(ratio.ratio, ratio.interval));
    let difference = row.baseline_difference;
    ratio.or_else(|| difference.map(|(value, interval)| number::difference(value, interval)))
}

/// The worst verdict of all constraints.
fn constraints(row: &RankedConfiguration) -> String {
    // Nothing measured: the reason is told below.
    if row.repeats == 0 {
        return "-".to_owned();
    }
    let word = match row.constraints.iter().map(|bounded| bounded.verdict).max() {
        Some(ConstraintVerdict::Holds) => "hold",
        Some(ConstraintVerdict::NotShown) => "not shown",
        Some(ConstraintVerdict::Violated) => "violated",
        Some(ConstraintVerdict::NotMeasured) => "not measured",
        None => "-",
    };
    word.to_owned()
}

/// What the grid varied of a configuration, in few words.
fn differs(row: &RankedConfiguration, manifest: &Manifest) -> String {
    let told = manifest.varied.iter().map(|flag| {
        let value = match row.varied.get(flag) {
            None | Some(Value::Null) => "-".to_owned(),
            Some(Value::Bool(true)) => "on".to_owned(),
            Some(Value::Bool(false)) => "off".to_owned(),
            Some(Value::String(text)) => plain(text),
            Some(other) => canonical(other),
        };
        format!("{} {value}", short(flag))
    });
    told.collect::<Vec<_>>().join(", ")
}

/// The word by which people call a flag.
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

fn notes(
    ranking: &Ranking,
    manifest: &Manifest,
    layout: &Layout,
    bounds_shown: bool,
) -> Vec<String> {
    let mut notes = Vec::new();
    let rows = &ranking.rows;
    if let Some(baseline) = rows.iter().find(|row| row.baseline) {
        notes.push(format!("* baseline: {}", plain(&baseline.name)));
    }
    notes.extend(about_figures(ranking, layout));
    if rows.iter().any(lost) {
        notes.push("lost: repeats that failed; failed launches are counted apart".to_owned());
    }
    if let Some(row) = rows.iter().find(|row| row.preferred) {
        let name = plain(&row.name);
        notes.push(format!("of those that cannot be told apart take {name}: {PREFERENCE}"));
    }
    for row in rows.iter().filter(|row| !row.eligible) {
        let reason = row.reason.as_deref().unwrap_or("no reason was recorded");
        notes.push(format!("not ranked: {}: {}", plain(&row.name), plain(reason)));
    }
    for row in rows.iter().filter(|row| row.eligible) {
        // What the table of bounds shows is not told again.
        let told = if bounds_shown { row.remarks.clone() } else { row.all_remarks() };
        if !told.is_empty() {
            notes.push(format!("{}: {}", plain(&row.name), plain(&told.join("; "))));
        }
    }
    for row in rows.iter().filter(|row| !row.aliases.is_empty()) {
        notes.push(format!("{} is also {}", plain(&row.name), plain(&row.aliases.join(", "))));
    }
    if layout.differences_open || layout.names_cut {
        if rows.len() > LEGEND_ROWS {
            notes.push("names in full: ranking.csv; flags: results.csv".to_owned());
        } else {
            let label = |row: &RankedConfiguration| match row.rank {
                Some(rank) => format!("#{rank}"),
                None => "-".to_owned(),
            };
            notes.extend(rows.iter().map(|row| {
                let varied = match differs(row, manifest) {
                    text if text.is_empty() => text,
                    text => format!(": {text}"),
                };
                format!("{} {}{varied}", label(row), plain(&row.name))
            }));
        }
    }
    notes
}

/// How the figures are to be read.
fn about_figures(ranking: &Ranking, layout: &Layout) -> Vec<String> {
    let mut notes = Vec::new();
    let first = ranking.rows.first().filter(|row| row.eligible);
    match ranking.components {
        Some(components) => notes.extend(about_ratios(components)),
        None if ranking.scale != Scale::Ratios && ranking.rows.iter().any(has_figure) => {
            notes.extend(about_plain(ranking));
        }
        None => return notes,
    }
    let ranked = ranking.rows.iter().filter(|row| row.eligible).count();
    let group = match &ranking.verdict {
        RankingVerdict::Tie { names } => names.len(),
        _ => 1,
    };
    if ranked > group + 1 && !matches!(ranking.verdict, RankingVerdict::Insufficient { .. }) {
        notes.push(
            "ranks below the first differ from rank 1 (Holm-adjusted, 5%), not necessarily from \
             each other"
                .to_owned(),
        );
    }
    if let Some(told) = first.and_then(compared) {
        if !layout.shown.ratio {
            let form = if ranking.scale == Scale::Ratios { "ratio" } else { "difference" };
            notes.push(format!("rank 1 to the baseline, as a {form}: {told}"));
        }
        notes.push(
            "the gain of rank 1 over the baseline comes from the launches that chose it: expect \
             less until fresh launches confirm it"
                .to_owned(),
        );
    }
    notes
}

fn has_figure(row: &RankedConfiguration) -> bool {
    row.estimates.first().is_some_and(Option::is_some)
}

fn about_ratios(components: Components) -> Vec<String> {
    let percent = |variance: f64| format!("{:.1}%", variance.sqrt() * 100.0);
    let (launch, repeat) =
        (percent(components.launch_variance), percent(components.repeat_variance));
    let assumed = |yes: bool| if yes { " (assumed)" } else { "" };
    let floor = if components.floored() { " (floor: less was measured)" } else { "" };
    let mut notes = vec![format!(
        "n: launches x repeats; [95%]: interval of the geometric mean (t on logs); pooled SD \
         {launch}{floor}{} between launches, {repeat}{} between repeats",
        assumed(components.launch_assumed),
        assumed(components.repeat_assumed),
    )];
    if components.launch_assumed {
        notes.push(
            "~ assumed: no configuration was launched twice, so the launch-to-launch variance is \
             not measured"
                .to_owned(),
        );
    } else if components.assumed() {
        notes.push("~ assumed: no launch has two repeats".to_owned());
    }
    notes
}

/// Of an objective that may be zero or negative.
fn about_plain(ranking: &Ranking) -> Vec<String> {
    let source = match ranking.scale {
        Scale::Share(counted) if counted.asked_again => {
            "of the share (Clopper-Pearson, a question counted once however often it was asked)"
        }
        Scale::Share(_) => {
            "of the share (Clopper-Pearson, or the spread of launches and repeats where that is \
             wider)"
        }
        Scale::Events => {
            "of the arithmetic mean (Poisson, or the spread of launches and repeats where that is \
             wider)"
        }
        Scale::Ratios | Scale::Differences => {
            "of the arithmetic mean (t, each configuration from its own spread)"
        }
    };
    let mut notes = vec![format!("n: launches x repeats; [95%]: interval {source}")];
    let assumed = ranking.rows.iter().any(|row| row.estimates[0].is_some_and(|e| e.assumed));
    if assumed {
        notes.push(
            "~ assumed: launched once, so the launch-to-launch spread is taken as 4% of the mean"
                .to_owned(),
        );
    }
    notes
}
