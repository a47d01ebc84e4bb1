//! The campaign of faults through whole sweeps: something happens to one configuration of
//! three, at all of its starts or at the first. It ends with the right class in the right row,
//! nothing is launched more often than it should be, the others are measured and ranked, and
//! the exit code is right. Where `VLLM_GRID_CAMPAIGN_OUT` names a folder, each fault leaves a
//! line in its `faults.jsonl`.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use vllm_grid::bench::{NoRecords, RecordSink};
use vllm_grid::client;
use vllm_grid::engine::readiness;
use vllm_grid::engine::simulated::SimulatedEngine;
use vllm_grid::grid::{EngineBlock, GridFile, ReadOptions};
use vllm_grid::secret::Secrets;
use vllm_grid::sweep::context::SweepContext;
use vllm_grid::sweep::measure::SuiteMeasure;
use vllm_grid::sweep::run::{Ending, Sweep};

use crate::support::{Workplace, texts};

mod hung;
mod process;
mod served;
mod started;

/// What happens to the configuration `bad`, and what is to come of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    /// As the grid's `faults` has it.
    pub(crate) faults: &'static [&'static str],
    /// Further flags of `bad`.
    pub(crate) flags: &'static str,
    /// The grid's gates.
    pub(crate) gates: &'static str,
    /// Tokens of each prompt; there are two repeats of some 24 tokens of answers each.
    pub(crate) prompt: u32,
    /// Classes of the launches of `bad` that failed, in their order.
    pub(crate) classes: &'static [&'static str],
    /// Launches of `bad`.
    pub(crate) launches: usize,
    /// Whether `bad` is ranked in the end.
    pub(crate) is_ranked: bool,
    /// Whether the other two are: not where the sweep cannot continue.
    pub(crate) others: bool,
    pub(crate) code: i32,
}

/// Nothing happens.
pub(crate) const NOTHING: Fault = Fault {
    faults: &[],
    flags: "",
    gates: "off",
    prompt: 512,
    classes: &[],
    launches: 1,
    is_ranked: true,
    others: true,
    code: 0,
};

impl Fault {
    fn grid(&self, engine: &str) -> String {
        let Self { flags, prompt, gates, .. } = self;
        format!(
            "name: faults\nengine:\n  {engine}\nbaseline: good\ninclude:\n  \
             - {{name: good, max-num-seqs: 8}}\n  - {{name: bad, max-num-seqs: 64{flags}}}\n  \
             - {{name: other, max-num-seqs: 16}}\nworkloads:\n  \
             kv-cache: {{prefix-tokens: [{prompt}], prompts: 2, output-tokens: 4, warmup: 0}}\n\
             objective: {{minimize: kv_cache.ttft_resent_ms}}\n\
             gates: {gates}\n\
             strategy: {{grid: {{launches: 1, repeats: 2, seed: 1}}}}\n"
        )
    }

    fn simulated(&self) -> Workplace {
        let faults = json!(self.faults);
        let engine = format!(
            "simulated: {{model: Qwen/Qwen3-0.6B, gpu: rtx-4090, speed: 400, faults: {faults}, \
             flags: {{max-model-len: 4096}}}}"
        );
        Workplace::new(&self.grid(&engine))
    }

    /// By the command that a person runs.
    pub(crate) fn happens(&self, name: &str) {
        let noted = Noted::of(name);
        let place = self.simulated();
        let ran = place.run(&["sweep", "grid.yaml", "--output", "run"]);
        self.check(&place, ran.code, &ran.err, noted);
    }

    /// The same on the process engine, whose server is started by a script of these lines.
    /// `$bin` is our binary, `$start` counts the starts of the configuration, which is `$name`.
    pub(crate) fn happens_to_process(&self, name: &str, script: &str) {
        let noted = Noted::of(name);
        let engine = "process: {command: [sh, serve.sh, Qwen/Qwen3-0.6B, --sim-speed, '400'], \
                      flags: {max-model-len: 4096}}";
        // Processes that end and begin again, and are looked at meanwhile.
        let place = Workplace::alone(&self.grid(engine));
        let script = format!(
            "bin='{}'\ncase \" $* \" in *' --max-num-seqs 64 '*) name=bad;; *) name=good;; esac\n\
             start=$(cat starts.$name 2>/dev/null || echo 0); start=$((start + 1))\n\
             echo $start > starts.$name\n{script}\nexec \"$bin\" simulate \"$@\"\n",
            env!("CARGO_BIN_EXE_vllm-grid")
        );
        std::fs::write(place.path("serve.sh"), script).unwrap();
        let ran = place.run(&["sweep", "grid.yaml", "--output", "run"]);
        self.check(&place, ran.code, &ran.err, noted);
    }

    /// In this process, with limits of a part of a second in place of minutes.
    pub(crate) async fn happens_within(
        &self,
        name: &str,
        bench: client::Limits,
        boot: readiness::Limits,
    ) {
        let noted = Noted::of(name);
        let place = self.simulated();
        let file = GridFile::read(&place.path("grid.yaml"), &ReadOptions::default()).unwrap();
        let grid = file.without_service();
        let run = place.path("run");
        let secrets = Secrets::default();
        let mut sweep = Sweep::begin(&grid, Some(&run), jiff::Timestamp::now(), &secrets).unwrap();
        let EngineBlock::Simulated(block) = grid.engine.clone() else { panic!("simulated") };
        let engine = SimulatedEngine::new(block).unwrap().within(boot);
        let records = |_: &Path| Box::new(NoRecords) as Box<dyn RecordSink>;
        let measure = SuiteMeasure::new(grid.datasets.clone(), Box::new(records)).within(bench);
        let context = SweepContext {
            measure: Arc::new(measure),
            ..SweepContext::of(&grid, Arc::new(engine), records)
        };
        let ended = sweep.run(&context).await;
        drop(sweep);
        let code = matches!(ended, Ok(Ending::Complete)).then_some(0);
        self.check(&place, code, &format!("{ended:?}"), noted);
    }

    fn check(&self, place: &Workplace, code: Option<i32>, said: &str, mut noted: Noted) {
        let journal = place.journal("run");
        let entries = || journal.iter().map(|line| &line["line"]["entry"]);
        let started: Vec<&Value> = entries()
            .filter(|it| it["kind"] == "launch_started" && it["configuration"] == "bad")
            .map(|it| &it["launch"])
            .collect();
        let ended = |launch: &&Value| {
            entries()
                .find(|it| it["kind"] == "launch_ended" && it["launch"] == **launch)
                .unwrap_or_else(|| panic!("launch {launch} never ended: {said}"))
        };
        let classes: Vec<&str> = started
            .iter()
            .filter_map(|launch| ended(launch)["outcome"]["class"].as_str())
            .collect();
        noted.line["classes"] = json!(classes);
        noted.line["launches"] = json!(started.len());
        noted.line["code"] = json!(code);
        assert_eq!(classes, self.classes, "{said}");
        assert_eq!(started.len(), self.launches, "launches: {said}");
        assert_eq!(code, Some(self.code), "{said}");
        let others = entries().filter(|it| it["kind"] == "launch_ended");
        let failed: Vec<&Value> = others
            .filter(|it| !started.contains(&&it["launch"]) && !it["outcome"]["class"].is_null())
            .collect();
        assert!(failed.is_empty(), "nothing happened to the others: {failed:?}");
        let explained = classes.is_empty()
            || started.iter().any(|launch| {
                ended(launch)["outcome"]["message"].as_str().is_some_and(|text| text.len() > 20)
            });
        assert!(explained, "a failure says what happened");
        if self.others {
            place.run(&["export", "run"]).expect(0);
            let mut ranked: Vec<String> =
                texts(&place.ranking("run"), "configuration").into_iter().flatten().collect();
            let ranks = texts(&place.ranking("run"), "rank");
            ranked = ranked
                .into_iter()
                .zip(ranks)
                .filter_map(|(name, rank)| rank.map(|_| name))
                .collect();
            ranked.sort();
            let expected: &[&str] =
                if self.is_ranked { &["bad", "good", "other"] } else { &["good", "other"] };
            assert_eq!(ranked, expected, "{said}");
            let rows = texts(&place.results("run"), "configuration");
            assert!(rows.contains(&Some("bad".to_owned())), "it has a row: {rows:?}");
        }
        noted.is_well = true;
    }
}

/// The line that a fault leaves, also where its test fails.
struct Noted {
    line: Value,
    is_well: bool,
}

impl Noted {
    fn of(name: &str) -> Self {
        Self { line: json!({"fault": name}), is_well: false }
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        let Some(folder) = std::env::var_os("VLLM_GRID_CAMPAIGN_OUT") else { return };
        self.line["ok"] = json!(self.is_well);
        let path = Path::new(&folder).join("faults.jsonl");
        std::fs::create_dir_all(&folder).unwrap();
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        // One write: tests run side by side.
        file.write_all(format!("{}\n", self.line).as_bytes()).unwrap();
    }
}

/// A test for each fault, so that they run side by side.
macro_rules! faults {
    ($($name:ident: {$($field:ident: $value:expr),* $(,)?};)*) => {$(
        #[test]
        fn $name() {
            let fault = $crate::faults::Fault { $($field: $value,)* ..$crate::faults::NOTHING };
            fault.happens(stringify!($name));
        }
    )*};
}
pub(crate) use faults;

/// Bounds on requests of a part of a second.
pub(crate) fn short() -> client::Limits {
    client::Limits {
        no_progress: Duration::from_millis(800),
        first_token: Duration::from_secs(20),
        silence: Duration::from_secs(20),
        ..client::Limits::default()
    }
}
