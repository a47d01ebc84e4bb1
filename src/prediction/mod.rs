//! What the simulator's cost model expects of a grid's configurations before anything is
//! launched: what the strategy `model` may begin with. Pure, and in virtual time. Where
//! something is not known there is a reason in place of a prediction. Which launches these are
//! is in `launches`, what is sent to them and read off in `figure`.

use crate::grid::Grid;
use crate::machine::Machine;
use crate::simulator::play::Server;
use crate::strategy::Prediction;

mod figure;
mod launches;
mod reading;

use figure::Figure;
use launches::Gpus;

/// What is expected of a grid's objective. `machine`: the one that launches run on, as far as it
/// is known; the engine `simulated` names its own.
pub fn of_grid(grid: &Grid, machine: Option<&Machine>) -> Prediction {
    made(grid, machine).unwrap_or_else(|why| Prediction::Missing { why })
}

fn made(grid: &Grid, machine: Option<&Machine>) -> Result<Prediction, String> {
    let figure = Figure::of(grid)?;
    let gpus = Gpus::of(&grid.engine, machine)?;
    let mut values = Vec::with_capacity(grid.configurations.len());
    let (mut refused, mut models) = (None, Vec::new());
    // Most configurations differ in what the requests do not notice.
    let mut known: Vec<(Server, Option<f64>)> = Vec::new();
    for configuration in &grid.configurations {
        let launch = match gpus.launch(&grid.engine, configuration) {
            Ok(launch) => launch,
            Err(why) => {
                refused.get_or_insert(why);
                values.push(None);
                continue;
            }
        };
        if !models.contains(&launch.model) {
            models.push(launch.model.clone());
        }
        if launch.context < figure.context_needed() {
            values.push(None);
            continue;
        }
        let server = figure.seen_by(&launch.server);
        let value = known.iter().find(|(other, _)| *other == server).map(|(_, value)| *value);
        values.push(value.unwrap_or_else(|| {
            let value = figure.value(&server).filter(|it| it.is_finite() && *it > 0.0);
            known.push((server, value));
            value
        }));
    }
    let logarithms: Vec<f64> = values.iter().flatten().map(|value| value.ln()).collect();
    let bounds = |of: fn(f64, f64) -> f64| logarithms.iter().copied().reduce(of);
    let (Some(least), Some(most)) = (bounds(f64::min), bounds(f64::max)) else {
        return Err(refused.unwrap_or_else(|| {
            let metric = &grid.objective.metric;
            format!("the simulator expects no configuration to give a value of {metric}")
        }));
    };
    if most - least < 1e-9 {
        return Err(
            "the simulator expects the same of every configuration: what the grid varies does \
             nothing in its cost model"
                .to_owned(),
        );
    }
    let by = format!(
        "the simulator of {} on {} x {} expects {} to {} as {} of {} of {} configurations",
        models.join(", "),
        gpus.count,
        gpus.kind.name,
        short(least.exp()),
        short(most.exp()),
        grid.objective.metric,
        logarithms.len(),
        values.len()
    );
    // Nothing is known of the others: neither good nor bad.
    let mean = logarithms.iter().sum::<f64>() / logarithms.len() as f64;
    let logarithm = |value: &Option<f64>| value.map_or(mean, f64::ln);
    Ok(Prediction::Made { by, logarithms: values.iter().map(logarithm).collect() })
}

/// A value in about three digits.
fn short(value: f64) -> String {
    let digits = (2.0 - value.abs().log10().floor()).clamp(0.0, 6.0) as usize;
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests;
