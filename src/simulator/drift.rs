//! A machine whose speed moves, as a function of its own time: a random walk, a step,
//! or jumps between two speeds. Seeded: the same text, seed and time give the same
//! speed, whichever launch asks for it. Prefill and decode are scaled alike.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::noise::normal;
use super::text::mix;
use crate::flags::nearest_word;

/// Seconds between two points of a walk without a correlation time.
const STRIDE: f64 = 10.0;
/// Points of a walk in one correlation time; between them it is a line.
const POINTS: f64 = 32.0;
/// The machine's randomness is not that of the launches.
const STREAM: u64 = 0x006d_6163_6869_6e65;

/// How a machine's speed moves.
#[derive(Clone, Debug, PartialEq)]
pub struct Drift {
    text: String,
    course: Course,
    seed: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Course {
    /// Log speed with this stationary SD and correlation time, seconds.
    Returning { sd: f64, tau: f64 },
    /// Log speed whose change in an hour has this SD.
    Walk { d: f64 },
    /// The speed is multiplied by `factor` at this second.
    Step { factor: f64, at: f64 },
    /// The speed is 1 or `factor`, for `dwell` seconds each on average.
    TwoState { factor: f64, dwell: f64 },
}

/// What is wrong with a drift's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What.
    pub message: String,
    /// What may have been meant.
    pub help: Option<String>,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        self.help.as_ref().map_or(Ok(()), |help| write!(f, " ({help})"))
    }
}

/// The kinds of drift with their parts.
const KINDS: [(&str, &[&str]); 3] = [
    ("walk", &["sd", "tau", "d", "seed"]),
    ("step", &["factor", "at", "seed"]),
    ("two-state", &["factor", "dwell", "seed"]),
];

/// The forms of a drift's text, for help texts.
pub const FORMS: &str = "walk:sd=25%,tau=60m; walk:d=16%/h; step:factor=0.55,at=2h; \
                         two-state:factor=1.8,dwell=40m";

/// What the texts mean, for a help text.
pub const HELP: &str = "\
Forms of a drift (--sim-drift, and `drift` of a grid's simulated engine):
  walk:sd=25%,tau=60m           random, returns to 1: SD of the log speed, and the
                                time after which it is another one
  walk:d=16%/h                  random, does not return: SD of an hour's change
  step:factor=0.55,at=2h        the speed is multiplied once
  two-state:factor=1.8,dwell=40m  jumps between 1 and the factor, after random times
                                with this mean
Times are the machine's own (simulated) ones. Each may have seed=N besides.";

impl Drift {
    /// Reads `walk:sd=25%,tau=60m`, `walk:d=16%/h`, `step:factor=0.55,at=2h` or
    /// `two-state:factor=1.8,dwell=40m`; each may have `seed=N` besides.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Vec<Fault>> {
        let mut reader = Reader { parts: Vec::new(), faults: Vec::new() };
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        let kind = kind.trim();
        let Some((_, known)) = KINDS.iter().find(|(name, _)| *name == kind) else {
            let names = KINDS.map(|(name, _)| name);
            return Err(vec![Fault {
                message: format!("`{kind}` is no kind of drift"),
                help: Some(match nearest_word(kind, &names) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("write one of: {FORMS}"),
                }),
            }]);
        };
        reader.read(kind, rest, known);
        let course = reader.course(kind);
        let seed = reader.take("seed", "a whole number", |text| text.parse().ok());
        match course.filter(|_| reader.faults.is_empty()) {
            Some(course) => Ok(Self { text: text.to_owned(), course, seed }),
            None => Err(reader.faults),
        }
    }

    /// The text that it was read from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The seed of its course: its own, else that of the simulation.
    pub fn seed(&self, simulation: u64) -> u64 {
        self.seed.unwrap_or(simulation)
    }

    /// The same for one of several hosts, each of which has a course of its own.
    #[must_use]
    pub fn of_host(self, host: &str, simulation: u64) -> Self {
        let seed = host.bytes().fold(self.seed(simulation), |seed, byte| mix(seed, byte.into()));
        Self { seed: Some(seed), ..self }
    }

    /// The machine that moves so. `simulation` is the simulation's seed.
    pub fn machine(&self, simulation: u64) -> Machine {
        Machine::new(self.course, self.seed(simulation))
    }
}

/// Reads parts and collects what is wrong.
struct Reader<'a> {
    parts: Vec<(&'a str, &'a str)>,
    faults: Vec<Fault>,
}

impl<'a> Reader<'a> {
    fn fault(&mut self, message: String, help: Option<String>) {
        self.faults.push(Fault { message, help });
    }

    fn read(&mut self, kind: &str, text: &'a str, known: &[&str]) {
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let Some((name, value)) = part.split_once('=') else {
                self.fault(format!("`{part}` is not of the form NAME=VALUE"), None);
                continue;
            };
            let (name, value) = (name.trim(), value.trim());
            if !known.contains(&name) {
                let help = match nearest_word(name, known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("known: {}", known.join(", ")),
                };
                self.fault(format!("`{name}` is no part of the drift `{kind}`"), Some(help));
            } else if self.parts.iter().any(|(other, _)| *other == name) {
                self.fault(format!("`{name}` is given twice"), None);
            } else {
                self.parts.push((name, value));
            }
        }
    }

    fn has(&self, name: &str) -> bool {
        self.parts.iter().any(|(known, _)| *known == name)
    }

    /// The value of a part; a fault where it is not what it must be.
    fn take<T>(&mut self, name: &str, what: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let (_, text) = *self.parts.iter().find(|(known, _)| *known == name)?;
        let value = read(text);
        if value.is_none() {
            let help = decimal_comma(text, &self.faults);
            self.fault(format!("`{name}` must be {what}, not `{text}`"), help);
        }
        value
    }

    /// The same of a part that must be there.
    fn need<T>(&mut self, name: &str, what: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        if !self.has(name) {
            self.fault(format!("`{name}` is missing: {what}"), None);
        }
        self.take(name, what, read)
    }

    fn course(&mut self, kind: &str) -> Option<Course> {
        let spread = "a share above 0 and up to 200%, for example 25%";
        let time = "a duration of 10 s or more, for example 60m";
        let factor = "a factor from 0.01 to 100 other than 1, for example 0.55";
        let long = |text: &str| seconds(text).filter(|seconds| *seconds >= 10.0);
        match kind {
            "walk" if self.has("d") => {
                for other in ["sd", "tau"].into_iter().filter(|it| self.has(it)).collect::<Vec<_>>()
                {
                    let help = "`d` is a walk that does not return, `sd` and `tau` one that does";
                    self.fault(format!("`d` and `{other}` are both given"), Some(help.to_owned()));
                }
                let hourly = |text: &str| share(text.strip_suffix("/h").unwrap_or(text));
                let d = self.take("d", "the SD of an hour's change, for example 16%/h", hourly);
                Some(Course::Walk { d: d? })
            }
            "walk" => {
                let (sd, tau) = (self.need("sd", spread, share), self.need("tau", time, long));
                Some(Course::Returning { sd: sd?, tau: tau? })
            }
            "step" => {
                let factor = self.need("factor", factor, speed_factor);
                let at = self.need("at", "a duration, for example 2h", seconds);
                Some(Course::Step { factor: factor?, at: at? })
            }
            _ => {
                let factor = self.need("factor", factor, speed_factor);
                let dwell = self.need("dwell", time, long);
                Some(Course::TwoState { factor: factor?, dwell: dwell? })
            }
        }
    }
}

/// `sd=0,25` is read as two parts: the second is no part.
fn decimal_comma(text: &str, faults: &[Fault]) -> Option<String> {
    let digits = |fault: &&Fault| fault.message[1..].starts_with(|it: char| it.is_ascii_digit());
    let found = faults.iter().any(|fault| digits(&fault));
    (text == "0" && found).then(|| "numbers have a decimal point, not a comma".to_owned())
}

/// `25%` or `0.25`, above 0 and up to 2.
fn share(text: &str) -> Option<f64> {
    let value = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().ok()? / 100.0,
        None => text.parse().ok()?,
    };
    (value > 0.0 && value <= 2.0).then_some(value)
}

fn speed_factor(text: &str) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    let differs = (value - 1.0).abs() > f64::EPSILON;
    ((0.01..=100.0).contains(&value) && differs).then_some(value)
}

/// A duration in days, hours, minutes and seconds: `90m`, `1h30m`, `0.5h`.
fn seconds(text: &str) -> Option<f64> {
    let (mut rest, mut sum) = (text.trim(), 0.0);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|it: char| !(it.is_ascii_digit() || it == '.'))?;
        let number: f64 = rest[..end].parse().ok()?;
        let unit = rest[end..].chars().next()?;
        sum += number
            * match unit {
                's' => 1.0,
                'm' => 60.0,
                'h' => 3600.0,
                'd' => 86_400.0,
                _ => return None,
            };
        rest = rest[end + unit.len_utf8()..].trim_start();
    }
    Some(sum)
}

/// A machine's speed over its time. Asking forwards costs little; asking for an
/// earlier time starts again from its beginning.
#[derive(Debug)]
pub struct Machine {
    course: Course,
    seed: u64,
    random: ChaCha8Rng,
    /// The stretch of time that was last asked for: its number, ends and log speeds there.
    index: u64,
    from: (f64, f64),
    to: (f64, f64),
}

impl Machine {
    fn new(course: Course, seed: u64) -> Self {
        let random = ChaCha8Rng::seed_from_u64(mix(seed, STREAM));
        let mut machine = Self { course, seed, random, index: 0, from: (0.0, 0.0), to: (0.0, 0.0) };
        machine.begin();
        machine
    }

    /// Its speed so many seconds after its beginning; 1 is as without drift.
    pub fn speed(&mut self, seconds: f64) -> f64 {
        let seconds = seconds.max(0.0);
        match self.course {
            Course::Step { factor, at } => return if seconds < at { 1.0 } else { factor },
            _ if seconds < self.from.0 => *self = Self::new(self.course, self.seed),
            _ => {}
        }
        while seconds >= self.to.0 {
            self.advance();
        }
        let ((start, low), (end, high)) = (self.from, self.to);
        match self.course {
            Course::TwoState { .. } => low.exp(),
            _ => (low + (high - low) * (seconds - start) / (end - start)).exp(),
        }
    }

    fn begin(&mut self) {
        self.to.1 = match self.course {
            Course::Returning { sd, .. } => sd * normal(&mut self.random),
            // Either speed is as likely at the beginning.
            Course::TwoState { factor, .. } if self.random.random::<bool>() => factor.ln(),
            _ => 0.0,
        };
        self.advance();
    }

    fn advance(&mut self) {
        self.from = self.to;
        self.index += 1;
        let (time, level) = self.to;
        self.to = match self.course {
            Course::Returning { sd, tau } => {
                let stride = tau / POINTS;
                let kept = (-stride / tau).exp();
                let spread = sd * (1.0 - kept * kept).sqrt();
                // Not added up: an index has no rounding errors.
                (self.index as f64 * stride, level * kept + spread * normal(&mut self.random))
            }
            Course::Walk { d } => {
                let spread = d * (STRIDE / 3600.0).sqrt();
                (self.index as f64 * STRIDE, level + spread * normal(&mut self.random))
            }
            Course::TwoState { factor, dwell } => {
                let length = -dwell * (1.0 - self.random.random::<f64>()).ln();
                // The level from `from` on; that after `to` is the other one.
                (time + length, if level == 0.0 { factor.ln() } else { 0.0 })
            }
            Course::Step { .. } => (f64::INFINITY, 0.0),
        };
    }
}

#[cfg(test)]
#[path = "drift_tests.rs"]
mod tests;
