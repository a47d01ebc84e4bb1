//! The place that a cluster gave to a job: the node, the job, and its GPUs. A server that is
//! started by a daemon outside of the job is kept on these GPUs; what a service or a
//! configuration asks for beyond them is refused. Pure, except that the driver is asked once.

use std::collections::BTreeMap;

use nvml_wrapper::Nvml;

use super::compose::{GpuRequest, ServiceSpec};
use super::docker::gpus::{CONTAINER, CUDA};
use super::haste::Haste;
use crate::ownership::OfJob;
use crate::server::GpuIds;

/// Where a job's launch is made.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// The node's name, as the cluster has it.
    pub node: String,
    /// The job; `None` where no scheduler started it.
    pub job: Option<OfJob>,
    /// The job's GPUs; `None` where no scheduler gave any: then all may be used.
    pub gpus: Option<Allocated>,
    /// How long a server may take to end.
    pub haste: Haste,
}

/// A GPU as the driver has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its index among those that this process sees.
    pub index: u32,
    /// Its number among the machine's devices, by which a scheduler counts.
    pub number: u32,
    /// Its identity.
    pub uuid: String,
}

/// The GPUs of this machine, as far as this process sees them; empty without a driver.
pub fn known() -> Vec<Known> {
    let ask = || {
        let nvml = Nvml::init().ok()?;
        let count = nvml.device_count().ok()?;
        let of = |index: u32| {
            let device = nvml.device_by_index(index).ok()?;
            let number = device.minor_number().unwrap_or(index);
            Some(Known { index, number, uuid: device.uuid().ok()? })
        };
        (0..count).map(of).collect::<Option<Vec<_>>>()
    };
    ask().unwrap_or_default()
}

/// A GPU of an allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Gpu {
    /// Its number on the machine, where it has one: a part of a GPU has none.
    number: Option<u32>,
    /// By what it is asked for: its UUID, else its number.
    id: String,
}

impl Gpu {
    /// Whether somebody who names a GPU means this one.
    fn is_named(&self, name: &str) -> bool {
        match name.parse::<u32>() {
            Ok(number) => self.number == Some(number),
            Err(_) => !name.is_empty() && self.id.starts_with(name),
        }
    }
}

/// The GPUs of a job, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allocated(Vec<Gpu>);

impl Allocated {
    /// Those of a Slurm job, by its variables; `None` outside of one.
    pub fn of_slurm(variable: impl Fn(&str) -> Option<String>, known: &[Known]) -> Option<Self> {
        variable("SLURM_JOB_ID")?;
        let visible = variable(CUDA).unwrap_or_default();
        // Parts of a GPU are not among the numbers of the devices.
        let has_parts = visible.split(',').any(|it| it.trim().starts_with("MIG-"));
        let numbers = variable("SLURM_JOB_GPUS").filter(|it| !has_parts && !it.is_empty());
        Some(match numbers {
            Some(numbers) => Self::of(listed(&numbers).iter().map(|number| {
                let found = known.iter().find(|it| it.number == *number);
                Gpu { number: Some(*number), id: found.map_or(number.to_string(), id_of) }
            })),
            // Without numbers of the machine these count what this process sees.
            None => Self::of(GpuIds::listed(&visible).iter().map(|name| {
                let one = GpuIds::new([name.to_owned()]);
                let found = known.iter().find(|it| one.include(it.index, &it.uuid));
                let number = found.map(|it| it.number).or_else(|| name.parse().ok());
                Gpu { number, id: found.map_or(name.to_owned(), id_of) }
            })),
        })
    }

    fn of(gpus: impl Iterator<Item = Gpu>) -> Self {
        let mut all: Vec<Gpu> = Vec::new();
        for gpu in gpus {
            if !all.contains(&gpu) {
                all.push(gpu);
            }
        }
        Self(all)
    }

    /// By what they are asked for.
    pub fn ids(&self) -> GpuIds {
        GpuIds::new(self.0.iter().map(|it| it.id.clone()))
    }

    /// Makes a service ask for GPUs of this allocation in place of the machine's.
    ///
    /// # Errors
    /// It asks for others, or for more: a sentence.
    pub fn give(&self, service: &mut ServiceSpec) -> Result<(), String> {
        for request in &mut service.gpus {
            if request.driver.as_deref() == Some("cdi") {
                request.device_ids = self.by_cdi(&request.device_ids)?;
            } else {
                self.request(request)?;
            }
        }
        let others = |device: &&String| {
            let number = device.strip_prefix("/dev/nvidia").map(|it| it.split(':').next());
            let number = number.flatten().and_then(|it| it.parse::<u32>().ok());
            number.is_some_and(|number| !self.0.iter().any(|it| it.number == Some(number)))
        };
        if let Some(device) = service.devices.iter().find(others) {
            return Err(format!("the service maps the device {device}: {}", self.not_of_job()));
        }
        self.confine(&mut service.environment)
    }

    /// Makes variables choose among these GPUs: none that is set shows another one.
    ///
    /// # Errors
    /// They name another one: a sentence.
    pub fn confine(&self, variables: &mut BTreeMap<String, String>) -> Result<(), String> {
        if let Some(value) = variables.get_mut(CONTAINER) {
            let listed = GpuIds::listed(value);
            let is_word = |words: &[&str]| words.contains(&value.to_lowercase().as_str());
            if is_word(&["all", ""]) {
                *value = self.list();
            } else if !is_word(&["none", "void", "nodevfiles"]) {
                *value = self.named(listed.iter(), CONTAINER)?.join(",");
            }
        }
        if let Some(value) = variables.get(CUDA) {
            let listed = GpuIds::listed(value);
            // Numbers count the GPUs of the container.
            let is_beyond = |name: &&str| match name.parse::<usize>() {
                Ok(number) => number >= self.0.len(),
                Err(_) => !self.0.iter().any(|gpu| gpu.is_named(name)),
            };
            if let Some(name) = listed.iter().find(is_beyond) {
                return Err(format!("{CUDA} names the GPU {name}: {}", self.not_of_job()));
            }
        }
        Ok(())
    }

    /// The same of what a launch adds to a service's variables.
    ///
    /// # Errors
    /// They name another one: a sentence.
    pub fn check(&self, configured: &BTreeMap<String, String>) -> Result<(), String> {
        self.confine(&mut configured.clone())
    }

    fn request(&self, request: &mut GpuRequest) -> Result<(), String> {
        let given = if request.device_ids.is_empty() {
            let count = request.count.unwrap_or(-1);
            let most = usize::try_from(count).unwrap_or(self.0.len().max(1));
            if most > self.0.len() {
                let asked = if count < 0 { "GPUs".to_owned() } else { format!("{count} GPUs") };
                return Err(format!("the service asks for {asked}: {}", self.not_of_job()));
            }
            self.0.iter().take(most).map(|it| it.id.clone()).collect()
        } else {
            let names = request.device_ids.iter().map(String::as_str);
            self.named(names, "the service")?
        };
        (request.count, request.device_ids) = (None, given);
        Ok(())
    }

    fn by_cdi(&self, names: &[String]) -> Result<Vec<String>, String> {
        let mut given = Vec::new();
        for name in names {
            let Some((kind, id)) = name.split_once('=').filter(|(kind, _)| kind.ends_with("/gpu"))
            else {
                given.push(name.clone());
                continue;
            };
            // A part of a GPU is `1:0`.
            let whole = id.split(':').next().unwrap_or(id);
            match id {
                "all" if self.0.is_empty() => {
                    return Err(format!("the service asks for {name}: {}", self.not_of_job()));
                }
                // As the machine's own list of devices counts them.
                "all" => given.extend(self.0.iter().map(|it| {
                    let id = it.number.map_or(it.id.clone(), |number| number.to_string());
                    format!("{kind}={id}")
                })),
                _ => {
                    self.named([whole].into_iter(), "the service")?;
                    given.push(name.clone());
                }
            }
        }
        Ok(given)
    }

    /// The ids of GPUs that somebody names.
    fn named<'a>(
        &self,
        names: impl Iterator<Item = &'a str>,
        who: &str,
    ) -> Result<Vec<String>, String> {
        let find = |name: &str| {
            let found = self.0.iter().find(|gpu| gpu.is_named(name));
            found
                .map(|gpu| gpu.id.clone())
                .ok_or_else(|| format!("{who} names the GPU {name}: {}", self.not_of_job()))
        };
        names.map(find).collect()
    }

    fn list(&self) -> String {
        if self.0.is_empty() {
            return "void".to_owned();
        }
        self.0.iter().map(|it| it.id.as_str()).collect::<Vec<_>>().join(",")
    }

    fn not_of_job(&self) -> String {
        if self.0.is_empty() {
            return "the job has no GPUs; ask for them by `gres`".to_owned();
        }
        let of = |gpu: &Gpu| match gpu.number {
            Some(number) if number.to_string() != gpu.id => format!("{number} ({})", gpu.id),
            _ => gpu.id.clone(),
        };
        let all: Vec<String> = self.0.iter().map(of).collect();
        format!("the job has {} only", all.join(", "))
    }
}

fn id_of(known: &Known) -> String {
    known.uuid.clone()
}

/// Numbers as Slurm lists them: `0,2-3`.
fn listed(text: &str) -> Vec<u32> {
    let part = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse::<u32>().ok()?, last.trim().parse::<u32>().ok()?);
        (first <= last && last - first < 1024).then(|| (first..=last).collect::<Vec<_>>())
    };
    text.split(',').filter_map(part).flatten().collect()
}

#[cfg(test)]
#[path = "place_tests.rs"]
mod tests;
