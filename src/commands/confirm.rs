//! `confirm`: fresh launches of a configuration and the baseline in turn, which alone give
//! a gain to publish.

use vllm_grid::history::extent::Extent;
use vllm_grid::history::folder::Folder;
use vllm_grid::history::record::SweepRecord;
use vllm_grid::results::confirmable::{self, Pair, Refusal};
use vllm_grid::results::confirmed::ConfirmedGain;
use vllm_grid::results::ranking::{self, Ranking};
use vllm_grid::strategy::confirm::{Ended, MAX_PAIRS};
use vllm_grid::sweep::confirm::{self, Asked, Session};

use super::follow::{self, advised, announcement};
use super::show;
use super::sweep;
use super::work::{self, Work};
use crate::cli::ConfirmArgs;
use crate::exit::{CommandError, Exit, print};
use crate::progress::quoted;
use crate::signals::Shutdown;

/// `confirm`: continues the last confirmation of the same two, or begins one.
pub(crate) async fn confirm(args: &ConfirmArgs, shutdown: &Shutdown) -> Result<Exit, CommandError> {
    let folder = Folder::existing(&args.run)?;
    let record = folder.record()?;
    let ranking = ranking::rank(&record);
    // In a new block nothing is known yet, of confirmations and of failures alike.
    let accepted = if args.accept_change {
        Some(sweep::may_continue(&folder, true, shutdown).await?)
    } else {
        None
    };
    let mut counted = record.clone();
    if let Some(block) = accepted.as_ref().and_then(|it| it.continues.block.as_ref()) {
        counted.begin_block(block);
    }
    let pair = pair(args, &record, &ranking, &counted)?;
    let names = [pair.candidate.as_str(), pair.baseline.as_str()];
    let known = counted.confirmations.iter().rfind(|it| {
        !args.again && [it.asked.candidate.as_str(), it.asked.baseline.as_str()] == names
    });
    let repeats = known.map(|it| it.asked.repeats);
    let claim = args.claim.unwrap_or_else(|| record.manifest.usual_claim());
    let outlook = confirmable::outlook(&record, names, claim, repeats);
    let asked = Asked {
        candidate: pair.candidate.clone(),
        baseline: pair.baseline.clone(),
        claim,
        repeats: outlook.repeats,
        budget_seconds: args.budget,
        again: args.again,
        of_grid: false,
    };
    let session = confirm::session(&counted, &asked);
    let (confirmation, is_new) = match session {
        Session::Over { number, ended } => {
            let options = follow::options(&record, &pair.candidate, &pair.baseline, claim);
            let again = format!("vllm-grid confirm {}{options} --again", quoted(&args.run));
            return over(&ranking, number, ended, &again);
        }
        Session::Begin(confirmation) => (confirmation, true),
        Session::Continue(confirmation) => (confirmation, false),
    };
    let mut said = announcement(&confirmation, &outlook, is_new, &ranking);
    if let Some(ended) = confirm::ended(&counted, &confirmation) {
        said.push(format!("no further launch is needed: {ended}"));
    }
    said.extend(unfinished(&folder, &record)?);
    said.extend(pair.warnings.iter().map(|warning| format!("warning: {warning}")));
    // What would refuse the launches refuses a plan of them, too.
    let may = match accepted {
        Some(may) => may,
        None => sweep::may_continue(&folder, false, shutdown).await?,
    };
    said.extend(may.continues.said.iter().cloned());
    if args.dry_run {
        print(&(said.join("\n") + "\n"))?;
        return Ok(Exit::Done);
    }
    let launches = outlook.expected.map_or(MAX_PAIRS, |it| it.pairs) * 2;
    let (grid, engine, sweep, owning) = may.open(folder).await?;
    let work = Work::confirming(sweep, confirmation, launches, said)?.owned(owning);
    Box::pin(work::run(work, &grid, engine, shutdown)).await
}

/// What is compared, or everything that speaks against it. `counted`: what counts of the record
/// when it is launched.
fn pair(
    args: &ConfirmArgs,
    record: &SweepRecord,
    ranking: &Ranking,
    counted: &SweepRecord,
) -> Result<Pair, CommandError> {
    let (candidate, baseline) = (args.configuration.as_deref(), args.baseline.as_deref());
    let refused = |reasons: Vec<String>| {
        let text = format!("nothing was launched: {}", reasons.join("\n  also: "));
        CommandError::message(Exit::Usage, text)
    };
    let run = quoted(&args.run);
    let said = |it: &Refusal| advised(it, it.advice(&run));
    let pair = confirmable::pair(record, ranking, candidate, baseline)
        .map_err(|all| refused(all.iter().map(said).collect()))?;
    let names = [&pair.candidate, &pair.baseline];
    let fail: Vec<String> =
        names.into_iter().filter_map(|name| confirm::would_fail(counted, name)).collect();
    if fail.is_empty() { Ok(pair) } else { Err(refused(fail)) }
}

/// A word on a sweep that is not complete: its candidate may change.
fn unfinished(folder: &Folder, record: &SweepRecord) -> Result<Option<String>, CommandError> {
    let extent = Extent::read(folder, record, false, &jiff::ZonedDateTime::now())?;
    Ok(extent.is_partial().then(|| {
        format!(
            "warning: the sweep is not complete ({} launches): another candidate may come out of it",
            extent.launches()
        )
    }))
}

/// Nothing is left to do for what was asked.
fn over(ranking: &Ranking, number: u32, ended: Ended, again: &str) -> Result<Exit, CommandError> {
    let known = ranking.confirmed.iter().find(|it| it.number == number);
    let why = known.and_then(ConfirmedGain::why_ended).unwrap_or_else(|| ended.to_string());
    print(&format!(
        "confirmation {number} is over ({why})\nfrom fresh launches a new one is made by:\n  \
         {again}\n"
    ))?;
    show::confirmed(ranking, number)
}
