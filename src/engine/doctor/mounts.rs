//! Bind mounts of a service whose source on this machine is missing or empty: Docker makes
//! an empty folder of a path with a slip in it, and a model is downloaded though it is on
//! the disk. Only what is surely so is said: a path that may not be read is passed over.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::Findings;
use crate::engine::compose::{Mount, MountKind, ServiceSpec};
use crate::engine::docker::ImageIdentity;
use crate::engine::failure::is_local;

/// How a path of this machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Missing,
    /// A folder with nothing in it.
    Empty,
    /// Anything else, and what cannot be looked at.
    Filled,
}

impl Source {
    fn of(path: &Path) -> Self {
        match std::fs::metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Self::Missing,
            Ok(seen) if seen.is_dir() => {
                let is_empty = std::fs::read_dir(path).is_ok_and(|mut it| it.next().is_none());
                if is_empty { Self::Empty } else { Self::Filled }
            }
            _ => Self::Filled,
        }
    }
}

/// Warns of them. `model` is what the service loads, where that is known.
pub(super) fn look(
    findings: &mut Findings,
    service: &ServiceSpec,
    image: &ImageIdentity,
    model: Option<&str>,
) {
    let hub = hub(service, image);
    let holder = holder(&service.mounts, &hub);
    let from_hub = model.is_none_or(|model| !is_local(model));
    for mount in service.mounts.iter().filter(|mount| mount.kind == MountKind::Bind) {
        let source = mount.source.as_deref().map(Path::new);
        // What is not absolute is a name of the daemon's.
        let Some(source) = source.filter(|source| source.is_absolute()) else { continue };
        let is_hub = from_hub && holder.is_some_and(|holder| std::ptr::eq(holder, mount));
        match Source::of(source) {
            Source::Missing if !mount.create_host_path || !is_hub => {
                missing(findings, mount, source);
            }
            Source::Missing => empty_hub(findings, service, source),
            Source::Empty if is_hub => empty_hub(findings, service, source),
            Source::Empty if !is_cache(&mount.target) => {
                let text =
                    format!("the bind mount's source {} is an empty folder", source.display());
                let advice = "check its path; one that the server writes to may be empty";
                findings.warning("mounts", text, advice);
            }
            Source::Filled if is_hub => {
                // The mount may be of a folder above it, such as the whole home.
                let rest = hub.strip_prefix(&mount.target).unwrap_or(Path::new(""));
                let within = source.join(rest);
                if Source::of(&within) != Source::Filled {
                    empty_hub(findings, service, &within);
                }
            }
            Source::Empty | Source::Filled => {}
        }
    }
}

fn empty_hub(findings: &mut Findings, service: &ServiceSpec, path: &Path) {
    let is_offline = service.environment.get("HF_HUB_OFFLINE").is_some_and(|value| value == "1");
    let (then, advice) = if is_offline {
        ("HF_HUB_OFFLINE=1 keeps the model from being downloaded", "download it there first")
    } else {
        ("the model would be downloaded", "check the path, or download the model there first")
    };
    let text = format!("the hub's cache at {} is empty: {then}", path.display());
    findings.warning("mounts", text, advice);
}

fn missing(findings: &mut Findings, mount: &Mount, source: &Path) {
    let text = format!("the bind mount's source {} is missing", source.display());
    let advice = "check its path, or make it";
    if mount.create_host_path {
        findings.warning("mounts", format!("{text}: Docker would create an empty folder"), advice);
    } else {
        let text = format!("{text}: the container cannot be created without it");
        findings.problem("mounts", text, advice);
    }
}

/// Where the hub's cache lies in the container.
fn hub(service: &ServiceSpec, image: &ImageIdentity) -> PathBuf {
    let variable = |name: &str| {
        let of_service = service.environment.get(name).map(String::as_str);
        of_service.or_else(|| image.variable(name)).filter(|value| value.starts_with('/'))
    };
    let direct = ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"].into_iter().find_map(variable);
    direct.map_or_else(
        || {
            let home = variable("HOME").unwrap_or("/root");
            let of_home = || Path::new(home).join(".cache/huggingface");
            variable("HF_HOME").map_or_else(of_home, PathBuf::from).join("hub")
        },
        PathBuf::from,
    )
}

/// The mount that has this path: the most particular one.
fn holder<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    let holding = mounts.iter().filter(|mount| path.starts_with(&mount.target));
    holding.max_by_key(|mount| mount.target.trim_end_matches('/').len())
}

/// Whether it is a place for what is made anew where it is empty: compiled code.
fn is_cache(target: &str) -> bool {
    target.split('/').any(|part| part.starts_with('.') || part.contains("cache"))
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::*;

    struct Machine {
        folder: tempfile::TempDir,
    }

    impl Machine {
        fn new() -> Self {
            Self { folder: tempfile::tempdir().expect("a folder") }
        }

        /// A folder with a file in it.
        fn filled(&self, name: &str) -> String {
            let path = self.empty(name);
            std::fs::write(Path::new(&path).join("f"), "x").expect("written");
            path
        }

        fn empty(&self, name: &str) -> String {
            let path = self.missing(name);
            std::fs::create_dir_all(&path).expect("made");
            path
        }

        fn missing(&self, name: &str) -> String {
            self.folder.path().join(name).display().to_string()
        }

        /// What is said of these mounts, the machine's own path left out.
        fn said(&self, mounts: &[(String, &str)], environment: &[(&str, &str)]) -> Vec<String> {
            self.said_of(mounts, environment, Some("example/model-8b"))
        }

        fn said_of(
            &self,
            mounts: &[(String, &str)],
            environment: &[(&str, &str)],
            model: Option<&str>,
        ) -> Vec<String> {
            let mounts = mounts.iter().map(|(source, target)| bind(source, target)).collect();
            let environment =
                environment.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            let service = ServiceSpec { environment, mounts, ..ServiceSpec::default() };
            self.texts(&service, model)
        }

        fn texts(&self, service: &ServiceSpec, model: Option<&str>) -> Vec<String> {
            let mut findings = Findings(Vec::new());
            look(&mut findings, service, &ImageIdentity::default(), model);
            let place = self.folder.path().display().to_string();
            let word = |finding: &super::super::Finding| match finding.severity {
                Severity::Problem => "problem: ",
                _ => "",
            };
            let texts = findings.0.iter().map(|it| format!("{}{}", word(it), it.text));
            texts.map(|text| text.replace(&place, "")).collect()
        }
    }

    fn bind(source: &str, target: &str) -> Mount {
        Mount {
            kind: MountKind::Bind,
            source: Some(source.to_owned()),
            target: target.to_owned(),
            create_host_path: true,
            ..Mount::default()
        }
    }

    const HUB: &str = "/root/.cache/huggingface";

    #[test]
    fn an_empty_hub_s_cache_is_said_wherever_the_hub_lies() {
        let machine = Machine::new();
        let expected = |path: &str| {
            vec![format!("the hub's cache at {path} is empty: the model would be downloaded")]
        };
        for path in [machine.missing("none"), machine.empty("hf")] {
            let name = path.rsplit('/').next().map(|name| format!("/{name}")).unwrap_or_default();
            assert_eq!(machine.said(&[(path.clone(), HUB)], &[]), expected(&name));
            let elsewhere = [("HF_HOME", "/models")];
            assert_eq!(machine.said(&[(path.clone(), "/models/")], &elsewhere), expected(&name));
            let direct = [("HF_HUB_CACHE", "/h/c"), ("HF_HOME", "/models")];
            assert_eq!(machine.said(&[(path, "/h/c")], &direct), expected(&name));
        }
        // A home that has other things only.
        let home = machine.filled("home");
        let inside = expected("/home/.cache/huggingface/hub");
        assert_eq!(machine.said(&[(home.clone(), "/root")], &[]), inside);
        machine.filled("home/.cache/huggingface/hub/models--a");
        assert_eq!(machine.said(&[(home, "/root")], &[]), Vec::<String>::new());
        let said = machine.said(&[(machine.empty("hf"), HUB)], &[("HF_HUB_OFFLINE", "1")]);
        assert!(said[0].contains("HF_HUB_OFFLINE=1 keeps"), "{said:?}");
    }

    #[test]
    fn a_hub_s_cache_that_is_not_used_is_none() {
        let machine = Machine::new();
        let home = || (machine.filled("h"), "/root");
        let mut service = ServiceSpec {
            mounts: vec![bind(&home().0, "/root"), bind("hf", HUB)],
            ..ServiceSpec::default()
        };
        service.mounts[1].kind = MountKind::Volume;
        let nothing = Vec::<String>::new();
        assert_eq!(machine.texts(&service, None), nothing, "a volume has it");
        let local = Some("/models/a");
        assert_eq!(machine.said_of(&[(machine.empty("e"), HUB)], &[], local), nothing);
        assert_eq!(machine.said_of(&[home()], &[], local), nothing);
    }

    #[test]
    fn other_sources_that_are_missing_or_empty_are_said() {
        let machine = Machine::new();
        let none = machine.missing("mdoels");
        assert_eq!(
            machine.said(&[(none.clone(), "/models")], &[]),
            ["the bind mount's source /mdoels is missing: Docker would create an empty folder"]
        );
        let mut strict = bind(&none, "/models");
        strict.create_host_path = false;
        let service = ServiceSpec { mounts: vec![strict], ..ServiceSpec::default() };
        let said = machine.texts(&service, None);
        assert_eq!(
            said,
            [
                "problem: the bind mount's source /mdoels is missing: the container cannot be created without it"
            ]
        );
        assert_eq!(
            machine.said(&[(machine.empty("e"), "/models")], &[]),
            ["the bind mount's source /e is an empty folder"]
        );
        let filled = machine.filled("f");
        let file = format!("{filled}/f");
        let fine = [
            (filled, "/models"),
            (file, "/etc/localtime"),
            // What is compiled is made anew.
            (machine.empty("c"), "/root/.cache/vllm"),
            (machine.empty("t"), "/root/.triton"),
        ];
        assert_eq!(machine.said(&fine, &[]), Vec::<String>::new());
    }
}
