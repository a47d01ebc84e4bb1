use super::super::fakes::manifest;
use super::*;
use crate::history::launch::LaunchFacts;
use crate::history::record::LaunchRecord;
use crate::machine::{Gpu, Machine};

/// A container of which an older version noted the whole alone.
fn whole(letter: &str) -> Configured {
    Configured { sha256: letter.repeat(64), ..Configured::default() }
}

type Change = fn(&mut MeasuredWith);

/// A GPU machine, and an image.
fn with() -> MeasuredWith {
    let gpu = Gpu { uuid: Some("GPU-0".to_owned()), ..Gpu::default() };
    MeasuredWith {
        tool_version: "0.1.0".to_owned(),
        suite_version: 1,
        host: "here".to_owned(),
        machine: Some(Machine {
            gpus: Some(vec![Gpu { power_limit_w: Some(450.0), ..gpu }]),
            driver: Some("550.54.15".to_owned()),
            cuda: Some("12.4".to_owned()),
            kernel: Some("6.1.0".to_owned()),
            ..Machine::default()
        }),
        image_id: Some("sha256:a".to_owned()),
        production: Some(whole("p")),
        service_parts: Some(
            ["A", "B"].map(|it| (format!("environment: {it}"), "1".to_owned())).into(),
        ),
    }
}

/// A sweep that was measured with that, with one launch.
fn record() -> SweepRecord {
    let mut record = SweepRecord::new(manifest(2, 1, 1));
    let (manifest, with) = (&mut record.manifest, with());
    (manifest.machine, manifest.image_id) = (with.machine, with.image_id);
    manifest.service_parts = with.service_parts;
    manifest.suite_version = Some(with.suite_version);
    record.launches.push(LaunchRecord { launch: 1, ..LaunchRecord::default() });
    record
}

fn differences(record: &SweepRecord, now: &MeasuredWith) -> Vec<Difference> {
    let production = whole("p");
    Before { record, production: Some(&production), production_is_baseline: true }.differences(now)
}

fn decided(now: &MeasuredWith, accept: bool) -> Result<Continues, Changed> {
    continues(&record(), differences(&record(), now), now, Asks::default(), accept)
}

fn machine(with: &mut MeasuredWith) -> &mut Machine {
    with.machine.as_mut().expect("it is known")
}

#[test]
fn what_is_as_it_was_continues_without_a_word_and_without_a_block() {
    assert!(differences(&record(), &with()).is_empty());
    let continues = decided(&with(), false).expect("nothing changed");
    assert_eq!((continues.block, continues.said), (None, Vec::new()));
    let continues = decided(&with(), true).expect("nothing changed");
    assert_eq!(continues.block, None, "there is nothing to accept");
    assert_eq!(continues.said, ["--accept-change: nothing changed that needs it"]);
}

#[test]
fn each_kind_of_change_is_refused_by_its_name_and_begins_a_block_where_it_is_accepted() {
    let changes: [(&str, Change); 11] = [
        ("the service's environment: A: it has another value", |it| {
            let parts = it.service_parts.as_mut().expect("it is known");
            parts.insert("environment: A".to_owned(), "2".to_owned());
        }),
        ("the service's environment: B: it was removed", |it| {
            let parts = it.service_parts.as_mut().expect("it is known");
            parts.remove("environment: B");
        }),
        ("the service's volumes: /m: it was added", |it| {
            let parts = it.service_parts.as_mut().expect("it is known");
            parts.insert("volumes: /m".to_owned(), "1".to_owned());
        }),
        ("image: sha256:a -> sha256:b", |it| it.image_id = Some("sha256:b".to_owned())),
        ("driver: 550.54.15 -> 560.28", |it| machine(it).driver = Some("560.28".to_owned())),
        ("CUDA version: 12.4 -> 12.6", |it| machine(it).cuda = Some("12.6".to_owned())),
        ("kernel: 6.1.0 -> 6.8.0", |it| machine(it).kernel = Some("6.8.0".to_owned())),
        ("GPU: GPU-0 -> GPU-9", |it| {
            machine(it).gpus.as_mut().unwrap()[0].uuid = Some("GPU-9".to_owned());
        }),
        ("power limit: 450 W -> 300 W", |it| {
            machine(it).gpus.as_mut().unwrap()[0].power_limit_w = Some(300.0);
        }),
        ("suite version: 1 -> 2 (it measures differently)", |it| it.suite_version = 2),
        (
            "configuration of production's container, which is the baseline: pppppppppppp -> \
             qqqqqqqqqqqq",
            |it| it.production = Some(whole("q")),
        ),
    ];
    let mut all = with();
    for (sentence, change) in changes {
        let mut now = with();
        change(&mut now);
        change(&mut all);
        let refused = decided(&now, false).expect_err(sentence);
        let text = refused.to_string();
        assert_eq!(text.lines().skip(1).collect::<Vec<_>>(), [format!("- {sentence}")]);
        assert!(refused.advice().contains("--accept-change: block 2 begins"), "{refused:?}");
        assert!(refused.advice().contains("the launch of block 1 stays"), "{refused:?}");
        let block = decided(&now, true).expect("accepted").block.expect("a block");
        assert_eq!((block.number, &block.differences), (2, &vec![sentence.to_owned()]));
        assert_eq!(block.suite_version, now.suite_version);
        assert_eq!((&block.machine, &block.image_id), (&now.machine, &now.image_id));
    }
    let refused = decided(&all, false).expect_err("everything changed");
    assert_eq!(refused.to_string().lines().count(), 1 + changes.len(), "all in one message");
}

#[test]
fn some_things_are_only_said() {
    let changes: [(&str, Change); 3] = [
        ("version of vllm-grid: 0.1.0 -> 0.2.0", |it| it.tool_version = "0.2.0".to_owned()),
        ("container runtime: not known -> Docker 27", |it| {
            machine(it).container_runtime = Some("Docker 27".to_owned());
        }),
        ("driver: 550.54.15 -> not known", |it| machine(it).driver = None),
    ];
    for (sentence, change) in changes {
        let mut now = with();
        change(&mut now);
        for accept in [false, true] {
            let continues = decided(&now, accept).expect(sentence);
            assert_eq!(continues.block, None);
            assert!(continues.said[0].contains(sentence), "{:?}", continues.said);
        }
    }
    let mut now = with();
    now.production = Some(whole("q"));
    let (before, record) = (whole("p"), record());
    let production = Some(&before);
    let before = Before { record: &record, production, production_is_baseline: false };
    let found = before.differences(&now);
    assert_eq!((found.len(), found[0].weight()), (1, Weight::Said), "it is no baseline: {found:?}");
}

#[test]
fn production_is_compared_part_by_part() {
    let of = |parts: &[&str], sha256: &str| Configured {
        sha256: sha256.to_owned(),
        parts: parts.iter().map(|it| ((*it).to_owned(), "1".to_owned())).collect(),
    };
    let (record, noted) = (record(), of(&["environment: A", "mount: /m"], "1"));
    let found = |now: Configured| {
        let production = Some(&noted);
        let before = Before { record: &record, production, production_is_baseline: true };
        let found = before.differences(&MeasuredWith { production: Some(now), ..with() });
        found.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(found(of(&["environment: A", "mount: /m"], "2")), [""; 0], "in another order");
    assert_eq!(
        found(of(&["environment: A", "port: 1/tcp"], "2")),
        ["configuration of production's container, which is the baseline: mount: /m (it was \
          removed), port: 1/tcp (it was added)"]
    );
    // It is what the next session is compared with.
    let now = MeasuredWith { production: Some(of(&["mount: /m"], "2")), ..with() };
    let block = decided(&now, true).expect("accepted").block.expect("a block");
    assert_eq!(block.production(), now.production);
}

#[test]
fn a_changed_grid_cannot_be_accepted_and_hides_nothing_else() {
    let mut now = with();
    machine(&mut now).driver = Some("560.28".to_owned());
    let mut all = vec![Difference::Configurations { compose: Some("compose.yaml".into()) }];
    all.extend(differences(&record(), &now));
    let refused = continues(&record(), all, &now, Asks::default(), true).expect_err("refused");
    let text = refused.to_string();
    assert!(text.contains("compose.yaml") && text.contains("driver: "), "{text}");
    assert!(refused.advice().contains("start a new sweep"), "{}", refused.advice());
    assert!(refused.advice().contains("mean other configurations"), "{}", refused.advice());
    // A comment makes another file, not other configurations.
    let all = vec![Difference::Grid("grid.yaml".into())];
    let refused = continues(&record(), all, &now, Asks::default(), true).expect_err("refused");
    let advice = refused.advice();
    assert!(advice.contains("cannot accept another grid"), "{advice}");
    assert!(!advice.contains("other configurations"), "{advice}");
}

#[test]
fn what_an_older_version_did_not_record_is_no_difference_and_its_host_is() {
    let mut older = SweepRecord::new(manifest(2, 1, 1));
    older.launches.push(LaunchRecord::default());
    assert!(differences(&older, &with()).is_empty(), "the same tool has the same suite");
    let mut now = with();
    now.host = "there".to_owned();
    let found = differences(&older, &now);
    assert_eq!(found[0].to_string(), "host: here -> there");
    assert_eq!(found[0].weight(), Weight::NewBlock);
    now = MeasuredWith { tool_version: "0.2.0".to_owned(), ..with() };
    let found = differences(&older, &now);
    assert!(matches!(&found[0], Difference::Suite { before: None, now: 1, .. }), "{found:?}");
    assert_eq!(found[0].weight(), Weight::NewBlock);
}

#[test]
fn the_image_is_that_of_the_last_launch_of_the_block() {
    let mut record = record();
    let facts = LaunchFacts { image_id: Some("sha256:c".to_owned()), ..LaunchFacts::default() };
    record.launches[0].facts = Some(facts);
    let found = differences(&record, &with());
    let (before, now) = ("sha256:c".to_owned(), "sha256:a".to_owned());
    assert_eq!(found, [Difference::Image { before, now }]);
}

#[test]
fn what_was_accepted_is_what_the_next_session_is_compared_with() {
    let mut now = with();
    machine(&mut now).driver = Some("560.28".to_owned());
    let block = decided(&now, true).expect("accepted").block.expect("a block");
    let mut record = record();
    record.begin_block(&block);
    assert!(differences(&record, &now).is_empty(), "it was accepted");
    let back = differences(&record, &with());
    assert_eq!(back.len(), 1, "what was before differs now: {back:?}");
    let again = continues(&record, back, &with(), Asks::default(), true).expect("accepted");
    let block = again.block.expect("a block");
    assert_eq!((block.number, block.differences[0].as_str()), (3, "driver: 560.28 -> 550.54.15"));
}
