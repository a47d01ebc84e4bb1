//! Production's life as the journal holds it: each step, and what the steps so
//! far leave to be done. Nothing is done to the container here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::secret::is_secret;

/// A container that is stopped before production and started after it, such as a watchdog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Companion {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

impl Companion {
    /// The names of some, for a message.
    pub fn names(companions: &[Self]) -> String {
        companions.iter().map(|it| it.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// What is known of production's container. No secret is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductionFacts {
    /// The container's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its image's id.
    pub image_id: String,
    /// When it was started last, RFC 3339.
    pub started_at: String,
    /// SHA-256 of its entrypoint and command; empty where it is not known.
    #[serde(default)]
    pub command_sha256: String,
    /// SHA-256 of its whole configuration, in hexadecimal digits; another order makes another.
    pub configuration_sha256: String,
    /// What it is made of, part by part: a hash of each, without regard to order. Empty where
    /// an older version wrote it: the whole is compared then.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<String, String>,
    /// Whether it runs.
    pub running: bool,
    /// Companions that ran, and are stopped with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paused: Vec<Companion>,
}

impl ProductionFacts {
    /// In what `now` is not as this was, each as words.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let differs = |was: &str, is: &str| !was.is_empty() && !is.is_empty() && was != is;
        let mut differences = Vec::new();
        if differs(&self.image_id, &now.image_id) {
            let (was, is) = (short_image(&self.image_id), short_image(&now.image_id));
            differences.push(format!("another image ({was}, now {is})"));
        }
        if differs(&self.command_sha256, &now.command_sha256) {
            differences.push("another command".to_owned());
        }
        if self.parts.is_empty() || now.parts.is_empty() {
            // The whole has both of them, too.
            let is_other = differs(&self.configuration_sha256, &now.configuration_sha256);
            if differences.is_empty() && is_other {
                differences.push("other options (environment, mounts, ports, limits)".to_owned());
            }
            return differences;
        }
        let is_said = |part: &str| ["image", "command", "entrypoint"].contains(&part);
        let other: Vec<&str> = changed_parts(&self.parts, &now.parts)
            .map(|(part, _)| part)
            .filter(|part| !is_said(part))
            .collect();
        if !other.is_empty() {
            differences.push(format!("other options ({})", other.join(", ")));
        }
        differences
    }

    /// What a sweep is compared by later.
    pub fn configured(&self) -> Configured {
        Configured { sha256: self.configuration_sha256.clone(), parts: self.parts.clone() }
    }
}

/// The configuration of production's container, as two of them are compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configured {
    /// SHA-256 of the whole, in the daemon's order.
    pub sha256: String,
    /// A hash of each part; empty where an older version noted it.
    pub parts: BTreeMap<String, String>,
}

impl Configured {
    /// Each part that is not as it was; none where only the whole is known. `None` where
    /// nothing differs.
    pub fn difference(&self, now: &Self) -> Option<Vec<String>> {
        if self.parts.is_empty() || now.parts.is_empty() {
            return (self.sha256 != now.sha256).then(Vec::new);
        }
        let parts = changed_parts(&self.parts, &now.parts);
        let parts: Vec<String> = parts.map(|(part, what)| format!("{part} ({what})")).collect();
        (!parts.is_empty()).then_some(parts)
    }
}

/// Each part that is not as it was, and what became of it.
pub fn changed_parts<'a>(
    before: &'a BTreeMap<String, String>,
    now: &'a BTreeMap<String, String>,
) -> impl Iterator<Item = (&'a str, &'static str)> {
    // Older versions noted a variable that is called TOKEN or KEY and no more.
    let is_kept = |part: &&String| !part.split_once(": ").is_some_and(|(_, it)| is_secret(it));
    let names: BTreeSet<&String> = before.keys().chain(now.keys()).filter(is_kept).collect();
    names.into_iter().filter_map(|part| {
        let what = match (before.get(part), now.get(part)) {
            (Some(before), Some(now)) if before == now => return None,
            (Some(_), Some(_)) => "it has another value",
            (Some(_), None) => "it was removed",
            (None, _) => "it was added",
        };
        Some((part.as_str(), what))
    })
}

fn short_image(id: &str) -> String {
    id.trim_start_matches("sha256:").chars().take(12).collect()
}

/// Another container serves production than before the sweep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaced {
    /// The container that was stopped, and is no more.
    pub removed: String,
    /// The one in its place.
    pub id: String,
    /// Whether somebody made it; otherwise it was made from its compose file, since somebody
    /// had removed the other one.
    pub by_somebody: bool,
    /// In what it is not as the other was.
    pub differences: Vec<String>,
}

impl fmt::Display for Replaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |id: &str| id.chars().take(12).collect::<String>();
        let (removed, id) = (short(&self.removed), short(&self.id));
        if self.by_somebody {
            write!(f, "production was replaced by somebody during the sweep: {removed} -> {id}")?;
        } else {
            write!(
                f,
                "production was removed by somebody during the sweep, and made again from its \
                 compose file: {removed} -> {id}"
            )?;
        }
        match self.differences.as_slice() {
            [] => write!(f, ", of the same image and command"),
            all => write!(f, ", with {}", all.join(", ")),
        }
    }
}

/// A step in production's life, as the journal holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum ProductionStep {
    /// It ran, and is about to be stopped.
    Stopping {
        /// What it was.
        #[serde(flatten)]
        facts: ProductionFacts,
    },
    /// It did not run when the sweep began, and is not started.
    NotRunning,
    /// It is stopped.
    Stopped {
        /// Its id.
        id: String,
    },
    /// Somebody else started it in mid-sweep: the sweep stops, and what it had stopped is proven.
    StartedBySomebody {
        /// The id that runs.
        id: String,
    },
    /// Somebody removed it; it was made again from its compose file.
    MadeAgain {
        /// The removed id.
        removed: String,
        /// The new id.
        id: String,
        /// In what it is not as the removed one was.
        #[serde(default)]
        differences: Vec<String>,
    },
    /// Somebody removed it, and made another one of its name.
    Replaced {
        /// The removed id.
        removed: String,
        /// The id in its place.
        id: String,
        /// In what it is not as the removed one was.
        differences: Vec<String>,
    },
    /// It is started, and did not answer a completion yet.
    StartedNotProven {
        /// Its id.
        id: String,
    },
    /// It answered a completion.
    Proven {
        /// Its id.
        id: String,
    },
    /// A step of a newer version: what was pending stays so.
    #[serde(other)]
    Unknown,
}

impl ProductionStep {
    /// The container in place of another one, where the step is of that.
    pub fn replaced(&self) -> Option<Replaced> {
        let (removed, id, differences, by_somebody) = match self {
            Self::MadeAgain { removed, id, differences } => (removed, id, differences, false),
            Self::Replaced { removed, id, differences } => (removed, id, differences, true),
            _ => return None,
        };
        let (removed, id) = (removed.clone(), id.clone());
        Some(Replaced { removed, id, by_somebody, differences: differences.clone() })
    }
}

/// What earlier steps leave to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PendingRestore {
    /// Nothing: never stopped, or started and proven.
    Nothing,
    /// It was stopped, or was about to be.
    Start(String),
    /// It was started; whether it answers is not known.
    Proof(String),
}

/// What `steps`, in the journal's order, leave to be done.
pub fn pending_restore(steps: &[ProductionStep]) -> PendingRestore {
    steps.iter().fold(PendingRestore::Nothing, |pending, step| match step {
        ProductionStep::Stopping { facts } => PendingRestore::Start(facts.id.clone()),
        ProductionStep::Stopped { id } => PendingRestore::Start(id.clone()),
        ProductionStep::MadeAgain { id, .. }
        | ProductionStep::Replaced { id, .. }
        | ProductionStep::StartedNotProven { id } => PendingRestore::Proof(id.clone()),
        // Beside a candidate it may end again. What was never stopped stays nobody's debt.
        ProductionStep::StartedBySomebody { id } => match pending {
            PendingRestore::Nothing => PendingRestore::Nothing,
            _ => PendingRestore::Proof(id.clone()),
        },
        ProductionStep::NotRunning | ProductionStep::Proven { .. } => PendingRestore::Nothing,
        ProductionStep::Unknown => pending,
    })
}

/// Production that the journal shows stopped, and not proven since: it may run, and nobody
/// looked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unproven {
    /// Its container's id.
    pub id: String,
    /// Its name; the id where none is known.
    pub name: String,
    /// When it was stopped.
    pub stopped_at: Timestamp,
    /// Whether it was started again since.
    pub started: bool,
}

impl Unproven {
    /// What a step at this time makes of what the steps before it left.
    pub fn after(known: Option<Self>, step: &ProductionStep, at: Timestamp) -> Option<Self> {
        let of = |id: &str, known: Option<Self>| match known {
            Some(known) => Self { id: id.to_owned(), ..known },
            None => Self { id: id.to_owned(), name: id.to_owned(), stopped_at: at, started: false },
        };
        match step {
            ProductionStep::Stopping { facts } => Some(Self {
                id: facts.id.clone(),
                name: facts.name.clone(),
                stopped_at: at,
                started: false,
            }),
            ProductionStep::Stopped { id } => {
                let ended = known.as_ref().is_some_and(|it| it.started);
                let known = of(id, known);
                let stopped_at = if ended { at } else { known.stopped_at };
                Some(Self { stopped_at, started: false, ..known })
            }
            ProductionStep::MadeAgain { id, .. }
            | ProductionStep::Replaced { id, .. }
            | ProductionStep::StartedNotProven { id } => {
                Some(Self { started: true, ..of(id, known) })
            }
            ProductionStep::StartedBySomebody { id } => {
                known.map(|known| Self { id: id.clone(), started: true, ..known })
            }
            ProductionStep::NotRunning | ProductionStep::Proven { .. } => None,
            ProductionStep::Unknown => known,
        }
    }

    /// Who it is: the name and the beginning of the id, as `docker ps` shows it.
    pub fn who(&self) -> String {
        Down { id: self.id.clone(), name: self.name.clone() }.who()
    }
}

/// How an owed production is now, as its engine tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Now {
    /// It runs, and stays so.
    Runs,
    /// It does not run, or restarts again and again.
    Stopped,
    /// There is no such container any more.
    Missing,
    /// The engine gives no answer: why.
    Unknown(String),
}

/// A container that serves production and is down because of us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Down {
    /// Its id.
    pub id: String,
    /// Its name; the id where none is known.
    pub name: String,
}

impl Down {
    /// What `steps`, in the journal's order, leave to be started or proven, with its name.
    pub fn of(steps: &[ProductionStep]) -> Option<Self> {
        let id = match pending_restore(steps) {
            PendingRestore::Start(id) | PendingRestore::Proof(id) => id,
            PendingRestore::Nothing => return None,
        };
        let name = steps.iter().rev().find_map(|step| match step {
            ProductionStep::Stopping { facts } => Some(facts.name.clone()),
            _ => None,
        });
        Some(Self { name: name.unwrap_or_else(|| id.clone()), id })
    }

    /// Who it is: the name and the beginning of the id, as `docker ps` shows it.
    pub fn who(&self) -> String {
        let short: String = self.id.chars().take(12).collect();
        format!("container {} ({short})", self.name)
    }

    /// The message while it is down: who it is, why, and what starts it again. `recover` is
    /// the run's folder, where it is known.
    pub fn message(&self, why: Option<&str>, recover: Option<&Path>) -> String {
        let why = why.map(|why| format!(" is not started: {why}")).unwrap_or_default();
        self.sentence(&why, &recover_command(recover), true)
    }

    /// The message of what a journal shows stopped, with how it is now. Only what was seen not
    /// to run, or could not be asked, is called down.
    pub fn message_now(&self, now: &Now, recover: Option<&Path>) -> String {
        let command = recover_command(recover);
        match now {
            Now::Runs => format!(
                "production runs again ({}, started by somebody else); not proven since: `{command}`",
                self.who()
            ),
            Now::Stopped => self.sentence("", &command, true),
            Now::Missing => self.sentence(" is not there any more", &command, false),
            Now::Unknown(why) => {
                let why = format!(", by the journal; whether it runs now is not known: {why}");
                self.sentence(&why, &command, true)
            }
        }
    }

    /// The message of what was started, and not proven: it may run.
    pub fn message_started(&self, recover: &Path) -> String {
        let command = recover_command(Some(recover));
        format!("production ({}) was started and is not proven: `{command}`", self.who())
    }

    fn sentence(&self, what: &str, command: &str, by_hand: bool) -> String {
        let start = format!("docker start {}", shell_words::quote(&self.name));
        let by_hand = if by_hand { format!(", or by hand: `{start}`") } else { String::new() };
        format!("PRODUCTION IS DOWN: {}{what}; start it: `{command}`{by_hand}", self.who())
    }
}

/// The command that starts and proves what the run in a folder stopped.
fn recover_command(folder: Option<&Path>) -> String {
    let folder = folder.map(|folder| {
        let folder = folder.display().to_string();
        format!(" {}", shell_words::quote(&crate::clean::plain(&folder)))
    });
    format!("vllm-grid recover{}", folder.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stopped_is_not_proven_until_it_is_or_somebody_has_it() {
        let id = || "c1".to_owned();
        let facts = ProductionFacts {
            id: id(),
            name: "shop".to_owned(),
            running: true,
            ..ProductionFacts::default()
        };
        let steps = [
            (ProductionStep::NotRunning, None),
            (ProductionStep::StartedBySomebody { id: id() }, None),
            (ProductionStep::Stopping { facts }, Some((2, false))),
            (ProductionStep::Stopped { id: id() }, Some((2, false))),
            (ProductionStep::StartedNotProven { id: id() }, Some((2, true))),
            (ProductionStep::Unknown, Some((2, true))),
            // It ended before it was proven.
            (ProductionStep::Stopped { id: id() }, Some((6, false))),
            (ProductionStep::StartedBySomebody { id: id() }, Some((6, true))),
            (ProductionStep::StartedNotProven { id: id() }, Some((6, true))),
            (ProductionStep::Proven { id: id() }, None),
        ];
        let mut known = None;
        for (at, (step, expected)) in (0..).zip(steps) {
            let at = Timestamp::from_second(at).unwrap();
            known = Unproven::after(known, &step, at);
            let found = known.as_ref().map(|it| (it.stopped_at.as_second(), it.started));
            assert_eq!(found, expected, "{step:?}");
            assert!(known.iter().all(|it| it.name == "shop"));
        }
        let alone = ProductionStep::StartedNotProven { id: id() };
        let found = Unproven::after(None, &alone, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!((found.name, found.started), (id(), true));
    }

    #[test]
    fn parts_are_compared_where_both_have_them_and_else_the_whole() {
        let of = |whole: &str, parts: &[(&str, &str)]| ProductionFacts {
            configuration_sha256: whole.to_owned(),
            parts: parts.iter().map(|(name, it)| ((*name).to_owned(), (*it).to_owned())).collect(),
            ..ProductionFacts::default()
        };
        let before = of("1", &[("environment: A", "1"), ("mount: /m", "1"), ("command", "1")]);
        let turned = ProductionFacts { configuration_sha256: "2".to_owned(), ..before.clone() };
        assert_eq!(before.differences(&turned), [""; 0], "in another order");
        assert_eq!(before.configured().difference(&turned.configured()), None);
        let now = of("1", &[("environment: A", "2"), ("port: 1/tcp", "1"), ("command", "2")]);
        assert_eq!(
            before.differences(&now),
            ["other options (environment: A, mount: /m, port: 1/tcp)"]
        );
        assert_eq!(
            before.configured().difference(&now.configured()),
            Some(vec![
                "command (it has another value)".to_owned(),
                "environment: A (it has another value)".to_owned(),
                "mount: /m (it was removed)".to_owned(),
                "port: 1/tcp (it was added)".to_owned(),
            ])
        );
        let noted = [("environment: TOKEN", "1"), ("mount: /m", "1")];
        let (noted, now_so) = (of("1", &noted), of("2", &[("mount: /m", "1")]));
        assert_eq!(noted.configured().difference(&now_so.configured()), None, "a secret");
        // As an older version wrote it.
        let older = of("1", &[]);
        assert_eq!(older.configured().difference(&now.configured()), None, "the same whole");
        assert_eq!(older.configured().difference(&turned.configured()), Some(Vec::new()));
        assert_eq!(
            older.differences(&turned),
            ["other options (environment, mounts, ports, limits)"]
        );
    }

    #[test]
    fn only_what_was_seen_to_run_is_not_called_down() {
        let down = Down { id: "0123456789abcdef".to_owned(), name: "shop".to_owned() };
        let said = |now| down.message_now(&now, Some(Path::new("my run")));
        assert_eq!(
            said(Now::Runs),
            "production runs again (container shop (0123456789ab), started by somebody else); not \
             proven since: `vllm-grid recover 'my run'`"
        );
        assert_eq!(said(Now::Stopped), down.message(None, Some(Path::new("my run"))));
        let unknown = said(Now::Unknown("no answer".to_owned()));
        assert!(unknown.starts_with("PRODUCTION IS DOWN: "), "{unknown}");
        assert!(unknown.contains("whether it runs now is not known: no answer"), "{unknown}");
        // What is not there cannot be started by hand.
        assert!(!said(Now::Missing).contains("docker start"));
    }
}
