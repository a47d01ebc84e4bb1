//! What follows the strategy's part of a sweep whose grid asks for a confirmation: what `confirm`
//! would do without arguments, and how both announce it. Launching is the loop's.

use std::fmt::Display;
use std::path::PathBuf;

use vllm_grid::clean::counted;
use vllm_grid::grid::plan::spoken;
use vllm_grid::history::confirmation::Confirmation;
use vllm_grid::history::record::SweepRecord;
use vllm_grid::results::confirmable::{self, Outlook, Pair, Refusal, RepeatsFrom};
use vllm_grid::results::ranking::{self, Ranking};
use vllm_grid::strategy::confirm::MAX_PAIRS;
use vllm_grid::sweep::confirm::{self, Asked, Session};
use vllm_grid::sweep::part::{Decide, Left, Next};

use crate::progress::{Confirms, Progress, quoted};

/// A confirmation that begins, or goes on.
struct Following {
    asked: Confirmation,
    outlook: Outlook,
    is_new: bool,
    warnings: Vec<String>,
}

/// Why none follows, and what a person may do all the same.
struct NotFollowing {
    why: String,
    advice: Option<String>,
}

impl From<String> for NotFollowing {
    fn from(why: String) -> Self {
        Self { why, advice: None }
    }
}

/// What decides when the strategy's part is over; what it decides is said.
pub(super) fn decide(progress: Progress, folder: PathBuf) -> Decide {
    Box::new(move |record, left| {
        // Nothing is reckoned where it is over.
        if record.confirmation_of_grid().is_some_and(|it| it.ended.or(it.earlier).is_some()) {
            return Next::Nothing;
        }
        let ranking = ranking::rank(record);
        match following(record, &ranking, left, &quoted(&folder)) {
            Ok(follows) => {
                announce(&follows, record, &ranking, left, &progress);
                Next::Confirmation(follows.asked)
            }
            Err(NotFollowing { why, advice }) => {
                progress.say(&format!("no confirmation follows: {}", advised(&why, advice)));
                Next::NothingToConfirm(why)
            }
        }
    })
}

/// Why something is refused, with what a person may do all the same.
pub(super) fn advised(refusal: &impl Display, advice: Option<String>) -> String {
    advice.map_or_else(|| refusal.to_string(), |advice| format!("{refusal}; {advice}"))
}

/// What follows, or everything that speaks against it.
fn following(
    record: &SweepRecord,
    ranking: &Ranking,
    left: Left,
    run: &str,
) -> Result<Following, NotFollowing> {
    let confirm = record.manifest.confirm.unwrap_or_default();
    let pair = match record.confirmation_of_grid() {
        // What was begun is continued, whatever leads by now.
        Some(begun) => Pair {
            candidate: begun.asked.candidate.clone(),
            baseline: begun.asked.baseline.clone(),
            warnings: Vec::new(),
        },
        None => confirmable::pair(record, ranking, None, None).map_err(|all| {
            let why: Vec<String> = all.iter().map(Refusal::to_string).collect();
            let advice = all.iter().find_map(|it| it.advice(run));
            NotFollowing { why: why.join("; also: "), advice }
        })?,
    };
    let names = [pair.candidate.as_str(), pair.baseline.as_str()];
    let fail: Vec<String> =
        names.into_iter().filter_map(|name| confirm::would_fail(record, name)).collect();
    if !fail.is_empty() {
        return Err(fail.join("; also: ").into());
    }
    if left.is_spent() || left.launches == Some(1) {
        return Err("the budget leaves no pair of launches for it".to_owned().into());
    }
    let known = record
        .confirmations
        .iter()
        .rfind(|it| [it.asked.candidate.as_str(), it.asked.baseline.as_str()] == names);
    let repeats = known.map(|it| it.asked.repeats);
    let outlook = confirmable::outlook(record, names, confirm.claim, repeats);
    let asked = Asked {
        candidate: pair.candidate.clone(),
        baseline: pair.baseline.clone(),
        claim: confirm.claim,
        repeats: outlook.repeats,
        budget_seconds: None,
        again: false,
        of_grid: true,
    };
    let (asked, is_new) = match confirm::session(record, &asked) {
        Session::Begin(confirmation) => (confirmation, true),
        Session::Continue(confirmation) => (confirmation, false),
        Session::Over { number, ended } => {
            return Err(format!("confirmation {number} is over ({ended})").into());
        }
    };
    Ok(Following { asked, outlook, is_new, warnings: pair.warnings })
}

fn announce(
    follows: &Following,
    record: &SweepRecord,
    ranking: &Ranking,
    left: Left,
    progress: &Progress,
) {
    let Following { asked, outlook, is_new, warnings } = follows;
    if let Some(ended) = record.ended.as_ref().filter(|it| !it.complete) {
        progress.say(&format!("the strategy's part ended: {}", ended.reason));
    }
    for line in announcement(asked, outlook, *is_new, ranking) {
        progress.say(&line);
    }
    if let Some(left) = spoken_left(left) {
        progress.say(&format!("the budget leaves it {left}"));
    }
    for warning in warnings {
        progress.warn(warning);
    }
    let launches = launches(record, asked, outlook, left.launches);
    let done = confirm::settled(record, asked.number);
    progress.confirms(how(record, asked));
    progress.begins_part((launches, launches), done);
}

/// About how many launches a confirmation has in all, of which so many may still be begun.
pub(super) fn launches(
    record: &SweepRecord,
    asked: &Confirmation,
    outlook: &Outlook,
    left: Option<u32>,
) -> u32 {
    let expected = 2 * outlook.expected.map_or(MAX_PAIRS, |it| it.pairs);
    let allowed =
        left.map(|left| left.saturating_add(confirm::settled(record, asked.number).len() as u32));
    allowed.map_or(expected, |allowed| expected.min(allowed))
}

/// `2.0 h, 10 launches`; `None` where nothing is limited.
fn spoken_left(left: Left) -> Option<String> {
    let time = left.time.map(|it| spoken(it.as_secs_f64()));
    let launches = left.launches.map(|it| counted(it, "launch"));
    let hours = left.gpu_hours.map(|it| format!("{it:.1} GPU hours"));
    let all: Vec<String> = [time, launches, hours].into_iter().flatten().collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// What is about to be done, and how long it takes.
pub(super) fn announcement(
    confirmation: &Confirmation,
    outlook: &Outlook,
    is_new: bool,
    ranking: &Ranking,
) -> Vec<String> {
    let Confirmation { number, candidate, baseline, claim, repeats, budget_seconds, .. } =
        confirmation;
    let verb = if is_new { "confirmation" } else { "continues confirmation" };
    let half = (claim * 5000.0).round() / 100.0;
    let mut lines = vec![format!(
        "{verb} {number}: {candidate} and {baseline} in turn, until the gain is known to ±{half}%"
    )];
    let done = ranking.confirmed.iter().find(|it| !is_new && it.number == *number);
    if let Some(done) = done {
        let (candidate, baseline) = (done.launches.candidate, done.launches.baseline);
        lines.push(format!("launches so far: {candidate} + {baseline}"));
    }
    lines.push(format!("expected in all: {outlook}"));
    if let Some((budget, expected)) = budget_seconds.zip(outlook.expected) {
        let launches = (budget as f64 / expected.launch_seconds.max(1.0)).ceil();
        if launches < 2.0 * f64::from(expected.pairs_high) {
            let budget = spoken(budget as f64);
            let launches = counted(launches as u64, "launch");
            lines.push(format!("the budget of {budget} allows about {launches}"));
        }
    }
    let from = match outlook.repeats_from {
        _ if !is_new => "as before",
        RepeatsFrom::Measured => "the best use of the time by what the sweep measured",
        RepeatsFrom::Grid => "as in the grid",
        RepeatsFrom::Workload => "as the workload says",
    };
    lines.push(format!("repeats of each launch: {repeats} ({from})"));
    lines
}

/// How a confirmation is continued.
pub(super) fn how(record: &SweepRecord, asked: &Confirmation) -> Confirms {
    let Confirmation { candidate, baseline, claim, of_grid, .. } = asked;
    Confirms { options: options(record, candidate, baseline, *claim), of_grid: *of_grid }
}

/// The options that name these two and the claim.
pub(super) fn options(record: &SweepRecord, candidate: &str, baseline: &str, claim: f64) -> String {
    let is_default = record.manifest.baseline.as_deref() == Some(baseline);
    let word = shell_words::quote;
    let other = if is_default { String::new() } else { format!(" --baseline {}", word(baseline)) };
    let claim = if (claim - record.manifest.usual_claim()).abs() < 1e-9 {
        String::new()
    } else {
        format!(" --claim {}%", (claim * 10_000.0).round() / 100.0)
    };
    format!(" --configuration {}{other}{claim}", word(candidate))
}
