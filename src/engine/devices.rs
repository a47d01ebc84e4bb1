//! Which GPUs candidates use, by names that are the same in every run: an index and a
//! UUID of one GPU are one name, where the driver can be asked. What cannot be told apart
//! counts as every GPU.

use std::collections::BTreeSet;

use nvml_wrapper::Nvml;

use super::compose::ServiceSpec;
use super::docker::gpus::{CONTAINER, CUDA, assigned, choosing};
use crate::configuration::Configuration;
use crate::ownership::Uses;
use crate::server::GpuIds;

/// What containers of a service use, in any of the configurations; `gpus` is the block's key.
pub(super) fn of_service(service: &ServiceSpec, gpus: bool, all: &[Configuration]) -> Uses {
    if !gpus {
        return Uses::Cpu;
    }
    let known = Known::ask();
    let of = |service: &ServiceSpec| match assigned(service) {
        Some(ids) => known.uses(&ids),
        None => Uses::AllGpus,
    };
    let chosen: BTreeSet<_> =
        all.iter().map(|it| [CUDA, CONTAINER].map(|name| it.environment.get(name))).collect();
    let uses = chosen.into_iter().map(|values| {
        let named = [CUDA, CONTAINER].into_iter().zip(values);
        let named = named.filter_map(|(name, ids)| Some((name.to_owned(), ids?.clone())));
        of(&choosing(service, &named.collect()))
    });
    uses.reduce(Uses::and).unwrap_or_else(|| of(service))
}

/// What child processes use, in any of the configurations.
pub(super) fn of_processes(all: &[Configuration]) -> Uses {
    let known = Known::ask();
    let inherited = std::env::var(CUDA).ok();
    let of = |configuration: &Configuration| {
        let visible = configuration.environment.get(CUDA).or(inherited.as_ref());
        match visible {
            Some(ids) => known.uses(&GpuIds::listed(ids)),
            None if known.0.as_ref().is_some_and(|gpus| !gpus.is_empty()) => Uses::AllGpus,
            None => Uses::Cpu,
        }
    };
    all.iter().map(of).reduce(Uses::and).unwrap_or(Uses::Cpu)
}

/// Index and UUID of each GPU; `None` without the driver's library.
struct Known(Option<Vec<(u32, String)>>);

impl Known {
    fn ask() -> Self {
        let ask = || {
            let nvml = Nvml::init().ok()?;
            let count = nvml.device_count().ok()?;
            (0..count).map(|at| Some((at, nvml.device_by_index(at).ok()?.uuid().ok()?))).collect()
        };
        Self(ask())
    }

    fn uses(&self, ids: &GpuIds) -> Uses {
        let is_none =
            |id: &&str| ["none", "void", "nodevfiles"].contains(&id.to_lowercase().as_str());
        let ids: Vec<&str> = ids.iter().filter(|id| !is_none(id)).collect();
        let Some(known) = &self.0 else {
            // Whether a UUID is one of the others' indices cannot be told.
            let all_indices = ids.iter().all(|id| id.parse::<u32>().is_ok());
            return if all_indices {
                Uses::gpus(ids.into_iter().map(str::to_owned))
            } else {
                Uses::AllGpus
            };
        };
        let mut names = Vec::new();
        for id in ids {
            let one = GpuIds::new([id.to_owned()]);
            match known.iter().find(|(index, uuid)| one.include(*index, uuid)) {
                Some((_, uuid)) => names.push(uuid.clone()),
                None => return Uses::AllGpus,
            }
        }
        Uses::gpus(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_and_a_uuid_of_one_gpu_are_one_name() {
        let two = vec![(0, "GPU-aa".to_owned()), (1, "GPU-bb".to_owned())];
        let known = Known(Some(two));
        let of = |ids: &str| known.uses(&GpuIds::listed(ids)).to_string();
        assert_eq!(of("1"), "GPU-bb");
        assert_eq!(of("GPU-b,0"), "GPU-aa,GPU-bb");
        assert_eq!(of("MIG-3"), "all", "nobody knows on which GPU that is");
        for none in ["", "-1", "void", "none"] {
            assert_eq!(of(none), "cpu", "{none}");
        }
    }

    #[test]
    fn without_a_driver_only_indices_are_told_apart() {
        let known = Known(None);
        let of = |ids: &str| known.uses(&GpuIds::listed(ids)).to_string();
        assert_eq!((of("1,0"), of("1,GPU-b"), of("")), ("0,1".into(), "all".into(), "cpu".into()));
    }

    #[test]
    fn a_service_uses_what_any_configuration_makes_of_it() {
        let mut service = ServiceSpec::of_image("i", Vec::new());
        let configuration = |ids: Option<&str>| Configuration {
            name: "c".to_owned(),
            aliases: Vec::new(),
            id: "0".to_owned(),
            flags: crate::configuration::Flags::new(),
            varied: crate::configuration::Flags::new(),
            environment: ids
                .map(|ids| (CONTAINER.to_owned(), ids.to_owned()))
                .into_iter()
                .collect(),
            ..Default::default()
        };
        assert_eq!(of_service(&service, false, &[]), Uses::Cpu);
        assert_eq!(of_service(&service, true, &[]), Uses::AllGpus, "what the image shows");
        service.environment.insert(CONTAINER.to_owned(), "none".to_owned());
        assert_eq!(of_service(&service, true, &[configuration(None)]), Uses::Cpu);
        let all = [configuration(None), configuration(Some("all"))];
        assert_eq!(of_service(&service, true, &all), Uses::AllGpus);
    }

    #[test]
    fn whichever_variable_chooses_a_gpu_it_is_claimed_and_no_other() {
        let service = ServiceSpec::of_image("i", Vec::new()).with_all_gpus();
        let configuration = |variables: &[(&str, &str)]| Configuration {
            environment: variables
                .iter()
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                .collect(),
            ..Default::default()
        };
        let uses = |all: &[Configuration]| of_service(&service, true, all);
        let of = |ids: &str| Known::ask().uses(&GpuIds::listed(ids));
        let [first, second] = ["0", "1"].map(|id| configuration(&[(CUDA, id)]));
        assert_eq!(uses(&[first.clone(), second.clone()]), of("0,1"));
        assert_eq!(uses(std::slice::from_ref(&second)), of("1"), "the service's are not used");
        assert_eq!(uses(&[second, configuration(&[])]), Uses::AllGpus);
        let bare = ServiceSpec::of_image("i", Vec::new());
        let both = configuration(&[(CONTAINER, "2,3"), (CUDA, "1")]);
        assert_eq!(of_service(&bare, true, &[both]), of("3"));
    }
}
