//! The function gate: what clients rely on, where the server's flags promise it, each tried
//! up to three times. A check that never succeeds fails; one that succeeds at times is
//! reported. Whether thinking can be switched off is the model's: it fails only where the
//! baseline does it. What the server does not take, such as pictures, is skipped. Pure: who
//! sends is elsewhere.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Against, Finding, Gate, GateReport, GateVerdict};
use crate::configuration::Flags;

/// How often each is tried.
pub const TRIES: usize = 3;

/// One thing that clients rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// A stream ends with its counts of tokens, where these are asked for.
    StreamingUsage,
    /// An answer is JSON by the schema that was asked for.
    JsonSchema,
    /// A tool is called, with arguments that are JSON.
    ToolCall,
    /// Without thinking there is none.
    ThinkingOff,
    /// Thinking is apart from the answer in a second turn, too.
    ThinkingKept,
    /// The colours of a picture are named.
    Picture,
}

impl Check {
    /// Every check, in the order in which they are tried.
    pub const ALL: [Self; 6] = [
        Self::StreamingUsage,
        Self::JsonSchema,
        Self::ToolCall,
        Self::ThinkingOff,
        Self::ThinkingKept,
        Self::Picture,
    ];

    /// Whether it succeeds depends on the model as much as on the configuration: some models
    /// always think.
    const fn is_models(self) -> bool {
        matches!(self, Self::ThinkingOff)
    }

    /// Name of the share of its tries that succeeded.
    fn metric(self) -> String {
        format!("function.{}", self.as_str().replace('-', "_"))
    }

    /// Its name in findings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StreamingUsage => "streaming-usage",
            Self::JsonSchema => "json-schema",
            Self::ToolCall => "tool-call",
            Self::ThinkingOff => "thinking-off",
            Self::ThinkingKept => "thinking-kept",
            Self::Picture => "picture",
        }
    }
}

/// What a server with these flags promises. Usage and schemas every one does; whether the
/// model takes pictures is found out by sending one.
pub fn promised(flags: &Flags) -> Vec<Check> {
    let has = |name: &str| {
        flags.get(name).is_some_and(|it| !matches!(it, Value::Null | Value::Bool(false)))
    };
    let calls = has("tool-call-parser") && has("enable-auto-tool-choice");
    let thinks = has("reasoning-parser");
    [
        (Check::StreamingUsage, true),
        (Check::JsonSchema, true),
        (Check::ToolCall, calls),
        (Check::ThinkingOff, thinks),
        (Check::ThinkingKept, thinks),
        (Check::Picture, true),
    ]
    .into_iter()
    .filter_map(|(check, is_promised)| is_promised.then_some(check))
    .collect()
}

/// What one try came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Try {
    /// As it should be.
    Done,
    /// Not so.
    Missed {
        /// What is wrong.
        why: String,
        /// The part of the answer that shows it, cut and cleaned.
        evidence: String,
    },
    /// The server does not take such a request.
    NotTaken(String),
}

/// The checks in which a report has a success.
pub(super) fn done(report: &GateReport) -> impl Iterator<Item = Check> {
    let is_done = |check: &Check| report.metrics.get(&check.metric()).is_some_and(|it| *it > 0.0);
    Check::ALL.into_iter().filter(is_done)
}

/// Judges the tries of each check.
pub fn judge(tried: &[(Check, Vec<Try>)], against: &Against) -> GateReport {
    let mut findings = Vec::new();
    let mut metrics = BTreeMap::new();
    for (check, tries) in tried {
        let name = check.as_str();
        if let Some(Try::NotTaken(why)) = tries.iter().find(|it| matches!(it, Try::NotTaken(_))) {
            findings.push(Finding::reported(name, "not-taken", why.clone(), String::new()));
            continue;
        }
        let done = tries.iter().filter(|it| **it == Try::Done).count();
        if tries.is_empty() {
            continue;
        }
        let share = done as f64 / tries.len() as f64;
        metrics.insert(check.metric(), share);
        let Some(Try::Missed { why, evidence }) =
            tries.iter().rev().find(|it| matches!(it, Try::Missed { .. }))
        else {
            continue;
        };
        let what = format!("{done} of {} tries: {why}", tries.len());
        findings.push(match done {
            0 if !check.is_models() || against.holds_to(Gate::Function, name) => {
                Finding::failing(name, "never", what, evidence.clone())
            }
            0 => Finding::reported(name, "never", what, evidence.clone()),
            _ => Finding::reported(name, "at-times", what, evidence.clone()),
        });
    }
    let report = GateReport::judged(Gate::Function, findings, metrics, against);
    if report.metrics.is_empty() && !report.findings.is_empty() {
        let reason = Some("the server takes none of its requests".to_owned());
        return GateReport { verdict: GateVerdict::Skipped, reason, ..report };
    }
    report
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{BaselineFailures, Effect};
    use super::*;

    fn flags(value: Value) -> Flags {
        let Value::Object(map) = value else { panic!("flags") };
        map.into_iter().collect()
    }

    #[test]
    fn only_what_the_flags_promise_is_tried() {
        use Check::{JsonSchema, Picture, StreamingUsage, ThinkingKept, ThinkingOff, ToolCall};
        assert_eq!(promised(&Flags::default()), [StreamingUsage, JsonSchema, Picture]);
        let half = flags(json!({"tool-call-parser": "hermes"}));
        assert!(!promised(&half).contains(&ToolCall), "nobody switched the choice on");
        let all = flags(json!({"tool-call-parser": "hermes", "enable-auto-tool-choice": true,
            "reasoning-parser": "qwen3"}));
        assert_eq!(
            promised(&all),
            [StreamingUsage, JsonSchema, ToolCall, ThinkingOff, ThinkingKept, Picture]
        );
        let off = flags(json!({"tool-call-parser": "hermes", "enable-auto-tool-choice": false}));
        assert!(!promised(&off).contains(&ToolCall));
    }

    #[test]
    fn what_never_succeeds_fails_and_what_does_at_times_is_reported() {
        let missed = || Try::Missed { why: "no call".to_owned(), evidence: "Paris".to_owned() };
        let tried = [
            (Check::ToolCall, vec![missed(), missed(), missed()]),
            (Check::JsonSchema, vec![missed(), Try::Done]),
            (Check::StreamingUsage, vec![Try::Done]),
            (Check::Picture, vec![Try::NotTaken("HTTP 400: no pictures".to_owned())]),
        ];
        let report = judge(&tried, &Against::Nothing);
        assert_eq!(report.verdict, GateVerdict::Failed);
        let failing: Vec<String> = report.failures().map(Finding::to_string).collect();
        assert_eq!(failing, ["tool-call: 0 of 3 tries: no call (never): Paris"]);
        let effects: Vec<Effect> = report.findings.iter().map(|it| it.effect).collect();
        assert_eq!(effects, [Effect::Fails, Effect::Reported, Effect::Reported]);
        assert_eq!(
            report.metrics,
            BTreeMap::from([
                ("function.json_schema".to_owned(), 0.5),
                ("function.streaming_usage".to_owned(), 1.0),
                ("function.tool_call".to_owned(), 0.0),
            ])
        );
        assert_eq!(judge(&tried[1..], &Against::Nothing).verdict, GateVerdict::Passed);
        assert_eq!(judge(&tried, &Against::Itself).verdict, GateVerdict::Passed);
    }

    #[test]
    fn a_model_that_always_thinks_fails_only_where_the_baseline_does_not() {
        let missed = Try::Missed { why: "it thinks".to_owned(), evidence: String::new() };
        let thinks = [(Check::ThinkingOff, vec![missed.clone(), missed.clone(), missed])];
        let report = judge(&thinks, &Against::Nothing);
        assert_eq!(report.verdict, GateVerdict::Passed);
        assert_eq!(report.findings[0].effect, Effect::Reported);
        let after = |tried: &[(Check, Vec<Try>)]| {
            let baseline = judge(tried, &Against::Itself);
            judge(&thinks, &Against::Baseline(BaselineFailures::of([&baseline]))).verdict
        };
        // Without the parser it was not asked.
        assert_eq!(after(&[(Check::JsonSchema, vec![Try::Done])]), GateVerdict::Passed);
        assert_eq!(after(&thinks), GateVerdict::Passed);
        assert_eq!(after(&[(Check::ThinkingOff, vec![Try::Done])]), GateVerdict::Failed);
    }

    #[test]
    fn a_server_that_takes_no_request_of_it_is_skipped() {
        let refused = || vec![Try::NotTaken("HTTP 400".to_owned())];
        let none = [(Check::JsonSchema, refused()), (Check::Picture, refused())];
        assert_eq!(judge(&none, &Against::Nothing).verdict, GateVerdict::Skipped);
        let some = [(Check::JsonSchema, refused()), (Check::StreamingUsage, vec![Try::Done])];
        assert_eq!(judge(&some, &Against::Nothing).verdict, GateVerdict::Passed);
    }
}
