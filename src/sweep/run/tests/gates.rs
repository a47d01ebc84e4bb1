//! Gates in a sweep: what a failed one ends, and whom the baseline's weakness excuses.

use super::*;
use crate::gate::{Finding, Gate, Gates, SurvivalSettings};
use crate::results::ranking::rank;

impl Setup {
    /// With gates that find this in a launch.
    fn gated(
        mut self,
        baseline: Option<&str>,
        finds: impl Fn(u32, Gate) -> Vec<Finding> + Send + Sync + 'static,
    ) -> Self {
        let survival = Some(SurvivalSettings::default());
        self.manifest.gates = Some(Gates { survival, ..Gates::default() });
        self.manifest.baseline = baseline.map(str::to_owned);
        self.measure.gates = Box::new(finds);
        self
    }
}

fn looping(prompt: &str) -> Vec<Finding> {
    let (what, evidence) = ("91% of the 4-grams are repeated".to_owned(), "la la la".to_owned());
    vec![Finding::failing(prompt, "repeated_4grams", what, evidence)]
}

#[tokio::test(start_paused = true)]
async fn a_failed_gate_ends_the_launch_and_the_fastest_has_no_rank() {
    // The second configuration loops; its repeats would be the better ones.
    let finds = |launch: u32, gate| {
        if launch == 2 && gate == Gate::Canary { looping("french") } else { Vec::new() }
    };
    let ran = Setup::new(3, 2).gated(Some("c0"), finds).run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    let actions = ran.actions.take();
    assert_eq!(
        actions[..6],
        ["boot 1 c0", "gate 1 canary", "gate 1 survival", "repeat 1.0", "repeat 1.1", "repeat 1.2"]
    );
    let failed = &ran.record.launches[1];
    let Some(LaunchOutcome::Failed(failure)) = &failed.outcome else { panic!("{failed:?}") };
    assert_eq!(failure.class, FailureClass::GateFailed);
    let name = &failed.configuration;
    let boots = actions.iter().filter(|it| it.starts_with("boot") && it.ends_with(name)).count();
    assert_eq!(boots, 1, "it is not launched again: {actions:?}");
    assert!(!actions.iter().any(|it| it.starts_with("repeat 2.")), "nothing is measured of it");
    assert_eq!(failed.gates[0].findings[0].evidence, "la la la", "the journal has the evidence");

    let ranking = rank(&ran.record);
    let row = ranking.rows.iter().find(|row| row.name == *name).expect("a row");
    assert_eq!((row.rank, row.eligible, row.failure_class), (None, false, Some("gate_failed")));
    let reason = row.reason().expect("a reason");
    assert!(reason.starts_with("the gate `canary` failed: french: 91%"), "{reason}");
    assert!(reason.contains("la la la"), "{reason}");
    assert_eq!(ranking.rows.iter().filter(|row| row.rank.is_some()).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn survival_is_asked_once_of_each_configuration_and_the_canary_always() {
    let ran = Setup::new(2, 2).gated(None, |_, _| Vec::new()).run().await;
    let actions = ran.actions.take();
    let count = |gate: &str| actions.iter().filter(|it| it.ends_with(gate)).count();
    assert_eq!((count("canary"), count("survival")), (4, 2), "{actions:?}");
    assert_eq!(ran.entries()[3..5], ["gate 1 canary passed", "gate 1 survival passed"]);
}

#[tokio::test(start_paused = true)]
async fn what_the_baseline_fails_on_fails_nobody_on_the_same_prompt() {
    // A model of random weights: everybody loops on one prompt, one on another, too.
    let finds = |launch: u32, gate| match (gate, launch) {
        (Gate::Canary, 3) => [looping("french"), looping("code")].concat(),
        (Gate::Canary, _) => looping("french"),
        _ => Vec::new(),
    };
    let ran = Setup::new(3, 1).gated(Some("c0"), finds).run().await;
    assert_eq!(ran.record.launches[0].configuration, "c0", "the baseline opens the first block");
    let ways: Vec<&str> = ran.outcomes().into_iter().map(|(_, outcome)| outcome).collect();
    assert_eq!(ways, ["measured", "measured", "failed"]);
    let Some(LaunchOutcome::Failed(failure)) = &ran.record.launches[2].outcome else {
        panic!("{:?}", ran.record.launches[2])
    };
    assert!(!failure.message.contains("french") && failure.message.contains("code"), "{failure:?}");
    let said = rank(&ran.record).gated.expect("it is said").to_string();
    assert_eq!(said, "the baseline c0 fails `canary` on french: nobody is judged there");
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_failed_later_takes_the_rank_and_gates_that_are_off_are_said() {
    // The third launch is the other one's second.
    let finds = |launch: u32, _| if launch == 3 { looping("code") } else { Vec::new() };
    let ran = Setup::new(2, 2).gated(Some("c0"), finds).run().await;
    let failed = ran.record.launches[2].configuration.clone();
    let ranking = rank(&ran.record);
    let row = ranking.rows.iter().find(|row| row.name == failed).expect("a row");
    // The baseline's own are reported alone.
    assert_eq!(row.rank.is_none(), failed != "c0", "{row:?}");

    let mut off = Setup::new(1, 1).gated(None, |_, _| looping("code"));
    off.manifest.gates = Some(Gates::off());
    let ran = off.run().await;
    assert!(!ran.actions.take().iter().any(|it| it.starts_with("gate")));
    let said = rank(&ran.record).gated.expect("it is said").to_string();
    assert_eq!(said, "gates: off, so what was answered was not looked at");
}
