//! Examples that the help of each command ends with: commands that work in a checkout, on
//! the shipped grids. A test parses all of them and runs those that need nothing but the
//! checkout.

pub(crate) const SWEEP: &str = "\
Examples:
  vllm-grid sweep grids/quickstart.yaml
  vllm-grid sweep grids/qwen3-overnight.yaml --engine simulated --output runs/night
  vllm-grid sweep grids/qwen3-twelve.yaml --on-finish 'notify-send \"sweep is over\"'";

pub(crate) const PLAN: &str = "\
Examples:
  vllm-grid plan grids/quickstart.yaml
  vllm-grid plan grids/qwen3-overnight.yaml --engine simulated --format json
  vllm-grid plan grids/slurm.yaml";

pub(crate) const RESUME: &str = "\
Examples:
  vllm-grid resume runs/example
  vllm-grid resume runs/example --accept-change";

pub(crate) const CONFIRM: &str = "\
Examples:
  vllm-grid confirm runs/example --dry-run
  vllm-grid confirm runs/example --configuration prefix-util0.82-seqs64 --claim 5% --budget 4h";

pub(crate) const RECOVER: &str = "\
Examples:
  vllm-grid recover
  vllm-grid recover runs/example --caches";

pub(crate) const DOCTOR: &str = "\
Examples:
  vllm-grid doctor grids/quickstart.yaml
  vllm-grid doctor grids/qwen3-overnight.yaml --engine docker
  vllm-grid doctor grids/slurm.yaml --wait 30m";

pub(crate) const REPORT: &str = "\
Examples:
  vllm-grid report runs/example
  vllm-grid report runs/example --workload load
  vllm-grid report runs/example --format json
  vllm-grid report runs/example --format markdown --configurations plain,prefix-util0.82-seqs64
  vllm-grid report runs/example --format html --output page.html
  vllm-grid report runs/example --follow

While a sweep runs, --follow writes report.html in its folder again after each launch.";

pub(crate) const LIST: &str = "\
Examples:
  vllm-grid list
  vllm-grid list runs/example --format json";

pub(crate) const COMPARE: &str = "\
The exit code with --fail-if-worse: 0 no configuration is shown to be worse by more than the
share, 1 at least one is, 2 the sweeps do not allow an answer.

Examples:
  vllm-grid compare runs/example runs/example
  vllm-grid compare runs/example runs/example --metric load.median_ttft_ms --format markdown
  vllm-grid compare runs/example runs/example --fail-if-worse 5%";

pub(crate) const EXPORT: &str = "\
Examples:
  vllm-grid export runs/example
  vllm-grid export runs/example --output tables";

pub(crate) const BENCH: &str = "\
Examples:
  vllm-grid bench http://127.0.0.1:8000
  vllm-grid bench http://127.0.0.1:8000 --workload load --set concurrency=1,8 --set requests=64
  vllm-grid bench http://127.0.0.1:8000 --workload kv-cache --repeats 3 --format json";

pub(crate) const SIMULATE: &str = "\
Examples:
  vllm-grid simulate Qwen/Qwen3-0.6B --port 8000
  vllm-grid simulate Qwen/Qwen3-0.6B --max-num-seqs 64 --sim-gpu rtx-4090 --sim-speed 10";

pub(crate) const LAUNCH: &str = "\
The exit code: 0 the launch was made, whatever it came to; 3 this node cannot make it; 4 it was
asked to end; 6 it was begun before, and is not measured twice. What it came to is in the
launch's folder.

Examples:
  vllm-grid launch runs/example/launches/7-seqs64/job.json";

pub(crate) const METRICS: &str = "\
Examples:
  vllm-grid metrics
  vllm-grid metrics --workload load --format json";

pub(crate) const WORKLOADS: &str = "\
Examples:
  vllm-grid workloads
  vllm-grid workloads kv-cache load --format json";

pub(crate) const SCHEMA: &str = "\
An editor with the YAML language server checks and completes a grid whose first line names it:
  # yaml-language-server: $schema=grid.schema.json

Examples:
  vllm-grid schema";

pub(crate) const COMPLETIONS: &str = "\
bash: write it to ~/.local/share/bash-completion/completions/vllm-grid
zsh:  write it to a folder of $fpath as _vllm-grid
fish: write it to ~/.config/fish/completions/vllm-grid.fish

Examples:
  vllm-grid completions bash
  vllm-grid completions fish";

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use crate::cli::Cli;

    /// The examples of a command's help, as words.
    fn examples(help: &str) -> Vec<Vec<String>> {
        let lines = help.lines().filter(|line| line.starts_with("  vllm-grid "));
        lines.map(|line| shell_words::split(line).expect("closed quotes")).collect()
    }

    #[test]
    fn every_command_has_examples_that_it_understands() {
        let mut cli = Cli::command();
        cli.build();
        let names: Vec<String> = cli.get_subcommands().map(|it| it.get_name().to_owned()).collect();
        for name in names.iter().filter(|name| *name != "help") {
            let command = cli.find_subcommand_mut(name).expect("it is there");
            for help in [command.render_help(), command.render_long_help()] {
                let examples = examples(&help.to_string());
                assert!(!examples.is_empty(), "`{name} --help` has no example");
                for words in examples {
                    assert_eq!(&words[1], name, "{words:?}");
                    if let Err(error) = Cli::try_parse_from(&words) {
                        panic!("{words:?}: {error}");
                    }
                }
            }
        }
    }
}
