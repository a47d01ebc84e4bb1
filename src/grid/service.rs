//! The flags of a compose service's command, put under those of the grid. The
//! compose tool reads the service after the grid file is read; then each
//! configuration's flags and id are complete, and equals are merged again.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use itertools::Itertools as _;

use super::expand::PRODUCTION;
use super::{EngineBlock, Grid};
use crate::configuration::{Configuration, Flags, Stack};

/// What a compose service asks for by itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceBase {
    /// Its image.
    pub image: String,
    /// The model in its command, where it names one.
    pub model: Option<String>,
    /// The flags in its command, without secrets and without what the tool sets itself.
    pub flags: Flags,
}

/// Puts the flags of each configuration's service under those of the engine block and its
/// own. `others`: what the services of stacks ask for that are not the engine block's.
/// `chosen`: the names that the file gives to configurations.
pub(super) fn lay_under(grid: &mut Grid, others: &BTreeMap<Stack, ServiceBase>, chosen: &[String]) {
    let EngineBlock::Docker(block) = &grid.engine else { return };
    let mut configurations = std::mem::take(&mut grid.configurations);
    for configuration in &mut configurations {
        let stack = &configuration.stack;
        let base =
            others.get(stack).or(if stack.has_service() { None } else { block.base.as_ref() });
        if let Some(base) = base {
            configuration.flags = joined(&base.flags, &block.flags, configuration);
        }
        let (image, model) = grid.engine.started(&configuration.stack, base);
        (configuration.image, configuration.model) = (image, model);
        let Configuration { image, model, .. } = &*configuration;
        let identity = grid.engine.identity(image.as_deref(), model.as_deref(), configuration);
        configuration.id = identity.id();
    }
    let is_production = |it: &Configuration| {
        it.name == PRODUCTION
            && it.varied.is_empty()
            && it.stack.is_own()
            && !chosen.contains(&it.name)
    };
    let production = configurations.iter().position(is_production);
    let production = production.map(|at| configurations.remove(at));
    grid.configurations = merged(configurations, chosen);
    if let Some(production) = production {
        match grid.configurations.iter_mut().find(|known| known.id == production.id) {
            Some(known) => known.aliases.push(production.name),
            None => grid.configurations.insert(0, production),
        }
    }
    if let Some(at) = grid.baseline_index() {
        grid.baseline = Some(grid.configurations[at].name.clone());
    }
    let differs =
        |name: &&String| !grid.configurations.iter().map(|it| it.flags.get(name)).all_equal();
    grid.varied = grid.places.flags.iter().map(|(name, _)| name).filter(differs).cloned().collect();
}

/// The service's flags, overlaid by the engine block's, overlaid by the configuration's.
fn joined(under: &Flags, own: &Flags, configuration: &Configuration) -> Flags {
    let mut flags = under.clone();
    let is_set = |name: &str| own.contains_key(name) || configuration.varied.contains_key(name);
    // A JSON option that is set whole replaces its keys; a null removes a flag.
    flags.retain(|name, _| {
        !is_set(name) && name.split_once('.').is_none_or(|(whole, _)| !is_set(whole))
    });
    flags.extend(configuration.flags.clone());
    flags
}

/// Equals as one, in the order in which they came. A name that a person gave
/// comes before a generated one.
fn merged(configurations: Vec<Configuration>, chosen: &[String]) -> Vec<Configuration> {
    let mut merged: Vec<Configuration> = Vec::with_capacity(configurations.len());
    let mut by_id: HashMap<String, usize> = HashMap::with_capacity(configurations.len());
    for mut configuration in configurations {
        match by_id.entry(configuration.id.clone()) {
            Entry::Vacant(vacant) => {
                vacant.insert(merged.len());
                merged.push(configuration);
            }
            Entry::Occupied(known) => {
                let known = &mut merged[*known.get()];
                let is_chosen = |name: &String| chosen.contains(name);
                if is_chosen(&configuration.name) && !is_chosen(&known.name) {
                    std::mem::swap(&mut known.name, &mut configuration.name);
                }
                known.aliases.push(configuration.name);
                known.aliases.append(&mut configuration.aliases);
            }
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::grid::{GridFile, ReadOptions, Warning};

    fn file(body: &str) -> GridFile {
        measured(body, "{kv-cache: {}}", "{minimize: kv_cache.ttft_resent_ms}")
    }

    fn measured(body: &str, workloads: &str, objective: &str) -> GridFile {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("grid.yaml");
        let text = format!(
            "name: g\nengine:\n  docker: {{compose: c.yaml, service: s}}\n{body}\
             workloads: {workloads}\nobjective: {objective}\n"
        );
        std::fs::write(&path, text).expect("written");
        GridFile::read(&path, &ReadOptions::default())
            .unwrap_or_else(|errors| panic!("{}", errors.render(100, false)))
    }

    fn base(flags: &Value) -> ServiceBase {
        let flags = flags.as_object().expect("a mapping").clone().into_iter().collect();
        ServiceBase { image: "i:1".to_owned(), model: Some("m".to_owned()), flags }
    }

    fn names(grid: &Grid) -> Vec<Vec<&str>> {
        grid.configurations.iter().map(|it| it.names().collect()).collect()
    }

    #[test]
    fn the_service_s_flags_are_under_the_grid_s() {
        let file = file(
            "parameters:\n  max-num-seqs: [16, 64]\n  enable-prefix-caching: [true]\n\
             include:\n  - {name: bare, max-num-seqs: null}\n  - {name: whole, compilation-config: {mode: 0}}\n",
        );
        let before = file.clone().without_service().configurations;
        let before: Vec<String> = before.into_iter().map(|it| it.id).collect();
        let grid = file.with_service(base(
            &json!({"max-num-seqs": 32, "seed": 7, "compilation-config.level": 3}),
        ));
        let flags = |name: &str| {
            let found = grid.configuration(name).expect("it is there");
            serde_json::to_value(&found.flags).expect("JSON")
        };
        assert_eq!(
            flags("seqs16"),
            json!({"compilation-config.level": 3, "enable-prefix-caching": true, "max-num-seqs": 16, "seed": 7})
        );
        assert_eq!(flags("bare"), json!({"compilation-config.level": 3, "seed": 7}));
        assert_eq!(
            flags("whole"),
            json!({"compilation-config": {"mode": 0}, "max-num-seqs": 32, "seed": 7})
        );
        assert_eq!(grid.varied, ["max-num-seqs", "enable-prefix-caching", "compilation-config"]);
        assert_eq!(grid.engine.model(), Some("m"));
        assert!(grid.configurations.iter().all(|it| !before.contains(&it.id)));
    }

    #[test]
    fn what_the_service_asks_for_already_is_production() {
        let body = "baseline: production\nparameters:\n  max-num-seqs: [null, 32, 64]\n\
                    include:\n  - {name: chosen, enable-prefix-caching: true, max-num-seqs: 64}\n";
        let file = file(body);
        assert_eq!(
            names(&file.clone().without_service()),
            [
                vec!["production"],
                vec!["seqsdefault"],
                vec!["seqs32"],
                vec!["seqs64"],
                vec!["chosen"]
            ],
            "not passed is not the same as left alone"
        );
        let grid =
            file.with_service(base(&json!({"max-num-seqs": 32, "enable-prefix-caching": true})));
        assert_eq!(
            names(&grid),
            [vec!["seqsdefault"], vec!["seqs32", "production"], vec!["chosen", "seqs64"]]
        );
        assert_eq!(grid.baseline.as_deref(), Some("seqs32"));
        assert_eq!(grid.varied, ["max-num-seqs"]);
    }

    #[test]
    fn production_that_nothing_equals_stays_a_configuration_of_its_own() {
        let file = file("baseline: production\nparameters:\n  max-num-seqs: [64, 128]\n");
        let grid = file.with_service(base(&json!({"max-num-seqs": 32, "seed": 1})));
        assert_eq!(names(&grid), [vec!["production"], vec!["seqs64"], vec!["seqs128"]]);
        let production = &grid.configurations[0];
        assert_eq!(
            production.flags,
            Flags::from([("max-num-seqs".to_owned(), json!(32)), ("seed".to_owned(), json!(1)),])
        );
        assert_eq!(grid.baseline.as_deref(), Some("production"));
    }

    #[test]
    fn complete_flags_show_what_vllm_would_refuse() {
        let file = file(
            "parameters:\n  enable-chunked-prefill: [true, false]\n  max-num-batched-tokens: [2048]\n",
        );
        let before = file.clone().without_service().warnings.len();
        let grid = file.with_service(base(&json!({"max-model-len": 8192})));
        assert_eq!(grid.warnings.len(), before + 1);
        let last = &grid.warnings[before].message;
        assert!(last.contains("chunked prefill is off"), "{last}");
    }

    /// What is advised; the compose file of these grids does not exist, which is said, too.
    fn advice(grid: &Grid) -> Vec<&Warning> {
        grid.warnings.iter().filter(|it| !it.message.contains("the compose file")).collect()
    }

    #[test]
    fn whether_a_limit_binds_is_said_when_the_service_s_own_is_known() {
        let warned = |own: u64| {
            let file = measured(
                "baseline: production\nparameters: {max-num-seqs: [32, 64]}\n",
                "{load: {concurrency: 32}}",
                "{maximize: load.output_throughput}",
            );
            let grid = file.clone().without_service();
            assert!(advice(&grid).is_empty(), "it is not known yet: {:?}", grid.warnings);
            let grid = file.with_service(base(&json!({"max-num-seqs": own})));
            advice(&grid).into_iter().cloned().collect::<Vec<_>>()
        };
        assert_eq!(warned(16), [], "the baseline differs");
        let warned = warned(128);
        assert!(warned[0].message.contains("no value is below that"), "{warned:?}");
        assert_eq!((warned[0].line, warned[0].column), (Some(5), Some(14)));
    }

    #[test]
    fn what_exceeds_the_service_s_context_is_a_warning() {
        let file = file("parameters: {enable-prefix-caching: [true, false]}\n");
        let grid = file.with_service(base(&json!({"max-model-len": 2048})));
        let warned: Vec<&str> = advice(&grid).into_iter().map(|it| it.message.as_str()).collect();
        assert_eq!(
            warned,
            ["kv_cache.ttft_resent_ms is never measured: it needs a context of 4112 tokens, and \
              max-model-len is 2048; ask for less, or raise max-model-len"]
        );
    }
}
