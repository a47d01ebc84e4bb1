//! Gates: what is looked at before a launch is measured, because speed does not show it. A
//! server can answer fluently wrong at full speed, healthy, with HTTP 200. What lives here is
//! data and pure functions: which gates a sweep has, what they found, and who fails for it;
//! [`repetition`] judges texts, [`canary`] has the prompts. Who asks a server is elsewhere.

pub mod canary;
mod cost;
pub mod function;
mod period;
pub mod repetition;
pub mod survival;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::flags::Flags;
use crate::workload::RequestFields;

/// The gates of a sweep; `None` is off, in a manifest too: what a grid has that says
/// nothing is [`Gates::default`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Gates {
    /// Short prompts, answers judged; first in every launch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanarySettings>,
    /// Long prompts; in a configuration's first launch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub survival: Option<SurvivalSettings>,
    /// What clients rely on; in a configuration's first launch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<FunctionSettings>,
}

impl Default for Gates {
    /// The canary alone.
    fn default() -> Self {
        Self { canary: Some(CanarySettings {}), ..Self::off() }
    }
}

impl Gates {
    /// No gate at all; the verdict says so.
    pub const fn off() -> Self {
        Self { canary: None, survival: None, function: None }
    }

    /// Whether no gate is on.
    pub fn is_off(&self) -> bool {
        *self == Self::off()
    }

    /// What is asked of a launch, in this order: the canary always, since each launch has a new
    /// server and it is quick; the others until one of the configuration's launches was `asked`.
    pub fn of_launch(&self, asked: impl Fn(Gate) -> bool) -> Vec<Gate> {
        let is_on = |gate: &Gate| match gate {
            Gate::Canary => self.canary.is_some(),
            Gate::Survival => self.survival.is_some() && !asked(*gate),
            Gate::Function => self.function.is_some() && !asked(*gate),
        };
        Gate::ALL.into_iter().filter(is_on).collect()
    }
}

/// Settings of the canary: none so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct CanarySettings {}

/// Settings of `survival`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct SurvivalSettings {
    /// Lengths of prompts, about, as far as the context allows.
    pub prompt_tokens: Vec<u32>,
}

impl Default for SurvivalSettings {
    fn default() -> Self {
        Self { prompt_tokens: vec![30_000, 100_000] }
    }
}

/// Settings of `function`: none so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct FunctionSettings {}

/// A gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gate {
    /// Answers that loop, are empty or broken.
    Canary,
    /// Long prompts that stop the server.
    Survival,
    /// Tool calls, thinking, schemas, pictures.
    Function,
}

impl Gate {
    /// Every gate, in the order of a launch.
    pub const ALL: [Self; 3] = [Self::Canary, Self::Survival, Self::Function];

    /// Whether the end of a server is what it looks for: long prompts are to be survived. In
    /// the other gates an end is one as any other.
    pub const fn is_of_death(self) -> bool {
        matches!(self, Self::Survival)
    }

    /// The word in grids, files and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Canary => "canary",
            Self::Survival => "survival",
            Self::Function => "function",
        }
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a gate ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GateVerdict {
    /// The launch goes on.
    Passed,
    /// The launch ends, and the configuration has no rank.
    Failed,
    /// Nothing could be asked: the context is too short, the server promises none of it.
    Skipped,
}

impl fmt::Display for GateVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        })
    }
}

/// What a finding does to its launch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// The gate fails.
    #[default]
    Fails,
    /// It is told, and nobody fails for it: a wrong answer, say.
    Reported,
    /// It would fail, and the baseline fails on the same prompt.
    AsBaseline,
}

/// One thing that a gate found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Name of the prompt, the same in every launch and at every temperature, e.g. `french`.
    pub prompt: String,
    /// Name of the check, e.g. `period`.
    pub check: String,
    /// In words and numbers, e.g. `91% of the 4-grams are repeated, more than 55%`.
    pub what: String,
    /// The part of the answer that shows it, cut and cleaned.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub evidence: String,
    /// What it does to the launch.
    #[serde(default)]
    pub effect: Effect,
    /// What the prompt is for, where its name depends on the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
}

/// What a prompt of `survival` is for, where the server's own settings give its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// It is just above `max-num-batched-tokens`.
    Edge,
    /// It is near the limit of the context.
    Limit,
}

impl Finding {
    /// A finding that fails the gate.
    pub fn failing(prompt: &str, check: &str, what: String, evidence: String) -> Self {
        Self {
            prompt: prompt.to_owned(),
            check: check.to_owned(),
            what,
            evidence,
            effect: Effect::Fails,
            role: None,
        }
    }

    /// The same of a prompt with this role.
    #[must_use]
    pub fn with_role(self, role: Option<Role>) -> Self {
        Self { role, ..self }
    }

    /// A finding that is told only.
    pub fn reported(prompt: &str, check: &str, what: String, evidence: String) -> Self {
        Self { effect: Effect::Reported, ..Self::failing(prompt, check, what, evidence) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.prompt, self.what, self.check)?;
        if !self.evidence.is_empty() {
            write!(f, ": {}", self.evidence)?;
        }
        if self.effect == Effect::AsBaseline {
            f.write_str("; the baseline fails there too")?;
        }
        Ok(())
    }
}

/// What one gate said of one launch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateReport {
    /// Which gate.
    pub gate: Gate,
    /// How it ended.
    pub verdict: GateVerdict,
    /// Why it was skipped, or what else is to be said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What it found, failing or not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// Figures by their full names, e.g. `canary.right`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, f64>,
}

impl GateReport {
    /// Decides who fails. Findings keep their effect, but for those that `against` excuses.
    pub fn judged(
        gate: Gate,
        mut findings: Vec<Finding>,
        metrics: BTreeMap<String, f64>,
        against: &Against,
    ) -> Self {
        for finding in &mut findings {
            if finding.effect == Effect::Fails && against.excuses(gate, finding) {
                finding.effect = Effect::AsBaseline;
            }
        }
        let has_failed = findings.iter().any(|finding| finding.effect == Effect::Fails);
        let verdict = if has_failed { GateVerdict::Failed } else { GateVerdict::Passed };
        Self { gate, verdict, reason: None, findings, metrics }
    }

    /// A gate that asked nothing.
    pub fn skipped(gate: Gate, reason: String) -> Self {
        let (findings, metrics) = (Vec::new(), BTreeMap::new());
        Self { gate, verdict: GateVerdict::Skipped, reason: Some(reason), findings, metrics }
    }

    /// Whether it found nothing that would fail a launch, whoever is excused: what was asked was
    /// answered.
    pub fn is_clean(&self) -> bool {
        self.findings.iter().all(|it| it.effect == Effect::Reported)
    }

    /// The findings that fail it.
    pub fn failures(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.effect == Effect::Fails)
    }
}

/// What a launch's findings are held against.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Against {
    /// No baseline has been through the gates: they are judged on their own.
    #[default]
    Nothing,
    /// The launch is the baseline's: it is what the others are compared with, so it never
    /// fails, and its findings say on which prompts nobody else does.
    Itself,
    /// What the baseline's launches failed on.
    Baseline(BaselineFailures),
}

impl Against {
    /// Whether a finding fails nobody, since the baseline fails there, or was never asked
    /// because it failed before.
    pub fn excuses(&self, gate: Gate, finding: &Finding) -> bool {
        match self {
            Self::Nothing => false,
            Self::Itself => true,
            Self::Baseline(failures) => failures.excuses(gate, finding),
        }
    }

    /// Whether a check that depends on the model may fail this launch: where the baseline was
    /// asked the same and succeeded. The baseline's own failures are kept, to be shown.
    pub fn holds_to(&self, gate: Gate, prompt: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::Itself => true,
            Self::Baseline(failures) => failures.has_done(gate, prompt),
        }
    }
}

/// The prompts on which the baseline fails a gate, by whichever check: two loops of one
/// model seldom look alike, so a check's name does not travel from one launch to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaselineFailures {
    failed: BTreeSet<(Gate, String)>,
    /// Roles of the prompts among them.
    roles: BTreeSet<(Gate, Role)>,
    /// The shortest prompt of `survival` among them, in tokens: it was asked nothing longer.
    from_tokens: Option<u64>,
    /// Checks of `function` in which it succeeded.
    done: BTreeSet<(Gate, String)>,
}

impl BaselineFailures {
    /// Of the reports of all launches of the baseline so far, however they were judged.
    pub fn of<'a>(reports: impl IntoIterator<Item = &'a GateReport>) -> Self {
        let mut all = Self::default();
        for report in reports {
            let gate = report.gate;
            for finding in report.findings.iter().filter(|it| it.effect != Effect::Reported) {
                all.failed.insert((gate, finding.prompt.clone()));
                all.roles.extend(finding.role.map(|role| (gate, role)));
                let tokens = survival::tokens_of(gate, &finding.prompt);
                all.from_tokens = [all.from_tokens, tokens].into_iter().flatten().min();
            }
            let done = function::done(report).map(|check| (gate, check.as_str().to_owned()));
            all.done.extend(done);
        }
        all
    }

    /// Whether the baseline fails this gate on this prompt.
    pub fn has(&self, gate: Gate, prompt: &str) -> bool {
        self.failed.iter().any(|(of, on)| *of == gate && on == prompt)
    }

    /// Whether the baseline fails where this was found: on the same prompt, on the one of the
    /// same role, or on a shorter one of `survival`.
    fn excuses(&self, gate: Gate, finding: &Finding) -> bool {
        let tokens = survival::tokens_of(gate, &finding.prompt);
        self.has(gate, &finding.prompt)
            || finding.role.is_some_and(|role| self.roles.contains(&(gate, role)))
            || tokens.zip(self.from_tokens).is_some_and(|(tokens, from)| tokens >= from)
    }

    fn has_done(&self, gate: Gate, prompt: &str) -> bool {
        self.done.iter().any(|(of, on)| *of == gate && on == prompt)
    }

    /// Gates and prompts, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Gate, &str)> {
        self.failed.iter().map(|(gate, prompt)| (*gate, prompt.as_str()))
    }

    /// Whether the baseline passed everything.
    pub fn is_empty(&self) -> bool {
        self.failed.is_empty()
    }
}

/// What a launch is to go through before it is measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateOrder {
    /// The sweep's gates.
    pub settings: Gates,
    /// Those of this launch, in their order.
    pub gates: Vec<Gate>,
    /// What their findings are held against.
    pub against: Against,
    /// The server's `max-num-batched-tokens`, where it shows it.
    #[serde(default)]
    pub batched_tokens: Option<u64>,
    /// All flags of the launch: what they promise is tried.
    #[serde(default)]
    pub flags: Flags,
    /// Fields that every workload of the grid adds to its requests: what is judged is what
    /// is measured.
    #[serde(default)]
    pub request: RequestFields,
}

impl Default for GateOrder {
    /// None: an older version's order.
    fn default() -> Self {
        Self {
            settings: Gates::off(),
            gates: Vec::new(),
            against: Against::Nothing,
            batched_tokens: None,
            flags: Flags::default(),
            request: RequestFields::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looping(prompt: &str, check: &str) -> Finding {
        Finding::failing(prompt, check, "it loops".to_owned(), "la la la".to_owned())
    }

    fn judged(findings: Vec<Finding>, against: &Against) -> GateReport {
        GateReport::judged(Gate::Canary, findings, BTreeMap::new(), against)
    }

    #[test]
    fn without_a_baseline_a_finding_fails() {
        let report = judged(vec![looping("french", "period")], &Against::Nothing);
        assert_eq!(report.verdict, GateVerdict::Failed);
        assert_eq!(report.failures().count(), 1);
    }

    #[test]
    fn what_is_only_reported_fails_nobody_and_excuses_nobody() {
        let wrong =
            Finding::reported("arithmetic", "right", "another number".to_owned(), "7".to_owned());
        let report = judged(vec![wrong], &Against::Nothing);
        assert_eq!(report.verdict, GateVerdict::Passed);
        assert_eq!(report.findings.len(), 1);
        assert!(BaselineFailures::of([&report]).is_empty());
    }

    #[test]
    fn the_baseline_never_fails_and_excuses_the_same_prompt_alone() {
        let baseline = judged(vec![looping("french", "period")], &Against::Itself);
        assert_eq!(baseline.verdict, GateVerdict::Passed);
        assert_eq!(baseline.findings[0].effect, Effect::AsBaseline);

        let against = Against::Baseline(BaselineFailures::of([&baseline]));
        // Another check on the same prompt is the same weakness.
        let same = judged(vec![looping("french", "empty")], &against);
        assert_eq!(same.verdict, GateVerdict::Passed);
        assert!(same.findings[0].to_string().ends_with("the baseline fails there too"));
        let both = judged(vec![looping("french", "empty"), looping("english", "empty")], &against);
        assert_eq!(both.verdict, GateVerdict::Failed);
        let failures: Vec<_> = both.failures().map(|it| it.prompt.as_str()).collect();
        assert_eq!(failures, ["english"]);
        // Another gate's prompt of the same name is another prompt.
        let other = GateReport::judged(
            Gate::Function,
            vec![looping("french", "period")],
            BTreeMap::new(),
            &against,
        );
        assert_eq!(other.verdict, GateVerdict::Failed);
    }

    #[test]
    fn the_baseline_s_launches_add_up_however_they_were_judged() {
        // A baseline that was judged alone, by a version or in a run without the rule.
        let first = judged(vec![looping("list", "period")], &Against::Nothing);
        let second = judged(vec![looping("json", "empty")], &Against::Itself);
        let failures = BaselineFailures::of([&first, &second]);
        let all: Vec<_> = failures.iter().collect();
        assert_eq!(all, [(Gate::Canary, "json"), (Gate::Canary, "list")]);
    }

    #[test]
    fn gates_of_a_launch_and_their_settings_survive_the_manifest() {
        let gates: Gates = serde_json::from_str(
            r#"{"canary": {}, "survival": {"prompt-tokens": [500]}, "function": {}}"#,
        )
        .unwrap();
        assert_eq!(gates.survival.as_ref().unwrap().prompt_tokens, [500]);
        assert_eq!(gates.of_launch(|_| false), Gate::ALL);
        assert_eq!(gates.of_launch(|_| true), [Gate::Canary]);
        for gates in [gates, Gates::default(), Gates::off()] {
            let text = serde_json::to_string(&gates).unwrap();
            // What was off stays off: absence in a manifest is not the default of a grid.
            assert_eq!(serde_json::from_str::<Gates>(&text).unwrap(), gates, "{text}");
        }
        assert!(Gates::off().is_off() && !Gates::default().is_off());
    }

    #[test]
    fn a_report_survives_the_journal() {
        let metrics = BTreeMap::from([("canary.right".to_owned(), 0.875)]);
        let findings = vec![looping("french", "period")];
        let failed = GateReport::judged(Gate::Canary, findings, metrics, &Against::Nothing);
        let skipped = GateReport::skipped(Gate::Survival, "the context is too short".to_owned());
        for report in [failed, skipped] {
            let text = serde_json::to_string(&report).unwrap();
            assert_eq!(serde_json::from_str::<GateReport>(&text).unwrap(), report, "{text}");
        }
    }
}
