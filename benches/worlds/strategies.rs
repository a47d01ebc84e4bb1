//! The real strategies in simulated worlds: how probably what they pick is right, after so
//! many hours and at their own end, whether they are as sure as they may be, and what the
//! ranking claims of their launches. It takes hours, so it runs only where it is named:
//! `cargo bench --bench worlds -- strategies`. What was found is in `docs/strategies.md`.

mod night;

use std::collections::BTreeMap;

use vllm_grid::results::decision::Decision;
use vllm_grid::results::ranking::rank;
use vllm_grid::strategy::adaptive::Adaptive;
use vllm_grid::strategy::model::Modelled;
use vllm_grid::strategy::{
    Action, AdaptiveStrategy, GridStrategy, ModelStrategy, Purpose, Situation, StrategySpec,
};

use crate::Run;
use crate::speed::{goal, slowest};
use crate::table::{Figure, Goal, Table, parallel};
use crate::world::{JUMPS, Machine, Noise, OU25_60, random};
use night::{Night, Scene, Truth, Warmup};

/// What is run.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Method {
    /// `adaptive`; whether it chooses the repeats of its duels.
    Adaptive { auto: bool },
    /// `model`, with repeats of its own choice.
    Model,
    /// Two blocks of everything.
    Grid,
    /// As the owner began: a launch each, five repeats, the first one kept.
    First,
}

/// No sweep is longer, h.
const LONGEST: f64 = 60.0;

/// Within 5 % of the best.
const NEAR: f64 = 1.05;

impl Method {
    fn name(self) -> &'static str {
        match self {
            Self::Adaptive { auto: true } => "adaptive",
            Self::Adaptive { auto: false } => "adaptive 3x",
            Self::Model => "model",
            Self::Grid => "grid 2x5",
            Self::First => "first",
        }
    }

    /// What the grid asks for, and how repeats are measured.
    fn spec(self, seed: u64) -> (StrategySpec, Warmup) {
        let racing = |auto| AdaptiveStrategy { auto, seed, ..AdaptiveStrategy::default() };
        let grid =
            |launches| StrategySpec::Grid(GridStrategy { launches, repeats: 5, auto: false, seed });
        match self {
            Self::Adaptive { auto } => (StrategySpec::Adaptive(racing(auto)), Warmup::Discarded),
            Self::Model => {
                let spec = ModelStrategy { racing: racing(true), predicted: false };
                (StrategySpec::Model(spec), Warmup::Discarded)
            }
            Self::Grid => (grid(2), Warmup::Discarded),
            Self::First => (grid(1), Warmup::Kept),
        }
    }
}

/// A row of the table.
struct Cell {
    method: Method,
    scene: Scene,
    /// Hours after which it is looked at, and the share that is to be right.
    looks: Vec<(f64, Goal)>,
    /// Whether the ranking's claims are looked at.
    claims: bool,
}

impl Cell {
    fn name(&self) -> String {
        let Scene { configurations, spread, machine, noise, factorial, bounded, failing } =
            self.scene;
        let mut name = format!("{} {configurations} {machine} {noise}", self.method.name());
        if spread == 0.0 {
            name += " A/A";
        } else if spread < 0.3 {
            name += &format!(" spread {:.0}%", spread * 100.0);
        }
        for (is, word) in [(!factorial, "unstructured"), (bounded, "bound"), (failing, "failing")] {
            if is {
                name += " ";
                name += word;
            }
        }
        name
    }
}

/// What came of one world.
struct Came {
    /// Regret at each look, and at the end; `None` where nothing may win.
    regrets: Option<Vec<f64>>,
    hours: f64,
    launches: usize,
    /// What the strategy said at its end.
    said: f64,
    claimed: bool,
    false_claim: bool,
}

fn world(cell: &Cell, name: &str, seed: u64, world: usize) -> Came {
    // The same truth for each method.
    let scene = &cell.scene;
    let about = name.split_once(' ').map_or(name, |(_, scene)| scene);
    let truth = Truth::new(scene, &mut random(seed, about, world));
    let mut random = random(seed ^ 1, name, world);
    let (spec, warmup) = cell.method.spec(world as u64);
    let strategy = spec.build(&truth.task);
    let night = night::run(strategy.as_ref(), scene, &truth, (warmup, LONGEST), &mut random);
    let analysis = Adaptive::new(AdaptiveStrategy::default(), truth.task.clone());
    let modelled = Modelled::new(ModelStrategy::default(), truth.task.clone());
    let pick = |hours: f64| match cell.method {
        Method::Model => modelled.leader(night.until(hours)),
        _ => analysis.leader(night.until(hours)),
    };
    let end = pick(f64::INFINITY);
    let looks = cell.looks.iter().map(|(hours, _)| pick(*hours)).chain([end]);
    let regrets = looks.map(|it| truth.regret(it.map(|it| it.configuration))).collect();
    let (claimed, false_claim) =
        if cell.claims { claims(&truth, spec, &night) } else { (false, false) };
    Came {
        regrets,
        hours: night.hours(),
        launches: night.observations.len(),
        said: end.map_or(0.0, |it| it.probability),
        claimed,
        false_claim,
    }
}

/// Whether the ranking claims a gain over the baseline, and whether there is none.
fn claims(truth: &Truth, spec: StrategySpec, night: &Night) -> (bool, bool) {
    let sweep = night::record(truth, spec, &night.observations);
    let decision = rank(&sweep.record).decision.filter(Decision::claims);
    let of =
        |decision: &Decision| truth.effects[crate::world::index(&decision.candidate.configuration)];
    let is_false = decision.as_ref().is_some_and(|it| of(it) >= truth.effects[0]);
    (decision.is_some(), is_false)
}

const USUAL: Noise = Noise { launch: 0.03, repeat: 0.20 };

/// The goals of the strategies, in the order of the plan.
fn cells(quick: bool) -> Vec<Cell> {
    let adaptive = Method::Adaptive { auto: true };
    let reached = Goal::AtLeast(0.93);
    let of = |method, configurations, machine, looks: &[(f64, Goal)]| Cell {
        method,
        scene: Scene {
            configurations,
            spread: 0.3,
            machine,
            noise: USUAL,
            factorial: true,
            bounded: false,
            failing: false,
        },
        looks: looks.to_vec(),
        claims: false,
    };
    let shown = |hours| (hours, Goal::Shown);
    let mut cells = vec![
        of(adaptive, 12, Machine::Calm, &[shown(1.5), (2.6, reached), shown(4.0)]),
        of(Method::First, 12, Machine::Calm, &[]),
    ];
    if quick {
        return cells;
    }
    let others = [
        of(Method::Adaptive { auto: false }, 12, Machine::Calm, &[(2.6, Goal::Shown)]),
        of(Method::Grid, 12, Machine::Calm, &[]),
        of(adaptive, 4, Machine::Calm, &[shown(1.0), shown(2.0)]),
    ];
    cells.extend(others);
    for machine in [OU25_60, JUMPS] {
        cells.push(of(adaptive, 12, machine, &[(4.0, reached), shown(6.0)]));
    }
    cells.push(of(adaptive, 48, Machine::Calm, &[shown(5.5), (7.0, reached)]));
    cells.push(of(Method::First, 48, Machine::Calm, &[]));
    cells.push(of(Method::Model, 48, Machine::Calm, &[(4.5, reached)]));
    for machine in [OU25_60, JUMPS] {
        cells.push(of(adaptive, 48, machine, &[shown(12.0), (18.0, reached)]));
    }
    cells.push(of(adaptive, 200, Machine::Calm, &[shown(19.0), (22.0, reached)]));
    cells.push(of(Method::First, 200, Machine::Calm, &[]));
    cells.push(of(Method::Model, 200, Machine::Calm, &[(12.0, reached)]));
    cells.extend(variants(adaptive, of));
    cells
}

/// The same in other worlds: noisier launches, no structure, bounds, failures, quieter
/// repeats, and no difference at all.
fn variants(
    adaptive: Method,
    of: impl Fn(Method, usize, Machine, &[(f64, Goal)]) -> Cell,
) -> Vec<Cell> {
    let shown = |hours| (hours, Goal::Shown);
    let with = |cell: Cell, change: &dyn Fn(&mut Scene)| {
        let mut cell = cell;
        change(&mut cell.scene);
        cell
    };
    let mut cells = Vec::new();
    for (configurations, hours) in [(12, 2.6), (48, 7.0)] {
        let calm = || of(adaptive, configurations, Machine::Calm, &[shown(hours)]);
        // Within 5 points of the usual goal.
        let noisy = of(adaptive, configurations, Machine::Calm, &[(hours, Goal::AtLeast(0.88))]);
        cells.push(with(noisy, &|it| it.noise.launch = 0.08));
        cells.push(with(calm(), &|it| it.factorial = false));
        cells.push(with(calm(), &|it| it.bounded = true));
        cells.push(with(calm(), &|it| it.failing = true));
    }
    let model = of(Method::Model, 48, Machine::Calm, &[shown(7.0)]);
    cells.push(with(model, &|it| it.factorial = false));
    for machine in [Machine::Calm, OU25_60, JUMPS] {
        let cell = of(adaptive, 12, machine, &[shown(2.3), shown(4.0)]);
        cells.push(with(cell, &|it| {
            it.spread = 0.1;
            it.noise.repeat = 0.05;
            it.factorial = false;
        }));
    }
    // No difference at all.
    let machines = [Machine::Calm, OU25_60, JUMPS].map(|machine| (12, machine));
    for (configurations, machine) in machines.into_iter().chain([(48, Machine::Calm)]) {
        for method in [adaptive, Method::Model] {
            let mut nothing = with(of(method, configurations, machine, &[]), &|it| {
                it.spread = 0.0;
                it.noise.repeat = 0.05;
            });
            nothing.claims = true;
            cells.push(nothing);
        }
    }
    cells
}

pub(crate) fn run(run: &Run, table: &mut Table) {
    if !run.names("strategies") && !run.quick {
        return;
    }
    Table::item("g. Strategies: the pick is within 5 % of the best that keeps its bounds");
    if run.wants("strategies", "seconds") {
        decision(run, table);
    }
    let mut hours = BTreeMap::new();
    for cell in cells(run.quick) {
        let name = cell.name();
        if run.wants("strategies", &name) {
            let came = rows(run, table, &cell, &name);
            hours.insert(name, came.into_iter().map(|it| it.hours).collect::<Vec<f64>>());
        }
    }
    for (name, own) in &hours {
        let scene = name.strip_prefix("model ").filter(|it| it.ends_with("unstructured"));
        let other = scene.and_then(|scene| hours.get(&format!("adaptive {scene}")));
        if let Some(other) = other {
            // Of the means; its error by the differences of the same worlds.
            let mean = other.iter().sum::<f64>() / other.len() as f64;
            let more = own.iter().zip(other).map(|(own, other)| 1.0 + (own - other) / mean);
            table.row(name, "hours, of adaptive's", Figure::mean(more), Goal::AtMost(1.10));
        }
    }
}

/// One decision late in a large sweep on a machine that jumps: every configuration has been
/// launched about four times, so all of them are fitted.
fn decision(run: &Run, table: &mut Table) {
    let scene = Scene {
        configurations: 48,
        spread: 0.02,
        machine: JUMPS,
        noise: Noise { launch: 0.03, repeat: 0.05 },
        factorial: false,
        bounded: false,
        failing: false,
    };
    let mut random = random(run.seed, "decision", 0);
    let truth = Truth::new(&scene, &mut random);
    let all = GridStrategy { launches: 5, repeats: 3, auto: false, seed: run.seed };
    let blocks = StrategySpec::Grid(all).build(&truth.task);
    let how = (Warmup::Discarded, LONGEST);
    let night = night::run(blocks.as_ref(), &scene, &truth, how, &mut random);
    let observations = &night.observations[..200];
    let situation = Situation { observations, in_flight: &[], ..Situation::default() };
    // With fewer launches at most it would end without a decision.
    let spec = AdaptiveStrategy { max_launches: Some(1000), ..AdaptiveStrategy::default() };
    let strategy = StrategySpec::Adaptive(spec).build(&truth.task);
    let took = slowest(|| assert!(!matches!(strategy.next(situation), Action::Wait)));
    table.row("48 configurations, 200 launches", "seconds a decision", took, goal(run));
    // The first block as the screen of `model`, whose duels come after it.
    let mut observations = observations.to_vec();
    for observation in observations.iter_mut().filter(|it| it.trial >= 48) {
        observation.purpose = Purpose::Final;
    }
    let situation = Situation { observations: &observations, ..situation };
    let racing = AdaptiveStrategy { max_launches: Some(1000), ..AdaptiveStrategy::default() };
    let spec = StrategySpec::Model(ModelStrategy { racing, predicted: false });
    // Each time a new one: it keeps what it decided.
    let took = slowest(|| {
        let strategy = spec.build(&truth.task);
        assert!(!matches!(strategy.next(situation), Action::Wait));
        strategy.remaining(situation);
    });
    table.row("  the same of `model`", "seconds, all that a turn asks", took, goal(run));
}

fn rows(run: &Run, table: &mut Table, cell: &Cell, name: &str) -> Vec<Came> {
    let worlds = if cell.claims { run.many() } else { run.few() };
    let came = parallel(worlds, |at| world(cell, name, run.seed, at));
    let near = |regret: f64| regret <= NEAR.ln();
    let regrets: Vec<&Vec<f64>> = came.iter().filter_map(|it| it.regrets.as_ref()).collect();
    let share = |look: usize| Figure::share(regrets.iter().map(|it| near(it[look])));
    if cell.scene.spread > 0.0 {
        for (look, (hours, goal)) in cell.looks.iter().enumerate() {
            table.row(name, &format!("right after {hours} h"), share(look), *goal);
        }
        let end = cell.looks.len();
        table.row(name, "  right at its end", share(end), Goal::Shown);
        let regret = Figure::mean(regrets.iter().map(|it| 100.0 * it[end]));
        table.row(name, "  regret then, %", regret, Goal::Shown);
    }
    let figure = |read: fn(&Came) -> f64| Figure::mean(came.iter().map(read));
    table.row(name, "  hours to its end", figure(|it| it.hours), Goal::Shown);
    table.row(name, "  launches", figure(|it| it.launches as f64), Goal::Shown);
    if matches!(cell.method, Method::Adaptive { .. } | Method::Model) {
        table.row(name, "  probability said", figure(|it| it.said), Goal::Shown);
        if cell.scene.spread > 0.0 {
            let end = cell.looks.len();
            let right = |it: &Came| it.regrets.as_ref().map(|all| near(all[end]));
            let too_much = |it: &Came| Some(it.said - f64::from(u8::from(right(it)?)));
            let beyond = Figure::mean(came.iter().filter_map(too_much));
            table.row(name, "  said beyond right", beyond, Goal::AtMost(0.05));
        }
    }
    if cell.claims {
        let allowed = 0.05 + 2.612 * (0.05 * 0.95 / worlds as f64).sqrt();
        let claimed = Figure::share(came.iter().map(|it| it.claimed));
        table.row(name, "  claims", claimed, Goal::Shown);
        let wrong = Figure::share(came.iter().map(|it| it.false_claim));
        table.row(name, "false claims", wrong, Goal::AtMost(allowed));
    }
    came
}
