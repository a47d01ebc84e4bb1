//! The survival gate: how long its prompts are, and what is made of what came back. A prompt
//! that the server refuses as too long is reported; any other failure, also of the short
//! request that follows each long one, fails. Pure: who sends is elsewhere.

use std::collections::BTreeMap;

use super::{Against, Finding, Gate, GateReport, Role, SurvivalSettings};

/// Tokens by which a prompt is above `max-num-batched-tokens`: it needs a second chunk.
const ABOVE: u64 = 64;
/// Share of the context that the longest prompt has: lengths are met to about 5 %.
const NEAR_LIMIT: f64 = 0.93;
/// Tokens of the context that are left for the chat template and the answer.
const LEFT: u64 = 256;
/// Lengths that differ by less than this share are one.
const SAME: f64 = 0.05;
/// Before the length, in findings.
const PREFIX: &str = "prompt-tokens=";
/// Name of the first request in findings.
const SAMPLE: &str = "sample";

/// Lengths of the prompts in tokens, shortest first, each once: those that are named, one just
/// above the server's `batched` tokens and one near the limit of its `context`, as far as
/// that is known. Nothing longer than the context allows.
pub fn lengths(
    settings: &SurvivalSettings,
    batched: Option<u64>,
    context: Option<u64>,
) -> Vec<u64> {
    let longest = context.map(near_limit);
    let named = settings.prompt_tokens.iter().copied().map(u64::from);
    let mut all: Vec<u64> = named
        .chain(batched.map(|it| it + ABOVE))
        .filter(|it| longest.is_none_or(|longest| *it <= longest))
        .chain(longest)
        .filter(|it| *it > 0)
        .collect();
    all.sort_unstable();
    // The longer of two that are nearly the same asks for more, but for the one that is to
    // be just above the batch.
    let is_same = |a: u64, b: u64| a.abs_diff(b) as f64 <= SAME * a.max(b) as f64;
    let edge = batched.map(|it| it + ABOVE);
    all.dedup_by(|longer, shorter| {
        let same = is_same(*longer, *shorter);
        if same && Some(*shorter) != edge {
            *shorter = *longer;
        }
        same
    });
    all
}

/// Tokens of the prompt near the limit of a context.
fn near_limit(context: u64) -> u64 {
    ((context as f64 * NEAR_LIMIT) as u64).min(context.saturating_sub(LEFT))
}

/// What a prompt of this length is for, where the server's settings give the length.
pub fn role_of(tokens: u64, batched: Option<u64>, context: Option<u64>) -> Option<Role> {
    if batched.is_some_and(|it| it + ABOVE == tokens) {
        Some(Role::Edge)
    } else {
        context.is_some_and(|it| near_limit(it) == tokens).then_some(Role::Limit)
    }
}

/// What one request of the gate came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Came {
    /// An answer.
    Answer {
        /// Tokens of the prompt, as the server counts them.
        prompt_tokens: Option<u64>,
        /// Milliseconds to the first token.
        ttft_ms: Option<f64>,
    },
    /// The server refused it as too long.
    TooLong(String),
    /// Anything else.
    Failed(String),
}

/// One long prompt, and the short request that followed it.
#[derive(Clone, Debug, PartialEq)]
pub struct Passage {
    /// Tokens that were asked for.
    pub tokens: u64,
    /// What it is for.
    pub role: Option<Role>,
    /// 1 or 2: the first one may compile, and only the second is timed.
    pub pass: u32,
    /// What the long one came to.
    pub long: Came,
    /// What the short one came to; `None` where it was not sent.
    pub short: Option<Came>,
}

/// Name of a length in findings.
pub fn name_of(tokens: u64) -> String {
    format!("{PREFIX}{tokens}")
}

/// The length that a finding of `survival` names; 0 for the sample, which comes before all.
pub(super) fn tokens_of(gate: Gate, prompt: &str) -> Option<u64> {
    match prompt {
        _ if gate != Gate::Survival => None,
        SAMPLE => Some(0),
        named => named.strip_prefix(PREFIX)?.parse().ok(),
    }
}

/// Judges a server that did not answer the short request with which the gate begins.
pub fn judge_sample(why: &str, against: &Against) -> GateReport {
    let what = format!("the first short request failed, so no long one was sent: {why}");
    let finding = Finding::failing(SAMPLE, "short", what, String::new());
    GateReport::judged(Gate::Survival, vec![finding], BTreeMap::new(), against)
}

/// Judges what was survived.
pub fn judge(passages: &[Passage], against: &Against) -> GateReport {
    let mut findings = Vec::new();
    let mut metrics = BTreeMap::new();
    for Passage { tokens, role, pass, long, short } in passages {
        let name = name_of(*tokens);
        match long {
            Came::Failed(why) => {
                let what = format!("pass {pass} failed: {why}");
                findings
                    .push(Finding::failing(&name, "long", what, String::new()).with_role(*role));
            }
            Came::TooLong(why) => {
                let what = format!("it is too long for the server: {why}");
                findings.push(Finding::reported(&name, "too-long", what, String::new()));
            }
            // Tokens per second until the first one of the answer.
            Came::Answer { prompt_tokens: Some(counted), ttft_ms: Some(ttft) }
                if *pass == 2 && *ttft > 0.0 =>
            {
                let metric = format!("survival.prefill_throughput[{name}]");
                metrics.insert(metric, *counted as f64 / (ttft / 1000.0));
            }
            Came::Answer { .. } => {}
        }
        if let Some(Came::Failed(why) | Came::TooLong(why)) = short {
            let what = format!("the short request after pass {pass} failed: {why}");
            findings.push(Finding::failing(&name, "short", what, String::new()).with_role(*role));
        }
    }
    GateReport::judged(Gate::Survival, findings, metrics, against)
}

#[cfg(test)]
mod tests {
    use super::super::GateVerdict;
    use super::*;

    fn of(named: &[u32], batched: Option<u64>, context: Option<u64>) -> Vec<u64> {
        lengths(&SurvivalSettings { prompt_tokens: named.to_vec() }, batched, context)
    }

    #[test]
    fn prompts_are_as_named_above_the_batch_and_near_the_limit_as_far_as_the_context_allows() {
        let all = of(&[30_000, 100_000], Some(8192), Some(131_072));
        assert_eq!(all, [8256, 30_000, 100_000, 121_896]);
        assert_eq!(of(&[30_000, 100_000], Some(8192), Some(40_960)), [8256, 30_000, 38_092]);
        // Nothing fits but what is near the limit.
        assert_eq!(of(&[30_000], Some(8192), Some(8192)), [7618]);
        assert_eq!(of(&[30_000], None, None), [30_000]);
        assert_eq!(of(&[], None, Some(100)), [] as [u64; 0]);
        // One for both; the one above the batch keeps its length.
        assert_eq!(of(&[8000], Some(8000), Some(100_000)), [8064, 93_000]);
        assert_eq!(of(&[8000, 8300], None, None), [8300]);
    }

    fn answer(ttft: f64) -> Came {
        Came::Answer { prompt_tokens: Some(30_000), ttft_ms: Some(ttft) }
    }

    #[test]
    fn the_second_pass_is_timed_and_every_failure_but_a_refusal_for_length_fails() {
        let fine = Some(answer(1.0));
        let passage = |tokens, pass, long, short: &Option<Came>| Passage {
            tokens,
            role: None,
            pass,
            long,
            short: short.clone(),
        };
        let good = [
            passage(30_000, 1, answer(60_000.0), &fine),
            passage(30_000, 2, answer(3000.0), &fine),
            passage(100_000, 1, Came::TooLong("at most 65536".to_owned()), &fine),
        ];
        let report = judge(&good, &Against::Nothing);
        assert_eq!(report.verdict, GateVerdict::Passed);
        let throughput = &report.metrics["survival.prefill_throughput[prompt-tokens=30000]"];
        assert!((throughput - 10_000.0).abs() < 1e-6);
        assert_eq!(report.findings.len(), 1, "the refusal is reported");

        let failed = || Came::Failed("HTTP 500: no module".to_owned());
        let broken = judge(&[passage(30_000, 1, failed(), &fine)], &Against::Nothing);
        assert_eq!(broken.verdict, GateVerdict::Failed);
        let stuck = [passage(30_000, 2, answer(1.0), &Some(failed()))];
        let report = judge(&stuck, &Against::Nothing);
        assert_eq!(report.verdict, GateVerdict::Failed);
        let shown = report.findings[0].to_string();
        assert!(
            shown.starts_with("prompt-tokens=30000: the short request after pass 2"),
            "{shown}"
        );
    }

    fn failing(tokens: u64, role: Option<Role>, against: &Against) -> GateReport {
        let long = Came::Failed("HTTP 500".to_owned());
        judge(&[Passage { tokens, role, pass: 1, long, short: None }], against)
    }

    #[test]
    fn the_baseline_excuses_its_role_and_what_is_longer_than_it_came_to() {
        use super::super::BaselineFailures;
        let after = |baseline: GateReport| Against::Baseline(BaselineFailures::of([&baseline]));
        let verdict = |tokens, role, against: &Against| failing(tokens, role, against).verdict;
        // It stopped at 30000, and was asked nothing longer.
        let named = after(failing(30_000, None, &Against::Itself));
        assert_eq!(verdict(100_000, None, &named), GateVerdict::Passed);
        assert_eq!(verdict(30_464, Some(Role::Limit), &named), GateVerdict::Passed);
        assert_eq!(verdict(8256, Some(Role::Edge), &named), GateVerdict::Failed);
        let edge = after(failing(8256, Some(Role::Edge), &Against::Itself));
        assert_eq!(verdict(2112, Some(Role::Edge), &edge), GateVerdict::Passed, "a smaller batch");
        assert_eq!(verdict(2112, Some(Role::Limit), &edge), GateVerdict::Failed);
        let limit = after(failing(121_896, Some(Role::Limit), &Against::Itself));
        assert_eq!(verdict(38_092, Some(Role::Limit), &limit), GateVerdict::Passed);
        assert_eq!(verdict(100_000, None, &limit), GateVerdict::Failed, "the baseline passed it");
    }

    #[test]
    fn a_server_that_does_not_answer_the_first_request_is_described_so() {
        let report = judge_sample("HTTP 500", &Against::Nothing);
        assert_eq!(report.verdict, GateVerdict::Failed);
        let shown = report.findings[0].to_string();
        assert!(shown.starts_with("sample: the first short request failed"), "{shown}");
        let baseline = judge_sample("HTTP 500", &Against::Itself);
        let against = Against::Baseline(super::super::BaselineFailures::of([&baseline]));
        assert_eq!(failing(500, None, &against).verdict, GateVerdict::Passed, "nothing was asked");
    }

    #[test]
    fn lengths_from_the_settings_of_a_server_have_a_role() {
        let of = |tokens| role_of(tokens, Some(8192), Some(131_072));
        assert_eq!([8256, 30_000, 121_896].map(of), [Some(Role::Edge), None, Some(Role::Limit)]);
    }
}
