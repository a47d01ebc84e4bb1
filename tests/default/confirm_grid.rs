//! `confirm:` of a grid, as a person has it: a sweep that goes on with its confirmation, on the
//! simulated engine.

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{CACHING, Ran, Workplace, signal};

/// The two configurations of [`CACHING`], of which one is much better; `more` are further keys.
fn grid(strategy: &str, more: &str) -> String {
    let own = "strategy: {grid: {launches: 2, repeats: 2, seed: 1}}";
    CACHING
        .replace("speed: 20", "speed: 100")
        .replace(own, &format!("strategy: {strategy}\n{more}"))
}

const GRID: &str = "{grid: {launches: 2, repeats: 2, seed: 1}}";
const ADAPTIVE: &str = "{adaptive: {max-launches: 12, repeats: 2, seed: 1}}";

/// Entries of the journal in their order.
fn entries(place: &Workplace) -> Vec<Value> {
    place.journal("run").into_iter().map(|line| line["line"]["entry"].clone()).collect()
}

fn of_kind(place: &Workplace, kind: &str) -> Vec<Value> {
    entries(place).into_iter().filter(|it| it["kind"] == kind).collect()
}

/// Launches that were begun for the strategy, and for a confirmation.
fn launches(place: &Workplace) -> (usize, usize) {
    let started = of_kind(place, "launch_started");
    let confirms = started.iter().filter(|it| it["purpose"] == "confirm").count();
    (started.len() - confirms, confirms)
}

/// State, and that of the confirmation.
fn extent(place: &Workplace) -> (String, Value) {
    let listed = place.run(&["list", "run", "--format", "json"]).expect(0).out;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let extent = &listed["runs"][0]["extent"];
    (extent["state"].as_str().unwrap().to_owned(), extent["confirmation"].clone())
}

fn whole(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Cuts the journal before an entry, as a kill does, with the launches after it.
fn killed_before(place: &Workplace, is_there: impl Fn(&Value) -> bool) {
    let path = place.path("run/journal.jsonl");
    let at = entries(place).iter().position(is_there).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let kept: String = text.split_inclusive('\n').take(at).collect();
    std::fs::write(&path, kept).unwrap();
    let left = of_kind(place, "launch_started").len();
    for folder in std::fs::read_dir(place.path("run/launches")).unwrap() {
        let folder = folder.unwrap();
        let name = folder.file_name().into_string().unwrap();
        let number: usize = name.split('-').next().unwrap().parse().unwrap();
        if number > left {
            std::fs::remove_dir_all(folder.path()).unwrap();
        }
    }
}

#[test]
fn a_sweep_goes_on_with_its_confirmation_and_a_complete_one_launches_nothing() {
    let place = Workplace::new(&grid(GRID, "confirm: {claim: 100%}\n"));
    let ran = place.run(&["sweep", "grid.yaml", "--output", "run"]).expect(0);
    let said = whole(&ran.err);
    assert!(said.contains("a confirmation may follow"), "{said}");
    assert!(said.contains("confirmation 1: prefix and noprefix in turn"), "{said}");
    assert!(said.contains("confirmation of sweep"), "{said}");
    assert!(said.contains("[1/4] ") && said.contains("[confirm 1/12] "), "{said}");
    assert!(!said.contains("is not complete"), "{said}");
    // The ranking, and last what the confirmation showed.
    assert!(ran.out.contains("confirmed on fresh launches"), "{}", ran.out);
    let (_, last) = ran.out.rsplit_once("\n\n").expect("paragraphs");
    assert!(last.starts_with("confirmation 1: prefix is better than noprefix"), "{last}");
    assert_eq!(launches(&place).0, 4);
    assert!(launches(&place).1 >= 12, "{:?}", launches(&place));
    let kinds = ["session_started", "session_ended", "confirmation_started", "confirmation_ended"];
    assert_eq!(kinds.map(|kind| place.entries("run", kind)), [2, 2, 1, 1]);
    assert_eq!(of_kind(&place, "confirmation_started")[0]["confirmation"]["of_grid"], true);
    assert_eq!(extent(&place), ("complete".to_owned(), Value::Null));
    let manifest = std::fs::read_to_string(place.path("run/manifest.json")).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["confirm"], serde_json::json!({"claim": 1.0, "share": 0.25}));

    let before = launches(&place);
    let again = place.run(&["resume", "run"]).expect(0);
    assert!(!again.err.contains("confirmation 1: "), "{}", again.err);
    assert_eq!(launches(&place), before);
    let over = place.run(&["confirm", "run", "--claim", "100%"]).expect(0);
    assert!(over.out.contains("confirmation 1 is over"), "{}", over.out);
    // Without a claim that of the grid counts.
    let own = place.run(&["confirm", "run", "--dry-run"]).expect(0);
    assert!(own.out.contains("confirmation 1 is over"), "{}", own.out);
    assert!(
        own.out.contains("vllm-grid confirm run --configuration prefix --again"),
        "{}",
        own.out
    );
    let new = place.run(&["confirm", "run", "--again", "--dry-run"]).expect(0);
    let said = whole(&new.out);
    assert!(said.contains("confirmation 2: prefix and noprefix in turn"), "{said}");
    assert!(said.contains("until the gain is known to ±50%"), "{said}");
    let usual = place.run(&["confirm", "run", "--claim", "10%", "--dry-run"]).expect(0);
    let said = whole(&usual.out);
    assert!(said.contains("continues confirmation 1: prefix and noprefix in turn"), "{said}");
    assert!(said.contains("until the gain is known to ±5%"), "{said}");
}

#[test]
fn what_adaptive_leaves_of_its_launches_is_for_the_confirmation() {
    let more = "budget: {launches: 30}\nconfirm: {claim: 100%}\n";
    let place = Workplace::new(&grid(ADAPTIVE, more));
    let ran = place.run(&["sweep", "grid.yaml", "--output", "run"]).expect(0);
    let (strategy, confirms) = launches(&place);
    assert!(strategy <= 12 && confirms >= 12 && strategy + confirms <= 30, "{strategy} {confirms}");
    let said = whole(&ran.err);
    let left = format!("the budget leaves it {} launches", 30 - strategy);
    assert!(said.contains(&left), "{said}");
    assert_eq!(of_kind(&place, "confirmation_ended")[0]["ended"], "precise");
    assert_eq!(extent(&place), ("complete".to_owned(), Value::Null));
}

#[test]
fn a_budget_ends_the_strategy_at_its_part_and_the_confirmation_at_the_whole() {
    let many = "{grid: {launches: 12, repeats: 1, seed: 1}}";
    let more = "budget: {launches: 24}\nconfirm: true\n";
    let place = Workplace::new(&grid(many, more));
    let ran = place.run(&["sweep", "grid.yaml", "--output", "run"]);
    assert_eq!(launches(&place), (18, 6), "{ran:?}");
    assert_eq!(of_kind(&place, "confirmation_ended")[0]["ended"], "budget");
    let ends = of_kind(&place, "session_ended");
    let reasons: Vec<&str> = ends.iter().filter_map(|it| it["reason"].as_str()).collect();
    let of_strategy = "budget spent: 18 launches, the rest is for the confirmation";
    assert_eq!(reasons, [of_strategy, "budget spent: 24 launches"]);
    let said = whole(&ran.err);
    assert!(said.contains(&format!("the strategy's part ended: {of_strategy}")), "{said}");
    assert!(said.contains("its budget is spent: NEXT says how to go on"), "{said}");
    assert_eq!(extent(&place), ("budget_spent".to_owned(), Value::Null));
    place.run(&["resume", "run"]);
    assert_eq!(launches(&place), (18, 6), "all sessions count");
    // By hand it goes on, without that budget.
    let plan = place.run(&["confirm", "run", "--dry-run"]).expect(0);
    assert!(plan.out.contains("continues confirmation 1: "), "{}", plan.out);
}

#[test]
fn a_stop_in_the_confirmation_is_continued_by_resume() {
    let place = Workplace::new(&grid(ADAPTIVE, "confirm: {claim: 100%}\n"));
    let child = place.start(&["sweep", "grid.yaml", "--output", "run"]);
    place.wait_for("run", "confirmation_started", 1);
    let before = place.entries("run", "launch_ended");
    place.wait_for("run", "launch_ended", before + 3);
    signal(&child, Signal::INT);
    let stopped = Ran::of(child.wait_with_output().unwrap()).expect(4);
    let resume = "the confirmation is not complete: `vllm-grid resume run` continues it";
    assert!(whole(&stopped.err).contains(resume), "{}", stopped.err);
    assert!(
        stopped.out.contains("vllm-grid resume run    (continues the confirmation)"),
        "{stopped:?}"
    );
    assert_eq!(extent(&place), ("complete".to_owned(), "interrupted".into()));
    let table = place.run(&["list", "run"]).expect(0).out;
    assert!(whole(&table).contains("complete; confirmation interrupted"), "{table}");
    let (strategy, _) = launches(&place);

    let resumed = place.run(&["resume", "run"]).expect(0);
    assert!(
        resumed.err.contains("continues confirmation 1: prefix against noprefix"),
        "{resumed:?}"
    );
    assert!(resumed.out.contains("confirmed on fresh launches"), "{}", resumed.out);
    assert_eq!(launches(&place).0, strategy, "nothing of the strategy's part again");
    assert_eq!(place.entries("run", "confirmation_ended"), 1);
    assert_eq!(extent(&place), ("complete".to_owned(), Value::Null));
}

#[test]
fn one_that_is_killed_in_or_after_its_strategys_part_goes_on_there() {
    let place = Workplace::new(&grid(GRID, "confirm: {claim: 100%}\n"));
    let mut child = place.start(&["sweep", "grid.yaml", "--output", "run"]);
    place.wait_for("run", "confirmation_started", 1);
    child.kill().unwrap();
    child.wait().unwrap();
    // Its session has begun, and it has not.
    killed_before(&place, |it| it["kind"] == "confirmation_started");
    assert_eq!(launches(&place), (4, 0));
    assert_eq!(extent(&place), ("complete".to_owned(), "pending".into()));
    let table = place.run(&["list", "run"]).expect(0).out;
    assert!(whole(&table).contains("complete; confirmation not begun"), "{table}");
    let report = place.run(&["report", "run"]).expect(0).out;
    assert!(report.contains("vllm-grid resume run"), "{report}");
    // Like the rest of the grid it is not to change.
    let text = std::fs::read_to_string(place.path("grid.yaml")).unwrap();
    std::fs::write(place.path("grid.yaml"), text.replace("claim: 100%", "claim: 10%")).unwrap();
    let changed = place.run(&["resume", "run"]).expect(2);
    assert!(changed.err.contains("grid changed"), "{}", changed.err);
    std::fs::write(place.path("grid.yaml"), text).unwrap();
    let resumed = place.run(&["resume", "run"]).expect(0);
    assert!(resumed.out.contains("confirmed on fresh launches"), "{}", resumed.out);
    assert_eq!(launches(&place).0, 4, "nothing of the strategy's part again");

    // In the strategy's part: that goes on first.
    killed_before(&place, |it| it["kind"] == "launch_started" && it["launch"] == 3);
    assert_eq!(extent(&place), ("interrupted".to_owned(), Value::Null));
    let child = place.start(&["resume", "run"]);
    place.wait_for("run", "confirmation_started", 1);
    signal(&child, Signal::INT);
    Ran::of(child.wait_with_output().unwrap()).expect(4);
    assert_eq!(launches(&place).0, 4);
    assert_eq!(extent(&place), ("complete".to_owned(), "interrupted".into()));
}

#[test]
fn where_there_is_nothing_to_confirm_one_line_says_so_and_the_sweep_ends() {
    let best = grid(GRID, "confirm: true\n").replace("baseline: noprefix", "baseline: prefix");
    let none = grid(ADAPTIVE, "confirm: true\n").replace("baseline: noprefix\n", "");
    for (grid, why) in [
        (best, "nothing better than the baseline `prefix` was found"),
        (none, "the grid names no baseline"),
    ] {
        let place = Workplace::new(&grid);
        let ran = place.run(&["sweep", "grid.yaml", "--output", "run"]).expect(0);
        let said = whole(&ran.err);
        assert_eq!(said.matches("no confirmation follows: ").count(), 1, "{said}");
        assert!(said.contains(why), "{said}");
        assert_eq!(launches(&place).1, 0);
        assert!(of_kind(&place, "nothing_to_confirm")[0]["why"].as_str().unwrap().contains(why));
        assert_eq!(extent(&place), ("complete".to_owned(), Value::Null));
        let before = launches(&place);
        place.run(&["resume", "run"]).expect(0);
        assert_eq!(launches(&place), before);
    }
}

#[test]
fn a_plan_says_that_a_confirmation_follows_and_what_is_kept_for_it() {
    let more = "budget: {time: 8h, launches: 64}\nconfirm: true\n";
    let place = Workplace::new(&grid("{grid: {launches: 20, repeats: 3, seed: 1}}", more));
    let plan = place.run(&["plan", "grid.yaml"]).expect(0).out;
    let (_, from) = plan.split_once("40 launches, ").expect("its launches");
    insta::assert_snapshot!(format!("40 launches, {from}"));
    let json = place.run(&["plan", "grid.yaml", "--format", "json"]).expect(0).out;
    let json: Value = serde_json::from_str(&json).unwrap();
    let keys = ["confirm", "strategy_budget", "hours_in_all", "begun_within_budget"];
    let shown: serde_json::Map<String, Value> =
        keys.iter().map(|key| ((*key).to_owned(), json[key].clone())).collect();
    insta::assert_snapshot!(serde_json::to_string_pretty(&shown).unwrap());
    // An odd launch is none of a pair, and two show nothing.
    let kept = |launches: u32| {
        let more = format!("budget: {{launches: {launches}}}\nconfirm: true\n");
        std::fs::write(place.path("grid.yaml"), grid(GRID, &more)).unwrap();
        let plan = whole(&place.run(&["plan", "grid.yaml"]).expect(0).out);
        plan.split_once("kept for it: ").map(|(_, rest)| rest.to_owned()).unwrap()
    };
    let few = kept(12);
    assert!(
        few.starts_with(
            "25% of the budget (3 launches) is enough for 2 launches; 2 show nothing: a gain takes \
             3 + 3; raise `share` to 50%, or `budget` to 21 launches "
        ),
        "{few}"
    );
    // Two pairs show nothing either.
    let pairs = kept(14);
    assert!(
        pairs.starts_with(
            "25% of the budget (4 launches) is enough for 4 launches; 4 show nothing: a gain takes \
             3 + 3; raise `share` to 43%, or `budget` to 21 launches "
        ),
        "{pairs}"
    );
    let three = kept(21);
    assert!(three.contains("is enough for 6 launches; 6 show the gain to ±"), "{three}");
    let odd = kept(36);
    assert!(
        odd.starts_with(
            "25% of the budget (9 launches) is enough for 8 launches; 8 show the gain to ±"
        ),
        "{odd}"
    );
    let one = kept(4);
    assert!(
        one.starts_with(
            "25% of the budget (1 launch) is too little for a pair of launches: a gain takes 3 + \
             3; raise `budget` to 21 launches "
        ),
        "{one}"
    );
    // Without a budget nothing is kept, and without `confirm` nothing is said.
    std::fs::write(place.path("grid.yaml"), grid(GRID, "confirm: {claim: 4%}\n")).unwrap();
    let plan = whole(&place.run(&["plan", "grid.yaml"]).expect(0).out);
    assert!(plan.contains("then a confirmation") && !plan.contains("kept for it"), "{plan}");
    assert!(plan.contains("in all with it: "), "{plan}");
    // Its launches are in the nights, too: of 7 min there is room for few.
    let nights = |confirm: &str| {
        let slow = grid(GRID, &format!("{confirm}window: 23:00-23:07\n"));
        std::fs::write(place.path("grid.yaml"), slow.replace("speed: 100", "speed: 4")).unwrap();
        let json = place.run(&["plan", "grid.yaml", "--format", "json"]).expect(0).out;
        let json: Value = serde_json::from_str(&json).unwrap();
        json["window"]["nights"][1].as_u64().unwrap()
    };
    assert!(nights("confirm: true\n") > nights(""));
    std::fs::write(place.path("grid.yaml"), grid(GRID, "confirm: false\n")).unwrap();
    assert!(!place.run(&["plan", "grid.yaml"]).expect(0).out.contains("confirmation"));
    // Once launches were made, it says what they took.
    place.run(&["sweep", "grid.yaml"]).expect(0);
    std::fs::write(place.path("grid.yaml"), grid(GRID, more)).unwrap();
    let plan = whole(&place.run(&["plan", "grid.yaml"]).expect(0).out);
    assert!(plan.contains("(as in earlier runs) shows the gain to "), "{plan}");
    // What is kept for it is reckoned from that, and does not say it once more.
    assert_eq!(plan.matches("(as in earlier runs").count(), 2, "{plan}");
}

/// A count that was 0 has no ratio: the warning is all that is said of a confirmation.
#[test]
fn a_plan_without_a_ratio_has_no_confirmation_and_no_difference() {
    let counted = |more: &str| {
        let text = grid("{adaptive: {repeats: 2}}", more);
        let at = text.find("kv_cache.ttft_resent_ms").expect("its objective");
        let mut text = text;
        text.replace_range(at.."kv_cache.ttft_resent_ms".len() + at, "kv_cache.failed");
        text
    };
    let place = Workplace::new(&counted("confirm: true\n"));
    let plan = whole(&place.run(&["plan", "grid.yaml"]).expect(0).out);
    assert!(plan.contains("nothing will be confirmed"), "{plan}");
    assert!(!plan.contains("then a confirmation") && !plan.contains("in all with it"), "{plan}");
    assert!(plan.contains("can show: not known of an objective that is a share"), "{plan}");
    let json = place.run(&["plan", "grid.yaml", "--format", "json"]).expect(0).out;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!([&json["confirm"], &json["hours_in_all"]], [&Value::Null, &Value::Null]);
    assert!(json["strategies"].as_array().unwrap().iter().all(|it| it["can_show"].is_null()));
    let ran = place.run(&["sweep", "grid.yaml", "--output", "run"]);
    assert!(!whole(&ran.err).contains("a confirmation may follow"), "{}", ran.err);
}

#[test]
fn a_plan_says_what_a_confirmation_shows_and_what_is_asked_for_within_the_budget_of_both() {
    let planned = |confirm: &str, more: &str| {
        let place = Workplace::new(&grid(GRID, &format!("confirm: {confirm}\n{more}")));
        let ran = place.run(&["plan", "grid.yaml"]).expect(0);
        let json = place.run(&["plan", "grid.yaml", "--format", "json"]).expect(0).out;
        (whole(&ran.out), serde_json::from_str::<Value>(&json).unwrap())
    };
    // The first look is more precise than that, and the last one less.
    let (wide, _) = planned("{claim: 100%}", "");
    assert!(!wide.contains("shows the gain to ±50%"), "{wide}");
    assert!(wide.contains("(±50% is asked for), and a true difference of "), "{wide}");
    let (narrow, _) = planned("{claim: 1%}", "");
    assert!(narrow.contains("(±0.5% is asked for)"), "{narrow}");
    let (usual, free) = planned("true", "");
    assert!(!usual.contains("is asked for") && !usual.contains("within the budget"), "{usual}");
    let (limited, within) = planned("true", "budget: {time: 2m, launches: 64}\n");
    let most = |json: &Value| json["hours_in_all"]["high"].as_f64().unwrap();
    assert!(most(&free) > 2.0 / 60.0, "{free}");
    assert!((most(&within) - 2.0 / 60.0).abs() < 1e-9, "{}", within["hours_in_all"]);
    assert!(limited.contains("(assumed, within the budget)"), "{limited}");
    let message = "`share` has no effect: the grid has no `budget`";
    assert!(planned("{share: 30%}", "").0.contains(message));
    assert!(!planned("{share: 30%}", "budget: 8h\n").0.contains(message));
    assert!(!usual.contains(message));
}

#[test]
fn a_plan_says_in_which_part_of_a_race_its_budget_ends_it() {
    let six = "{adaptive: {repeats: 2}}";
    let planned = |launches: u32| {
        let more = format!("budget: {{launches: {launches}}}\n");
        let place = Workplace::new(&grid(six, &more));
        whole(&place.run(&["plan", "grid.yaml"]).expect(0).out)
    };
    // Two configurations: two blocks of two, then duels.
    for (launches, part) in [
        (1, "after 1 of 4 to 16 launches, in its first block of 2"),
        (2, "after 2 of 4 to 16 launches, before its second block"),
        (3, "after 3 of 4 to 16 launches, before its duels begin"),
        (4, "after 4 of 4 to 16 launches, before its duels begin"),
        (5, "after 5 of 4 to 16 launches, before its duels are over"),
    ] {
        let plan = planned(launches);
        assert!(plan.contains(part), "{launches}: {plan}");
    }
}

#[test]
fn a_plan_warns_of_a_confirmation_that_cannot_be_made_or_not_end() {
    let warned = |grid: &str| {
        let place = Workplace::new(grid);
        let json = place.run(&["plan", "grid.yaml", "--format", "json"]).expect(0).out;
        let json: Value = serde_json::from_str(&json).unwrap();
        let all = json["warnings"].as_array().unwrap().clone();
        let own = all.into_iter().filter(|it| {
            let message = it["message"].as_str().unwrap();
            message.starts_with("`confirm`") || message.starts_with("a confirmation")
        });
        own.map(|it| format!("{}: {}", it["line"], it["message"].as_str().unwrap()))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let no_baseline = grid(GRID, "budget: 8h\nconfirm: true\n").replace("baseline: noprefix\n", "");
    let few = grid(GRID, "budget: {launches: 40}\nconfirm: true\n");
    let enough = grid(GRID, "budget: {launches: 48}\nconfirm: true\n");
    insta::assert_snapshot!([no_baseline, few].map(|it| warned(&it)).join("\n"));
    assert_eq!(warned(&enough), "");
}
