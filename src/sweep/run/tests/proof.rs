//! A launch whose flags did not arrive.

use super::*;
use crate::server::proof::NotApplied;

#[tokio::test(start_paused = true)]
async fn a_flag_that_did_not_arrive_fails_the_launch_before_anything_is_measured() {
    let proofs = |order: &TrialOrder| {
        let dropped = NotApplied { asked: "--max-num-seqs 1".to_owned(), seen: "16".to_owned() };
        let of_first = order.launch.configuration.name == "c0";
        let not_applied = of_first.then_some(dropped).into_iter().collect();
        Proof { not_applied, notes: vec!["a note".to_owned()], ..Proof::default() }
    };
    let ran = Setup::new(2, 2).proves(proofs).run().await;
    assert_eq!(ran.ending(), Ending::Complete);
    let actions = ran.actions.take();
    assert_eq!(actions[..2], ["boot 1 c0", "stop 1"], "nothing is measured: {actions:?}");
    assert!(
        !actions.iter().any(|it| it.starts_with("boot") && it.ends_with("c0") && it != "boot 1 c0")
    );
    let Some(LaunchOutcome::Failed(failure)) = &ran.record.launches[0].outcome else {
        panic!("{:?}", ran.record.launches[0])
    };
    assert_eq!(failure.class, FailureClass::FlagNotApplied);
    assert!(failure.message.starts_with("--max-num-seqs 1 did not reach vLLM: 16"), "{failure:?}");
    let outcomes: Vec<(u32, &str)> = ran.outcomes();
    assert_eq!(outcomes.iter().filter(|(_, outcome)| *outcome == "measured").count(), 2, "c1");
}
