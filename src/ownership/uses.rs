//! What a run's candidates use of the machine, so that two runs that would be in each
//! other's way are told apart from two that are not.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What candidates use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Uses {
    /// Nothing that another run could want: a simulated engine.
    #[default]
    Nothing,
    /// No GPU, but the machine's CPU.
    Cpu,
    /// Every GPU, or GPUs that cannot be told apart.
    AllGpus,
    /// These GPUs: each by its UUID, or by its index where no UUID can be read.
    Gpus(BTreeSet<String>),
}

impl Uses {
    /// GPUs by their canonical names; none at all means the CPU.
    pub fn gpus(names: impl IntoIterator<Item = String>) -> Self {
        let names: BTreeSet<String> = names.into_iter().collect();
        if names.is_empty() { Self::Cpu } else { Self::Gpus(names) }
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::AllGpus, _) | (_, Self::AllGpus) => Self::AllGpus,
            (Self::Gpus(mut one), Self::Gpus(other)) => {
                one.extend(other);
                Self::Gpus(one)
            }
            (gpus @ Self::Gpus(_), _) | (_, gpus @ Self::Gpus(_)) => gpus,
            (Self::Cpu, _) | (_, Self::Cpu) => Self::Cpu,
            (Self::Nothing, Self::Nothing) => Self::Nothing,
        }
    }

    /// Whether two runs would be in each other's way.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Cpu, Self::Cpu) => true,
            (Self::Nothing | Self::Cpu, _) | (_, Self::Nothing | Self::Cpu) => false,
            (Self::Gpus(one), Self::Gpus(other)) => {
                // An index and a UUID may be one GPU: it was named while no driver could be asked.
                let mixed = Names::of(one).may_be_of(Names::of(other));
                mixed || !one.is_disjoint(other)
            }
            (Self::AllGpus, _) | (_, Self::AllGpus) => true,
        }
    }
}

/// How GPUs are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// By UUIDs.
    Uuids,
    /// By indices: no driver could be asked.
    Indices,
    /// By both.
    Both,
}

impl Names {
    pub(super) fn of(names: &BTreeSet<String>) -> Self {
        let uuids = names.iter().filter(|name| name.starts_with("GPU-")).count();
        match uuids {
            0 => Self::Indices,
            all if all == names.len() => Self::Uuids,
            _ => Self::Both,
        }
    }

    /// Whether an index of one may be a UUID of the other.
    fn may_be_of(self, other: Self) -> bool {
        self == Self::Both || self != other
    }
}

impl fmt::Display for Uses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Cpu => f.write_str("cpu"),
            Self::AllGpus => f.write_str("all"),
            Self::Gpus(names) => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                f.write_str(&names.join(","))
            }
        }
    }
}

impl From<Uses> for String {
    fn from(uses: Uses) -> Self {
        uses.to_string()
    }
}

impl From<String> for Uses {
    fn from(text: String) -> Self {
        match text.as_str() {
            "nothing" => Self::Nothing,
            "cpu" => Self::Cpu,
            // What is not understood may be any.
            "all" | "" => Self::AllGpus,
            names => Self::Gpus(names.split(',').map(|name| name.trim().to_owned()).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Uses {
        Uses::from(text.to_owned())
    }

    #[test]
    fn sets_that_share_a_gpu_overlap() {
        for (one, other, overlaps) in [
            ("0,1", "1,2", true),
            ("0,1", "2", false),
            ("GPU-a", "GPU-a,GPU-b", true),
            ("GPU-a", "GPU-b", false),
            ("GPU-a", "0", true),
            ("0,GPU-a", "1,GPU-b", true),
            ("0,GPU-a", "GPU-b", true),
            ("all", "2", true),
            ("all", "all", true),
            ("cpu", "cpu", true),
            ("cpu", "all", false),
            ("nothing", "all", false),
            ("nothing", "cpu", false),
            ("", "GPU-a", true),
        ] {
            assert_eq!(of(one).overlaps(&of(other)), overlaps, "{one} and {other}");
            assert_eq!(of(other).overlaps(&of(one)), overlaps, "{other} and {one}");
        }
    }

    #[test]
    fn it_is_written_and_read_as_text() {
        for text in ["nothing", "cpu", "all", "0,1", "GPU-a"] {
            assert_eq!(of(text).to_string(), text);
        }
        assert_eq!(Uses::gpus([]), Uses::Cpu);
        assert_eq!(of("0").and(of("cpu")).and(of("2")), of("0,2"));
        assert_eq!(of("0").and(of("all")), of("all"));
    }
}
