//! The commands and their options, as clap sees them. What a command does is
//! in `main` and the library.

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::commands::launch::LaunchArgs;
use crate::examples;

mod values;

use values::{configurations, duration, percent, share};

/// Columns of a help at most.
const HELP_WIDTH: usize = 100;

/// Chooses vLLM launch flags by measurement.
#[derive(Debug, Parser)]
#[command(name = "vllm-grid", version, about, max_term_width = HELP_WIDTH)]
pub(crate) struct Cli {
    /// The command.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Launch and measure every configuration of a grid, and rank them
    #[command(after_help = examples::SWEEP)]
    Sweep(SweepArgs),
    /// Show what would run: names, argument vectors, warnings, time. Launches nothing
    #[command(after_help = examples::PLAN)]
    Plan(PlanArgs),
    /// Continue a sweep that was stopped or killed
    #[command(after_help = examples::RESUME)]
    Resume(ResumeArgs),
    /// Confirm a gain: fresh launches of a configuration and the baseline, in turn
    #[command(after_help = examples::CONFIRM)]
    Confirm(ConfirmArgs),
    /// Write what deploys a confirmed configuration, or check what runs. Starts and changes nothing
    #[command(after_help = APPLY_EXAMPLES)]
    Apply(ApplyArgs),
    /// Start production again and remove what a dead sweep left
    #[command(after_help = examples::RECOVER)]
    Recover(RecoverArgs),
    /// Check for what would prevent a sweep
    #[command(after_help = examples::DOCTOR)]
    Doctor(DoctorArgs),
    /// Print what a sweep showed, what to do next, and the ranking; also while it runs
    #[command(after_help = examples::REPORT)]
    Report(ReportArgs),
    /// List the runs below a folder: when, verdict, candidate, how far
    #[command(after_help = examples::LIST)]
    List(ListArgs),
    /// Compare the rankings of sweeps: is what was chosen still the best?
    #[command(after_help = examples::COMPARE)]
    Compare(CompareArgs),
    /// Write results and ranking of a sweep again, as CSV and Parquet
    #[command(after_help = examples::EXPORT)]
    Export(ExportArgs),
    /// Measure a server that is already running
    #[command(after_help = examples::BENCH, after_long_help = workload_options())]
    Bench(BenchArgs),
    /// Serve a simulated vLLM: takes vLLM's own arguments, and `--sim-*`
    #[command(after_help = simulator_options())]
    Simulate(SimulateArgs),
    /// Make one launch of a sweep over a cluster: run by the cluster's job; not by hand
    #[command(after_help = examples::LAUNCH)]
    Launch(LaunchArgs),
    /// List every metric with unit, direction and definition
    #[command(after_help = examples::METRICS)]
    Metrics(MetricsArgs),
    /// List every workload with its options and their defaults
    #[command(after_help = examples::WORKLOADS)]
    Workloads(WorkloadsArgs),
    /// Print the JSON Schema of a grid (draft-07), for editors
    #[command(after_help = examples::SCHEMA)]
    Schema,
    /// Print completions for a shell
    #[command(after_help = examples::COMPLETIONS)]
    Completions(CompletionsArgs),
}

impl Command {
    /// What is run when it has ended.
    pub(crate) fn on_finish(&self) -> Option<&str> {
        match self {
            Self::Sweep(args) => args.on_finish.as_deref(),
            Self::Resume(args) => args.on_finish.as_deref(),
            Self::Confirm(args) if !args.dry_run => args.on_finish.as_deref(),
            _ => None,
        }
    }

    /// Whether it must clean something up when it is stopped: servers, containers,
    /// production. The others only read and print.
    pub(crate) fn cleans_up(&self) -> bool {
        match self {
            Self::Sweep(_)
            | Self::Resume(_)
            | Self::Confirm(_)
            | Self::Recover(_)
            | Self::Bench(_)
            | Self::Launch(_)
            | Self::Simulate(_) => true,
            Self::Plan(_)
            | Self::Doctor(_)
            | Self::Apply(_)
            | Self::Report(_)
            | Self::List(_)
            | Self::Compare(_)
            | Self::Export(_)
            | Self::Metrics(_)
            | Self::Workloads(_)
            | Self::Schema
            | Self::Completions(_) => false,
        }
    }

    /// Whether a second signal says no more than the first: a cluster ends a job by several,
    /// and kills what does not end.
    pub(crate) fn is_killed_at_last(&self) -> bool {
        matches!(self, Self::Launch(_))
    }
}

/// How a grid is read.
#[derive(Args, Debug)]
pub(crate) struct GridArgs {
    /// The grid file (YAML)
    pub(crate) grid: PathBuf,
    /// Which engine block of the grid to use (default: the first)
    #[arg(long, value_name = "NAME")]
    pub(crate) engine: Option<String>,
    /// Refuse flags that vLLM is not known to have, instead of warning
    #[arg(long)]
    pub(crate) strict: bool,
    /// Allow grids of up to this many configurations
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = configurations)]
    pub(crate) max_configurations: usize,
}

/// `sweep`.
#[derive(Args, Debug)]
pub(crate) struct SweepArgs {
    /// The grid.
    #[command(flatten)]
    pub(crate) grid: GridArgs,
    /// Folder for the sweep (default: runs/<name>-<UTC>); must be empty or missing
    #[arg(long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Run this command at the end, whatever the ending; split into words, without a shell. Its
    /// environment has VLLM_GRID_VERDICT, _EXIT_CODE, _ENDING, _RUN, _BEST and _PRODUCTION
    #[arg(long, value_name = "CMD")]
    pub(crate) on_finish: Option<String>,
}

/// `plan`.
#[derive(Args, Debug)]
pub(crate) struct PlanArgs {
    /// The grid.
    #[command(flatten)]
    pub(crate) grid: GridArgs,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

/// `doctor`.
#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {
    /// The grid.
    #[command(flatten)]
    pub(crate) grid: GridArgs,
    /// Of a cluster: for how long the check's job may wait for a node
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = duration)]
    pub(crate) wait: u64,
    /// On a node of a cluster: where the job of such a check answers
    #[arg(long, value_name = "DIR", hide = true)]
    pub(crate) on_node: Option<PathBuf>,
}

/// `resume`.
#[derive(Args, Debug)]
pub(crate) struct ResumeArgs {
    /// The sweep's folder
    pub(crate) run: PathBuf,
    /// Continue though what is measured with changed (image, driver, GPU, suite): a new block
    /// begins, and what was launched so far is not counted
    #[arg(long)]
    pub(crate) accept_change: bool,
    /// Run this command at the end, whatever the ending; split into words, without a shell. Its
    /// environment has VLLM_GRID_VERDICT, _EXIT_CODE, _ENDING, _RUN, _BEST and _PRODUCTION
    #[arg(long, value_name = "CMD")]
    pub(crate) on_finish: Option<String>,
}

/// `confirm`.
#[derive(Args, Debug)]
pub(crate) struct ConfirmArgs {
    /// The sweep's folder
    pub(crate) run: PathBuf,
    /// Configuration to confirm, by name or alias (default: the ranking's candidate)
    #[arg(long, value_name = "NAME")]
    pub(crate) configuration: Option<String>,
    /// Configuration to compare it with (default: the grid's baseline)
    #[arg(long, value_name = "NAME")]
    pub(crate) baseline: Option<String>,
    /// Difference to be seen: launches end when the gain's 95 % interval is half of it to
    /// either side (default: that of `confirm` in the grid, or 10%)
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub(crate) claim: Option<f64>,
    /// Launch nothing more after this time (default: until the claim is reached, or after 40 pairs)
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) budget: Option<u64>,
    /// Begin a new confirmation, though there is one of the same configurations
    #[arg(long)]
    pub(crate) again: bool,
    /// Say what would be launched and how long it takes; launch nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Confirm though what is measured with changed since the sweep (image, driver, GPU,
    /// suite): a new block begins, and what was launched so far is not counted
    #[arg(long)]
    pub(crate) accept_change: bool,
    /// Run this command at the end, whatever the ending; split into words, without a shell. Its
    /// environment has VLLM_GRID_VERDICT, _EXIT_CODE, _ENDING, _RUN, _BEST and _PRODUCTION
    #[arg(long, value_name = "CMD")]
    pub(crate) on_finish: Option<String>,
}

/// Examples of `apply`.
const APPLY_EXAMPLES: &str = "\
Examples:
  vllm-grid apply runs/night
      Write runs/night/apply/compose.vllm-grid.yaml for the confirmed configuration, and print
      what it changes and the command that deploys it
  vllm-grid apply runs/night --configuration seqs64 --output deploy/seqs64.yaml
      The same of another configuration that was measured, into another file
  vllm-grid apply --check runs/night
      Compare what the service runs with now: exit code 0 where it is what was tested, 1 where
      it differs, 3 where it does not run
  vllm-grid apply --check runs/night --url http://127.0.0.1:8000
      The same of a server at an address (engine `process`)";

/// `apply`.
#[derive(Args, Debug)]
pub(crate) struct ApplyArgs {
    /// The sweep's folder
    pub(crate) run: PathBuf,
    /// Configuration to apply, by name or alias (default: the one whose gain is confirmed)
    #[arg(long, value_name = "NAME")]
    pub(crate) configuration: Option<String>,
    /// Path of the compose override (default: apply/compose.vllm-grid.yaml in the sweep's folder);
    /// the file of its variables lies beside it and ends with .env
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    pub(crate) output: Option<PathBuf>,
    /// Write nothing: compare what runs with what was tested
    #[arg(long)]
    pub(crate) check: bool,
    /// With --check: the server to look at (default: the container of the compose service)
    #[arg(long, value_name = "URL", requires = "check")]
    pub(crate) url: Option<String>,
    /// With --url: name of the environment variable that holds the API key (default: the grid's)
    #[arg(long, value_name = "NAME", requires = "url")]
    pub(crate) api_key_env: Option<String>,
}

/// `recover`.
#[derive(Args, Debug)]
pub(crate) struct RecoverArgs {
    /// Runs: their folders, as they are or were, or their ids; others are not touched (default:
    /// all that are known: in runs/, in the state folder, by containers)
    pub(crate) runs: Vec<PathBuf>,
    /// Remove our cache volumes, too
    #[arg(long)]
    pub(crate) caches: bool,
}

/// `report`.
#[derive(Args, Debug)]
pub(crate) struct ReportArgs {
    /// The sweep's folder
    pub(crate) run: PathBuf,
    /// Show every figure of this workload in place of the ranking (may be repeated)
    #[arg(long, value_name = "NAME")]
    pub(crate) workload: Vec<String>,
    /// What to print: for a person, for a program, or the report of seven sections
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    pub(crate) format: ReportFormat,
    /// With markdown or html: configurations to compare side by side, by name or alias, with commas;
    /// four at most (default: candidate, baseline, and what is not distinguishable)
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) configurations: Vec<String>,
    /// With markdown or html: write to this file, a new one or an earlier report; - is standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Write the page (report.html in the sweep's folder, or --output) again after each launch,
    /// until nobody works on the sweep any more
    #[arg(long, conflicts_with_all = ["format", "workload"])]
    pub(crate) follow: bool,
}

/// What a report is printed as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    /// The verdict and the ranking, for a person.
    Text,
    /// For a program: the figures of all workloads.
    Json,
    /// The seven sections, for a merge request or an issue.
    Markdown,
    /// The seven sections with pictures and every launch, as one file for a browser.
    Html,
}

/// `list`.
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Folder below which runs are looked for
    #[arg(value_name = "DIR", default_value = "runs")]
    pub(crate) folder: PathBuf,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

/// `completions`.
#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

/// Shells with completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// GNU Bash.
    Bash,
    /// Z shell.
    Zsh,
    /// fish.
    Fish,
}

/// `compare`.
#[derive(Args, Debug)]
pub(crate) struct CompareArgs {
    /// Folders of two sweeps or more: the last one is compared with the first
    #[arg(value_name = "RUN", required = true, num_args = 2..)]
    pub(crate) runs: Vec<PathBuf>,
    /// Compare by this metric (default: the objective, where all sweeps have the same)
    #[arg(long, value_name = "METRIC")]
    pub(crate) metric: Option<String>,
    /// End with exit code 1 where the last sweep is shown to be worse than the first by more
    /// than this share: the whole one-sided 95 % bound is beyond it
    #[arg(long, value_name = "PERCENT", value_parser = share)]
    pub(crate) fail_if_worse: Option<f64>,
    /// What to print
    #[arg(long, value_enum, default_value_t = ComparisonFormat::Text)]
    pub(crate) format: ComparisonFormat,
}

/// `export`.
#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// The sweep's folder
    pub(crate) run: PathBuf,
    /// Folder for the files (default: the sweep's own)
    #[arg(long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
}

/// `bench`.
#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    /// Where the server is, for example http://127.0.0.1:8000 or https://llm.example.org. No proxy is
    /// used, whatever http_proxy, https_proxy and all_proxy say
    pub(crate) url: String,
    /// Certificates (PEM) that are believed besides those of the system's authorities, for https: an
    /// authority's, or the server's own
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// The model's name (default: the first that the server offers and that is no adapter)
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// Workload to run; several times for several (default: all)
    #[arg(long, value_name = "NAME")]
    pub(crate) workload: Vec<String>,
    /// Option of the workload, as `name=value`; several values with commas. `bench --help` and
    /// `workloads` list them
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub(crate) set: Vec<String>,
    /// Fields that are merged into each request's body, as JSON: '{"temperature": 0.7}'. Fields of
    /// `--set request=JSON` are over them; null takes one out
    #[arg(long, value_name = "JSON")]
    pub(crate) request: Option<String>,
    /// Kept repeats per workload case
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) repeats: u32,
    /// Seed of the prompts
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Name of the environment variable that holds the API key
    #[arg(long, value_name = "NAME")]
    pub(crate) api_key_env: Option<String>,
    /// GPUs of this machine that the server runs on: `all`, or indices or UUIDs with commas; their
    /// figures and the energy are reported then. Without it no GPU is looked at: a local address may
    /// be a tunnel to another machine
    #[arg(long, value_name = "GPUS")]
    pub(crate) local_gpus: Option<String>,
    /// Keep the request records in this Parquet file
    #[arg(long, value_name = "FILE")]
    pub(crate) records: Option<PathBuf>,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

/// `simulate`.
#[derive(Args, Debug)]
pub(crate) struct SimulateArgs {
    /// What follows `vllm serve`: the model, flags; and the simulator's own options
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<String>,
}

impl SimulateArgs {
    /// The help, where it is asked for among vLLM's arguments.
    pub(crate) fn help(&self) -> Option<String> {
        let asked = |argument: &String| matches!(argument.as_str(), "--help" | "-h");
        self.arguments.iter().any(asked).then_some(())?;
        let mut cli = Cli::command();
        cli.build();
        Some(cli.find_subcommand_mut("simulate")?.render_help().to_string())
    }
}

/// The simulator's options as a part of the help.
fn simulator_options() -> String {
    let mut text = format!("{}\n\nOptions of the simulator:", examples::SIMULATE);
    for (name, value, about) in vllm_grid::simulator::OPTIONS {
        let option = format!("{name} {value}");
        text.extend([format!("\n  {option:<26}  "), (*about).to_owned()]);
    }
    text.push_str("\n\n");
    text.push_str(vllm_grid::simulator::drift::HELP);
    text.push_str("\n\n");
    text.push_str(vllm_grid::simulator::spoil::HELP);
    text
}

/// The workloads' options as a part of the help.
fn workload_options() -> String {
    let all: Vec<_> = vllm_grid::workload::KINDS.iter().collect();
    let options = vllm_grid::report::workloads::render(&all, HELP_WIDTH);
    let examples = examples::BENCH;
    format!("{examples}\n\nWorkloads, and their options for --set and for a grid:\n\n{options}")
}

/// `metrics`.
#[derive(Args, Debug)]
pub(crate) struct MetricsArgs {
    /// Only those of this workload; several times for several (default: all)
    #[arg(long, value_name = "NAME")]
    pub(crate) workload: Vec<String>,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

/// `workloads`.
#[derive(Args, Debug)]
pub(crate) struct WorkloadsArgs {
    /// Only these (default: all)
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

/// What to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For a person.
    Text,
    /// For a program.
    Json,
}

/// What a comparison is printed as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ComparisonFormat {
    /// For a person.
    Text,
    /// For a merge request or an issue.
    Markdown,
    /// For a program.
    Json,
}
