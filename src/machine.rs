//! The machine that figures were measured on, as data: GPUs, driver, processor, memory,
//! kernel. What is not known is `None`, and a machine without GPUs has an empty list: neither
//! is a zero. How it is read is in `telemetry`; what a difference between two means for a
//! sweep is decided there.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A machine, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    /// The operating system's name and version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
    /// The kernel's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Whether it is a Linux of Windows (WSL).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wsl: Option<bool>,
    /// The processor's architecture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// The processor's model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Its logical cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cores: Option<u32>,
    /// RAM in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u64>,
    /// Its GPUs by index; empty where it has none, `None` where that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpus: Option<Vec<Gpu>>,
    /// Version of the GPUs' driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Newest CUDA version that the driver offers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cuda: Option<String>,
    /// What runs containers, with its version, where the engine uses it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_runtime: Option<String>,
}

/// One GPU.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gpu {
    /// Its index, as the driver has it.
    pub index: u32,
    /// Its model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Its memory in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u64>,
    /// Power that it may draw, in watts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power_limit_w: Option<f64>,
    /// Its CUDA compute capability, as `8.9`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compute_capability: Option<String>,
}

/// One thing that is known of a machine, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What it is.
    pub what: &'static str,
    /// Its value; `None` where it is not known.
    pub value: Option<String>,
    /// Whether figures of two machines that differ in it do not mix.
    pub decides: bool,
}

/// Something in which two machines differ, or one machine at two times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineDifference {
    /// What it is.
    pub what: &'static str,
    /// Its first value; `None` where it is not known.
    pub before: Option<String>,
    /// Its second value.
    pub now: Option<String>,
    /// Whether figures of both do not mix: both values are known, and the thing matters.
    pub decides: bool,
}

impl fmt::Display for MachineDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "not known".to_owned());
        write!(f, "{}: {} -> {}", self.what, text(&self.before), text(&self.now))
    }
}

impl Machine {
    /// Everything that is compared, each as one text, always in the same order.
    pub fn facts(&self) -> Vec<Fact> {
        let decides = |what, value: Option<String>| Fact { what, value, decides: true };
        let yes = |it: bool| if it { "yes" } else { "no" }.to_owned();
        // Whole GiB: a kernel keeps a little more or less for itself.
        let ram = |mib: u64| format!("{} GiB", (mib + 512) / 1024);
        vec![
            decides("GPU", self.gpus(Gpu::identity)),
            decides("GPU memory", self.gpus(|gpu| mib(gpu.memory_mib))),
            decides("power limit", self.gpus(Gpu::power_limit)),
            decides("compute capability", self.gpus(|gpu| gpu.compute_capability.clone())),
            decides("driver", self.driver.clone()),
            decides("CUDA version", self.cuda.clone()),
            decides("CPU", self.cpu.clone()),
            decides("CPU cores", self.cores.map(|cores| cores.to_string())),
            decides("architecture", self.architecture.clone()),
            decides("RAM", self.memory_mib.map(ram)),
            decides("operating system", self.os.clone()),
            decides("kernel", self.kernel.clone()),
            decides("WSL", self.wsl.map(yes)),
            Fact {
                what: "container runtime",
                value: self.container_runtime.clone(),
                decides: false,
            },
        ]
    }

    /// What is true of each GPU, by index; `None` where that is known of none.
    fn gpus(&self, read: impl Fn(&Gpu) -> Option<String>) -> Option<String> {
        let gpus = self.gpus.as_ref()?;
        if gpus.is_empty() {
            return Some("none".to_owned());
        }
        let all: Vec<Option<String>> = gpus.iter().map(read).collect();
        let text = |it: Option<String>| it.unwrap_or_else(|| "not known".to_owned());
        let known = all.iter().any(Option::is_some);
        known.then(|| all.into_iter().map(text).collect::<Vec<_>>().join(", "))
    }

    /// The same with these of its GPUs alone.
    #[must_use]
    pub fn with_gpus(self, is_given: impl Fn(&Gpu) -> bool) -> Self {
        let gpus = self.gpus.map(|all| all.into_iter().filter(|it| is_given(it)).collect());
        Self { gpus, ..self }
    }

    /// In what this machine and another node differ so that figures of both are not pooled:
    /// kinds of GPU, whichever they are, and what drives them. All else is a node's own level.
    pub fn apart(&self, node: &Self) -> Vec<MachineDifference> {
        let kinds = |machine: &Self| {
            let of = |gpu: &Gpu| Gpu { uuid: None, index: 0, ..gpu.clone() };
            let gpus = machine.gpus.as_ref().map(|all| all.iter().map(of).collect());
            Self {
                gpus,
                driver: machine.driver.clone(),
                cuda: machine.cuda.clone(),
                ..Self::default()
            }
        };
        let all = kinds(self).differences(&kinds(node));
        all.into_iter().filter(|it| it.decides).collect()
    }

    /// Everything in which this machine and what it is `now` differ.
    pub fn differences(&self, now: &Self) -> Vec<MachineDifference> {
        let pairs = self.facts().into_iter().zip(now.facts());
        pairs
            .filter(|(before, now)| before.value != now.value)
            .map(|(before, now)| MachineDifference {
                what: before.what,
                decides: before.decides && before.value.is_some() && now.value.is_some(),
                before: before.value,
                now: now.value,
            })
            .collect()
    }
}

impl Gpu {
    /// `NVIDIA H100 (GPU-5a77...)`.
    fn identity(&self) -> Option<String> {
        match (&self.name, &self.uuid) {
            (Some(name), Some(uuid)) => Some(format!("{name} ({uuid})")),
            (name, uuid) => name.clone().or_else(|| uuid.clone()),
        }
    }

    fn power_limit(&self) -> Option<String> {
        self.power_limit_w.map(|watts| format!("{watts:.0} W"))
    }
}

fn mib(mib: Option<u64>) -> Option<String> {
    mib.map(|mib| format!("{mib} MiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine of which everything is known.
    fn machine() -> Machine {
        let gpu = |index: u32| Gpu {
            index,
            name: Some("NVIDIA H100".to_owned()),
            uuid: Some(format!("GPU-{index}")),
            memory_mib: Some(81_559),
            power_limit_w: Some(700.0),
            compute_capability: Some("9.0".to_owned()),
        };
        Machine {
            os: Some("Debian 12".to_owned()),
            kernel: Some("6.1.0-26".to_owned()),
            wsl: Some(false),
            architecture: Some("x86_64".to_owned()),
            cpu: Some("EPYC".to_owned()),
            cores: Some(16),
            memory_mib: Some(128_000),
            gpus: Some(vec![gpu(0), gpu(1)]),
            driver: Some("550.54.15".to_owned()),
            cuda: Some("12.4".to_owned()),
            container_runtime: Some("Docker 26.1.3".to_owned()),
        }
    }

    #[test]
    fn each_thing_that_is_recorded_is_a_difference_of_its_own() {
        type Change = fn(&mut Machine);
        let changes: [(&str, Change); 14] = [
            ("GPU", |it| it.gpus.as_mut().unwrap()[1].uuid = Some("GPU-7".to_owned())),
            ("GPU memory", |it| it.gpus.as_mut().unwrap()[0].memory_mib = Some(40_000)),
            ("power limit", |it| it.gpus.as_mut().unwrap()[1].power_limit_w = Some(350.0)),
            ("compute capability", |it| {
                it.gpus.as_mut().unwrap()[0].compute_capability = Some("8.0".to_owned());
            }),
            ("driver", |it| it.driver = Some("560.28.03".to_owned())),
            ("CUDA version", |it| it.cuda = Some("12.6".to_owned())),
            ("CPU", |it| it.cpu = Some("Xeon".to_owned())),
            ("CPU cores", |it| it.cores = Some(8)),
            ("architecture", |it| it.architecture = Some("aarch64".to_owned())),
            ("RAM", |it| it.memory_mib = Some(64_000)),
            ("operating system", |it| it.os = Some("Debian 13".to_owned())),
            ("kernel", |it| it.kernel = Some("6.8.0-45".to_owned())),
            ("WSL", |it| it.wsl = Some(true)),
            ("container runtime", |it| it.container_runtime = Some("Docker 27.0.1".to_owned())),
        ];
        assert_eq!(machine().facts().len(), changes.len());
        for (what, change) in changes {
            let mut now = machine();
            change(&mut now);
            let found = machine().differences(&now);
            let names: Vec<&str> = found.iter().map(|it| it.what).collect();
            assert_eq!(names, [what]);
            assert_eq!(found[0].decides, what != "container runtime", "{what}");
        }
        assert!(machine().differences(&machine()).is_empty());
    }

    #[test]
    fn another_set_of_gpus_decides_and_one_that_is_not_known_does_not() {
        let mut less = machine();
        less.gpus.as_mut().unwrap().pop();
        let found = machine().differences(&less);
        assert_eq!(
            found[0].to_string(),
            "GPU: NVIDIA H100 (GPU-0), NVIDIA H100 (GPU-1) -> NVIDIA H100 (GPU-0)"
        );
        let none = Machine { gpus: Some(Vec::new()), ..machine() };
        assert!(machine().differences(&none).iter().all(|it| it.decides), "they are gone");
        let unknown = Machine { gpus: None, ..machine() };
        let found = machine().differences(&unknown);
        assert!(!found.is_empty() && found.iter().all(|it| !it.decides), "{found:?}");
        assert!(found[0].to_string().ends_with("-> not known"), "{}", found[0]);
    }

    #[test]
    fn nodes_are_apart_by_their_gpus_kind_and_driver_and_by_nothing_else() {
        let mut node = machine();
        for gpu in node.gpus.as_mut().unwrap() {
            gpu.uuid = Some(format!("GPU-of-another-{}", gpu.index));
            gpu.index += 4;
        }
        (node.kernel, node.cores) = (Some("6.8".to_owned()), Some(64));
        assert_eq!(machine().apart(&node), []);
        let what = |node: &Machine| {
            machine().apart(node).into_iter().map(|it| it.what).collect::<Vec<_>>()
        };
        node.driver = Some("560.28.03".to_owned());
        node.gpus.as_mut().unwrap()[1].name = Some("NVIDIA A100".to_owned());
        assert_eq!(what(&node), ["GPU", "driver"]);
        let half = machine().with_gpus(|gpu| gpu.index == 1);
        assert_eq!(half.gpus.as_ref().map(Vec::len), Some(1));
        assert!(what(&half).contains(&"GPU"), "another number of them");
    }

    #[test]
    fn what_is_not_known_is_absent_from_the_file_and_no_gpu_is_an_empty_list() {
        let json = serde_json::to_value(Machine::default()).unwrap();
        assert_eq!(json, serde_json::json!({}));
        let none = Machine { gpus: Some(Vec::new()), ..Machine::default() };
        let json = serde_json::to_value(&none).unwrap();
        assert_eq!(json, serde_json::json!({"gpus": []}));
        assert_eq!(serde_json::from_value::<Machine>(json).unwrap(), none);
    }
}
