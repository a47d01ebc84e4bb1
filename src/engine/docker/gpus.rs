//! The GPUs of a service's launch: those that it is given, and of these the ones that its
//! variables, or a configuration's, leave visible. What they are called in other places is
//! `engine/devices.rs`'s.

use std::collections::BTreeMap;

use crate::engine::compose::{GpuRequest, ServiceSpec};
use crate::server::GpuIds;

/// The variable by which CUDA chooses GPUs.
pub(in crate::engine) const CUDA: &str = "CUDA_VISIBLE_DEVICES";
/// The variable by which NVIDIA's container runtime does.
pub(in crate::engine) const CONTAINER: &str = "NVIDIA_VISIBLE_DEVICES";

/// The service with the variables of a launch that choose its GPUs.
pub(in crate::engine) fn choosing(
    service: &ServiceSpec,
    environment: &BTreeMap<String, String>,
) -> ServiceSpec {
    let mut service = service.clone();
    for name in [CUDA, CONTAINER] {
        let chosen = environment.get(name).cloned();
        service.environment.extend(chosen.map(|ids| (name.to_owned(), ids)));
    }
    service
}

/// The GPUs that a container of the service works on, as far as the service says: those
/// that it is given, and of these the visible ones.
pub(in crate::engine) fn assigned(service: &ServiceSpec) -> Option<GpuIds> {
    let given = given(service);
    match service.environment.get(CUDA) {
        Some(visible) if !visible.trim().is_empty() => visible_of(given, visible),
        _ => given,
    }
}

/// CUDA counts the GPUs of a container from 0, in the order of their indices (all of
/// one kind, or `CUDA_DEVICE_ORDER=PCI_BUS_ID`). Where that order cannot be known, all
/// that are given count.
fn visible_of(given: Option<GpuIds>, visible: &str) -> Option<GpuIds> {
    let visible = GpuIds::listed(visible);
    let is_index = |id: &str| id.parse::<usize>().is_ok();
    if !visible.iter().all(is_index) {
        return if visible.iter().any(is_index) { given } else { Some(visible) };
    }
    let Some(given) = given else { return Some(visible) };
    let indices: Option<Vec<u32>> = given.iter().map(|id| id.parse().ok()).collect();
    let Some(mut indices) = indices else { return Some(given) };
    indices.sort_unstable();
    let at = |id: &str| indices.get(id.parse::<usize>().ok()?).map(u32::to_string);
    // An index that there is not hides those behind it.
    Some(GpuIds::new(visible.iter().map_while(at)))
}

/// The GPU of a name of the Container Device Interface; `None` where it is all, or a part.
fn by_cdi(name: &str) -> Option<&str> {
    let id = name.split_once('=').map_or(name, |(_, id)| id);
    (id.starts_with("GPU-") || id.parse::<u32>().is_ok()).then_some(id)
}

/// The GPUs that a container of the service is given; `None` is all.
/// Docker makes the first n of a count; a request wins over the variable.
fn given(service: &ServiceSpec) -> Option<GpuIds> {
    let requests = &service.gpus;
    let is_cdi = |request: &&GpuRequest| request.driver.as_deref() == Some("cdi");
    let cdi: Vec<&String> = requests.iter().filter(is_cdi).flat_map(|it| &it.device_ids).collect();
    if !cdi.is_empty() {
        let gpus = cdi.iter().filter(|name| name.contains("gpu"));
        return gpus
            .map(|name| by_cdi(name).map(str::to_owned))
            .collect::<Option<Vec<_>>>()
            .map(GpuIds::new);
    }
    let ids: Vec<String> = requests.iter().flat_map(|r| r.device_ids.clone()).collect();
    if !ids.is_empty() {
        return Some(GpuIds::new(ids));
    }
    if !requests.is_empty() {
        let most = requests.iter().map(|request| request.count.unwrap_or(-1)).max()?;
        return (most >= 0).then(|| GpuIds::new((0..most).map(|index| index.to_string())));
    }
    match service.environment.get(CONTAINER)?.as_str() {
        "all" | "" => None,
        "none" | "void" | "nodevfiles" => Some(GpuIds::default()),
        visible => Some(GpuIds::listed(visible)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launch_has_the_gpus_that_its_own_variables_choose() {
        let service = ServiceSpec::of_image("i", Vec::new()).with_all_gpus();
        let of = |name: &str, ids: &str| {
            let environment = BTreeMap::from([(name.to_owned(), ids.to_owned())]);
            assigned(&choosing(&service, &environment))
        };
        assert_eq!(of("OTHER", "1"), None);
        assert_eq!(of(CUDA, "1"), Some(GpuIds::listed("1")));
        assert_eq!(of(CONTAINER, "1"), None, "a reservation wins over it");
        let bare = ServiceSpec::of_image("i", Vec::new());
        for none in ["none", "void"] {
            let environment = BTreeMap::from([(CONTAINER.to_owned(), none.to_owned())]);
            assert_eq!(assigned(&choosing(&bare, &environment)), Some(GpuIds::default()));
        }
    }

    #[test]
    fn a_service_s_gpus_are_its_requests_else_its_variable_s() {
        let service = |requests: &[(Option<i64>, &[&str])], visible: Option<&str>| {
            let mut service = ServiceSpec::of_image("i", Vec::new());
            service.gpus = requests
                .iter()
                .map(|(count, ids)| GpuRequest {
                    count: *count,
                    device_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
                    ..GpuRequest::default()
                })
                .collect();
            let variable = visible.map(|ids| ("NVIDIA_VISIBLE_DEVICES".to_owned(), ids.to_owned()));
            service.environment.extend(variable);
            assigned(&service)
        };
        let these = |ids: &str| Some(GpuIds::listed(ids));
        assert_eq!(service(&[(None, &["1", "GPU-5a"])], Some("0")), these("1,GPU-5a"));
        assert_eq!(service(&[(Some(2), &[])], None), these("0,1"), "the first two");
        assert_eq!(service(&[(Some(-1), &[])], Some("0")), None, "all: which is not known here");
        assert_eq!(service(&[], Some("2, 3")), these("2,3"));
        assert_eq!(service(&[], Some("all")), None);
        assert_eq!(service(&[], None), None);
    }

    #[test]
    fn the_gpus_of_a_launch_are_those_given_and_visible() {
        let with = |requests: &[(&str, &[&str], Option<i64>)], variables: &[(&str, &str)]| {
            let gpus = requests.iter().map(|(driver, ids, count)| GpuRequest {
                driver: Some((*driver).to_owned()),
                device_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
                count: *count,
                ..GpuRequest::default()
            });
            let variables = variables.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
            let service = ServiceSpec {
                gpus: gpus.collect(),
                environment: variables.collect(),
                ..ServiceSpec::default()
            };
            assigned(&service)
                .map(|ids| ids.iter().map(str::to_owned).collect::<Vec<_>>().join(","))
        };
        let is = |ids: &str| Some(ids.to_owned());
        let cuda = |ids| [("CUDA_VISIBLE_DEVICES", ids)];
        assert_eq!(with(&[("nvidia", &[], Some(-1))], &[]), None, "all");
        assert_eq!(with(&[("nvidia", &[], Some(-1))], &cuda("1")), is("1"));
        assert_eq!(
            with(&[("nvidia", &["1", "2"], None)], &cuda("1")),
            is("2"),
            "the second of two"
        );
        assert_eq!(with(&[("nvidia", &["2", "1"], None)], &cuda("0")), is("1"), "by their indices");
        assert_eq!(with(&[("nvidia", &["1"], None)], &cuda("0,1")), is("1"), "there is no second");
        assert_eq!(with(&[("nvidia", &["1"], None)], &cuda("-1")), is(""));
        assert_eq!(with(&[("nvidia", &["1"], None)], &cuda("GPU-5a")), is("GPU-5a"));
        assert_eq!(with(&[("nvidia", &["GPU-a", "GPU-b"], None)], &cuda("1")), is("GPU-a,GPU-b"));
        assert_eq!(with(&[], &[("NVIDIA_VISIBLE_DEVICES", "2,3"), cuda("1")[0]]), is("3"));
        let cdi = |names: &[&str]| with(&[("cdi", names, None)], &[]);
        assert_eq!(cdi(&["nvidia.com/gpu=all"]), None);
        assert_eq!(cdi(&["nvidia.com/gpu=1", "vendor.com/net=eth0"]), is("1"));
        assert_eq!(cdi(&["nvidia.com/gpu=GPU-5a", "nvidia.com/gpu=0"]), is("GPU-5a,0"));
        assert_eq!(cdi(&["nvidia.com/gpu=1:0"]), None, "a part of one");
        assert_eq!(cdi(&["nvidia.com/gpu=0"]), is("0"));
    }
}
