use super::*;

/// Two of four GPUs are seen, as under a limit on devices; numbers are the machine's.
fn two_of_four() -> Vec<Known> {
    let of = |index: u32| Known { index, number: index + 2, uuid: format!("GPU-{}", index + 2) };
    vec![of(0), of(1)]
}

fn allocated(variables: &[(&str, &str)], known: &[Known]) -> Option<Allocated> {
    let find = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name)?;
        Some(found.1.to_owned())
    };
    Allocated::of_slurm(find, known)
}

fn ids(variables: &[(&str, &str)], known: &[Known]) -> Option<String> {
    let all = allocated(variables, known)?;
    Some(all.0.iter().map(|it| it.id.as_str()).collect::<Vec<_>>().join(","))
}

fn job(gpus: &str) -> Allocated {
    allocated(&[("SLURM_JOB_ID", "7"), ("SLURM_JOB_GPUS", gpus)], &two_of_four()).expect("a job")
}

fn service(requests: &[(Option<i64>, &[&str])], variables: &[(&str, &str)]) -> ServiceSpec {
    let request = |(count, ids): &(Option<i64>, &[&str])| GpuRequest {
        count: *count,
        device_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        capabilities: vec!["gpu".to_owned()],
        ..GpuRequest::default()
    };
    ServiceSpec {
        gpus: requests.iter().map(request).collect(),
        environment: variables.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect(),
        ..ServiceSpec::of_image("i", Vec::new())
    }
}

fn given(gpus: &str, mut service: ServiceSpec) -> Result<(Vec<String>, Option<String>), String> {
    job(gpus).give(&mut service)?;
    let ids = service.gpus.iter().flat_map(|it| it.device_ids.clone()).collect();
    Ok((ids, service.environment.get(CONTAINER).cloned()))
}

#[test]
fn a_job_s_gpus_are_its_numbers_as_uuids_where_there_is_a_driver() {
    let id = ("SLURM_JOB_ID", "7");
    let known = two_of_four();
    let numbers = ("SLURM_JOB_GPUS", "2,3");
    // Under a limit on devices CUDA counts from 0: the numbers of the machine are what counts.
    assert_eq!(ids(&[id, numbers, (CUDA, "0,1")], &known).as_deref(), Some("GPU-2,GPU-3"));
    assert_eq!(ids(&[id, ("SLURM_JOB_GPUS", "2-3")], &known).as_deref(), Some("GPU-2,GPU-3"));
    assert_eq!(ids(&[id, (CUDA, "1")], &known).as_deref(), Some("GPU-3"));
    assert_eq!(ids(&[id, (CUDA, "GPU-2")], &known).as_deref(), Some("GPU-2"));
    let part = (CUDA, "MIG-5a");
    assert_eq!(ids(&[id, ("SLURM_JOB_GPUS", "0"), part], &known).as_deref(), Some("MIG-5a"));
    assert_eq!(ids(&[id, numbers], &[]).as_deref(), Some("2,3"), "without a driver");
    assert_eq!(ids(&[id], &known).as_deref(), Some(""), "none was asked for");
    assert_eq!(ids(&[numbers], &known), None, "no job");
}

#[test]
fn a_service_gets_gpus_of_the_allocation_and_no_others() {
    let of = |requests: &[(Option<i64>, &[&str])]| {
        given("2,3", service(requests, &[])).map(|(ids, _)| ids.join(","))
    };
    let is = |ids: &str| Ok(ids.to_owned());
    assert_eq!(of(&[(Some(-1), &[])]), is("GPU-2,GPU-3"), "all are all of the job's");
    assert_eq!(of(&[(None, &[])]), is("GPU-2,GPU-3"));
    assert_eq!(of(&[(Some(1), &[])]), is("GPU-2"));
    assert_eq!(of(&[(None, &["3"])]), is("GPU-3"));
    assert_eq!(of(&[(None, &["GPU-3"])]), is("GPU-3"));
    assert_eq!(of(&[]), is(""));
    let beyond = of(&[(None, &["2", "0"])]).unwrap_err();
    assert_eq!(beyond, "the service names the GPU 0: the job has 2 (GPU-2), 3 (GPU-3) only");
    assert!(of(&[(Some(4), &[])]).unwrap_err().contains("asks for 4 GPUs"));
    let none = given("", service(&[(Some(-1), &[])], &[])).unwrap_err();
    assert_eq!(none, "the service asks for GPUs: the job has no GPUs; ask for them by `gres`");
}

#[test]
fn variables_and_devices_show_no_others_either() {
    let shown = |value: &str| given("3", service(&[], &[(CONTAINER, value)])).map(|(_, it)| it);
    for all in ["all", ""] {
        assert_eq!(shown(all), Ok(Some("GPU-3".to_owned())), "{all}");
    }
    assert_eq!(shown("3"), Ok(Some("GPU-3".to_owned())));
    assert_eq!(shown("none"), Ok(Some("none".to_owned())));
    assert!(shown("2").unwrap_err().starts_with("NVIDIA_VISIBLE_DEVICES names the GPU 2"));
    let check =
        |value: &str| job("2,3").check(&BTreeMap::from([(CUDA.to_owned(), value.to_owned())]));
    assert_eq!((check("0,1"), check("GPU-3"), check("-1")), (Ok(()), Ok(()), Ok(())));
    assert!(check("2").is_err(), "they are counted in the container");
    assert!(check("GPU-0").is_err());
    let mapped = |device: &str| {
        let devices = vec![device.to_owned()];
        given("3", ServiceSpec { devices, ..service(&[], &[]) })
    };
    assert!(mapped("/dev/nvidia3:/dev/nvidia0").is_ok() && mapped("/dev/nvidia-uvm").is_ok());
    assert!(mapped("/dev/nvidia2").unwrap_err().contains("/dev/nvidia2"));
}

#[test]
fn devices_of_the_container_device_interface_are_those_of_the_job() {
    let with = |name: &str| {
        let mut service = service(&[(None, &[name])], &[]);
        service.gpus[0].driver = Some("cdi".to_owned());
        given("2,3", service).map(|(ids, _)| ids.join(" "))
    };
    assert_eq!(with("nvidia.com/gpu=all").as_deref(), Ok("nvidia.com/gpu=2 nvidia.com/gpu=3"));
    assert_eq!(with("nvidia.com/gpu=3").as_deref(), Ok("nvidia.com/gpu=3"));
    assert_eq!(with("vendor.com/net=eth0").as_deref(), Ok("vendor.com/net=eth0"));
    assert!(with("nvidia.com/gpu=0").is_err());
}
