//! One launch as the analysis takes it: where, when and what its kept repeats gave. What is
//! made of several launches is in `machine`.

/// One launch: the logarithms of its kept repeats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LaunchMean {
    /// Index of its configuration, from 0.
    pub configuration: usize,
    /// Index of its host, from 0.
    pub host: usize,
    /// Mean time of its kept repeats, in seconds from any start.
    pub time: f64,
    /// Mean of the logarithms.
    pub mean: f64,
    /// How many there are.
    pub repeats: u32,
    /// Their variance (n - 1); 0 where there is one.
    pub variance: f64,
}

impl LaunchMean {
    /// Of the logarithms of a launch's kept repeats, of which there is at least one, on the
    /// first host.
    pub fn of(configuration: usize, time: f64, logs: &[f64]) -> Self {
        let n = logs.len() as f64;
        let mean = logs.iter().sum::<f64>() / n;
        let squares: f64 = logs.iter().map(|log| (log - mean).powi(2)).sum();
        let variance = if logs.len() > 1 { squares / (n - 1.0) } else { 0.0 };
        Self { configuration, host: 0, time, mean, repeats: logs.len() as u32, variance }
    }

    /// The same on another host.
    #[must_use]
    pub fn on(self, host: usize) -> Self {
        Self { host, ..self }
    }
}
