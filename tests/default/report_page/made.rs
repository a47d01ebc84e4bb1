//! Sweeps to make pages of: the shipped example, the same with hostile text everywhere, the same
//! while it runs.

use std::collections::BTreeMap;
use std::path::Path;

use vllm_grid::gate::{Finding, Gate, GateReport, GateVerdict};
use vllm_grid::history::extent::{Extent, State};
use vllm_grid::history::folder::Folder;
use vllm_grid::history::launch::LaunchOutcome;
use vllm_grid::history::record::SweepRecord;
use vllm_grid::report::content::{self, Input, files};
use vllm_grid::report::pictures::Picture;
use vllm_grid::report::{markdown, page};
use vllm_grid::results::analysis::Analysis;
use vllm_grid::results::ranking::{self, Ranking};
use vllm_grid::results::reading::{Place, Reading};

/// What a report is made of.
pub(crate) struct Made {
    pub(crate) record: SweepRecord,
    pub(crate) ranking: Ranking,
    pub(crate) reading: Reading,
    pub(crate) analysis: Analysis,
    pub(crate) pictures: Vec<Picture>,
    pub(crate) extent: Option<Extent>,
    files: BTreeMap<u32, files::LaunchFiles>,
}

/// What tries to be more than text.
pub(crate) const HOSTILE: [&str; 4] = [
    "<script>alert(1)</script>",
    "a|b`c`\u{1b}[31m\u{202e}**bold**\n# title [x](https://example.org)",
    "\"><b onmouseover=alert(3)>x</b>",
    "</style><img src=x onerror=alert(2)>",
];

impl Made {
    pub(crate) fn of(record: SweepRecord, extent: Option<Extent>) -> Self {
        let folder = Path::new("runs/example");
        let ranking = ranking::rank(&record);
        let place = Place {
            run: "runs/example".to_owned(),
            extent: extent.clone(),
            exported: true,
            ..Place::default()
        };
        let reading = Reading::of(&ranking, &record.manifest, &place);
        let analysis = Analysis::of(&record, &ranking, folder);
        let pictures = content::pictures_of(&ranking, &analysis);
        let files = files::of(&Folder::existing(folder).unwrap(), &record);
        Self { record, ranking, reading, analysis, pictures, extent, files }
    }

    pub(crate) fn example() -> Self {
        Self::of(example(), None)
    }

    /// The same after its record was changed.
    pub(crate) fn again(self) -> Self {
        Self::of(self.record, self.extent)
    }

    pub(crate) fn partial(state: State) -> Self {
        Self::of(example(), Some(super::extent(state)))
    }

    /// Names, flags, messages, log lines and answers that try to be more than text; and launches
    /// that failed.
    pub(crate) fn hostile() -> Self {
        let mut record = example();
        let manifest = &mut record.manifest;
        HOSTILE[0].clone_into(&mut manifest.sweep);
        HOSTILE[1].clone_into(&mut manifest.grid);
        let renamed: BTreeMap<String, String> = manifest
            .configurations
            .iter()
            .zip(HOSTILE)
            .map(|(known, name)| (known.name.clone(), name.to_owned()))
            .collect();
        for configuration in &mut manifest.configurations {
            if let Some(name) = renamed.get(&configuration.name) {
                configuration.name.clone_from(name);
                configuration.aliases = HOSTILE.map(|it| format!("{it} too")).to_vec();
            }
            let value = serde_json::Value::from(HOSTILE[2]);
            configuration.varied.insert("served-model-name".to_owned(), value.clone());
            configuration.flags.insert("served-model-name".to_owned(), value);
            let variable = HOSTILE[3].to_owned();
            configuration.environment.insert("VLLM_TEST".to_owned(), variable);
        }
        manifest.varied.push("served-model-name".to_owned());
        for launch in &mut record.launches {
            if let Some(name) = renamed.get(&launch.configuration) {
                launch.configuration.clone_from(name);
                let said = "the answer loops".to_owned();
                let finding = Finding::failing(HOSTILE[1], "period", said, HOSTILE[0].to_owned());
                launch.gates.push(GateReport {
                    gate: Gate::Canary,
                    verdict: GateVerdict::Failed,
                    reason: Some(HOSTILE[2].to_owned()),
                    findings: vec![finding],
                    metrics: BTreeMap::new(),
                });
            }
            if let Some(LaunchOutcome::Failed(failure)) = &mut launch.outcome {
                failure.message = HOSTILE.join(" ");
                let line = |at: usize| format!("log line {at} {}", HOSTILE[at % HOSTILE.len()]);
                failure.log_lines = (0..80).map(line).collect();
            }
            if let Some(facts) = &mut launch.facts {
                facts.engine_version = Some(HOSTILE[3].to_owned());
            }
            for measurement in launch.measurements.iter_mut().skip(2) {
                measurement.status = vllm_grid::metric::Status::Void;
                measurement.reason = Some(HOSTILE[0].to_owned());
            }
        }
        Self::of(record, None)
    }

    fn input<'a>(&'a self, compared: &'a [usize]) -> Input<'a> {
        Input {
            record: &self.record,
            ranking: &self.ranking,
            reading: &self.reading,
            analysis: &self.analysis,
            pictures: &self.pictures,
            extent: self.extent.as_ref(),
            grid: Some("name: `x`\n```\n<b>\n"),
            files: &self.files,
            base: "",
            compared,
            now: "2026-11-29T03:12:00Z".parse().unwrap(),
        }
    }

    pub(crate) fn page(&self) -> String {
        page::render(&self.input(&content::compared(&self.ranking)))
    }

    pub(crate) fn markdown(&self) -> String {
        markdown::render(&self.input(&content::compared(&self.ranking)))
    }
}

fn example() -> SweepRecord {
    Folder::existing(Path::new("runs/example")).unwrap().record().unwrap()
}
