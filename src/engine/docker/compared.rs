//! How the container that serves production differs from what the grid takes it for:
//! arguments, image, names of variables, compose files. Pure; values of secrets are
//! never compared in a message.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use crate::engine::compose::{ServiceSpec, shown};
use crate::flags;
use crate::secret::{MASK, is_secret};

/// What the compose tool notes on a container.
const LABEL: &str = "com.docker.compose.project";

/// What the grid says of production.
#[derive(Clone, Copy, Debug)]
pub(super) struct Described<'a> {
    /// Its service, as the files describe it now.
    pub service: &'a ServiceSpec,
    /// The id of the service's image on this machine.
    pub image_id: Option<&'a str>,
    /// The compose files that the grid names.
    pub files: &'a [PathBuf],
}

/// What runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Running {
    pub entrypoint: Vec<String>,
    pub command: Vec<String>,
    /// The image as it was named, and its id.
    pub image: String,
    pub image_id: String,
    /// Names of its variables, and of those of its image.
    pub variables: BTreeSet<String>,
    pub of_image: BTreeSet<String>,
    pub labels: HashMap<String, String>,
}

/// Each difference as a sentence.
pub(super) fn differences(described: Described<'_>, running: &Running) -> Vec<String> {
    let mut found = arguments(described.service, running);
    found.extend(image(described, running));
    found.extend(variables(described.service, running));
    found.extend(files(described.files, &running.labels));
    found
}

/// What the service leaves to the image is the image's in both.
fn arguments(service: &ServiceSpec, running: &Running) -> Vec<String> {
    let mut says = Vec::new();
    let mut runs = Vec::new();
    if let Some(entrypoint) = &service.entrypoint {
        says.extend(entrypoint.iter().cloned());
        runs.extend(running.entrypoint.iter().cloned());
    }
    if let Some(command) = &service.command {
        says.extend(command.iter().cloned());
        runs.extend(running.command.iter().cloned());
    }
    let (mut only_says, mut only_runs) = (pieces(&says), pieces(&runs));
    let both: Vec<Piece> = only_says.iter().filter(|it| only_runs.contains(it)).cloned().collect();
    only_says.retain(|piece| !both.contains(piece));
    only_runs.retain(|piece| !both.contains(piece));
    let mut found = Vec::new();
    for piece in only_runs {
        let same = only_says.iter().position(|it| it.name == piece.name);
        let other = same.map(|at| only_says.remove(at));
        found.push(match (&piece.name, other) {
            (Some(name), Some(_)) if is_secret(name) => {
                format!("`--{name}` has another value in the container than in the file")
            }
            (Some(_), Some(other)) => {
                let says = if other.value.is_empty() { other.text() } else { other.value };
                format!("the container runs with {}, the file says {says}", piece.text())
            }
            (None, Some(other)) => {
                format!("the container runs `{}`, the file says `{}`", piece.text(), other.text())
            }
            (_, None) => {
                format!("the container runs with {}, the file does not have it", piece.text())
            }
        });
    }
    found.extend(
        only_says
            .iter()
            .map(|piece| format!("the file says {}, the container runs without it", piece.text())),
    );
    found
}

/// An option with its value, or a word that belongs to none.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    name: Option<String>,
    value: String,
}

impl Piece {
    fn text(&self) -> String {
        match &self.name {
            None => self.value.clone(),
            Some(name) if self.value.is_empty() => format!("--{name}"),
            Some(name) if is_secret(name) => format!("--{name} {MASK}"),
            Some(name) => format!("--{name} {}", self.value),
        }
    }
}

/// The options of an argument vector; of a script in it, those of its lines.
fn pieces(arguments: &[String]) -> Vec<Piece> {
    let mut found: Vec<Piece> = Vec::new();
    for argument in arguments {
        if argument.contains('\n') {
            for line in argument.lines() {
                let line = line.trim().trim_end_matches('\\').trim_end();
                if !line.is_empty() && !line.starts_with('#') {
                    let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
                    words_of(&words, &mut found);
                }
            }
        } else {
            words_of(std::slice::from_ref(argument), &mut found);
        }
    }
    found
}

fn words_of(words: &[String], found: &mut Vec<Piece>) {
    for word in words.iter().filter(|word| !word.is_empty()) {
        if word.starts_with("--") && word.len() > 2 {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            found.push(Piece { name: Some(flags::resolve(name)), value: value.to_owned() });
            continue;
        }
        match found.last_mut() {
            Some(Piece { name: Some(_), value }) => {
                if !value.is_empty() {
                    value.push(' ');
                }
                value.push_str(word);
            }
            _ => found.push(Piece { name: None, value: word.clone() }),
        }
    }
}

fn image(described: Described<'_>, running: &Running) -> Option<String> {
    let named = &described.service.image;
    if !running.image.is_empty() && running.image != *named && running.image != running.image_id {
        return Some(format!(
            "the container runs the image {}, the file says {named}",
            running.image
        ));
    }
    let now = described.image_id.filter(|id| *id != running.image_id)?;
    let short = |id: &str| id.trim_start_matches("sha256:").chars().take(12).collect::<String>();
    Some(format!(
        "the container runs the image {}, but {named} is {} now",
        short(&running.image_id),
        short(now)
    ))
}

fn variables(service: &ServiceSpec, running: &Running) -> Vec<String> {
    let says: BTreeSet<String> = service.environment.keys().cloned().collect();
    let more = running
        .variables
        .iter()
        .filter(|it| !says.contains(*it) && !running.of_image.contains(*it));
    let more: Vec<&str> = more.map(String::as_str).collect();
    let fewer: Vec<&str> = says.difference(&running.variables).map(String::as_str).collect();
    let mut found = Vec::new();
    if !more.is_empty() {
        found.push(format!("the container has {}, which the file does not set", more.join(", ")));
    }
    if !fewer.is_empty() {
        found
            .push(format!("the file sets {}, which the container does not have", fewer.join(", ")));
    }
    found
}

/// The compose files and the env-file that the container was made with.
fn files(named: &[PathBuf], labels: &HashMap<String, String>) -> Vec<String> {
    let list = |key: &str| -> Vec<PathBuf> {
        let text = labels.get(&format!("{LABEL}.{key}")).map_or("", String::as_str);
        text.split(',').map(str::trim).filter(|it| !it.is_empty()).map(PathBuf::from).collect()
    };
    let whole = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let folder = labels.get(&format!("{LABEL}.working_dir")).map(PathBuf::from);
    let absolute = |path: &PathBuf| whole(&folder.clone().unwrap_or_default().join(path));
    let mut found = Vec::new();
    let made_with: Vec<PathBuf> = list("config_files").iter().map(absolute).collect();
    let expected: Vec<PathBuf> = named.iter().map(|path| whole(path)).collect();
    let another_file = !made_with.is_empty() && !named.is_empty() && made_with != expected;
    if another_file {
        found.push(format!(
            "the container was made with {}, the grid names {}",
            shown(&made_with),
            shown(&expected)
        ));
    }
    let of_file = expected.first().and_then(|file| file.parent()).map(whole);
    if let (Some(folder), Some(of_file), false) = (&folder, of_file, another_file)
        && whole(folder) != of_file
    {
        found.push(format!(
            "the container's project folder is {}, the compose file is in {}",
            folder.display(),
            of_file.display()
        ));
    }
    // `.env` beside the file is read without being named.
    let beside = |path: &PathBuf| {
        folder.as_deref().map(|it| whole(&it.join(".env"))) == Some(absolute(path))
    };
    let env: Vec<PathBuf> = list("environment_file").into_iter().filter(|it| !beside(it)).collect();
    if !env.is_empty() {
        found.push(format!(
            "the container was started with an env-file that the grid does not name: {}",
            shown(&env)
        ));
    }
    found
}

/// A container, as somebody who looks for another one should see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Other {
    pub name: String,
    pub service: Option<String>,
    pub project: Option<String>,
}

impl Other {
    /// From a container's names and labels.
    pub(super) fn of(names: Option<Vec<String>>, labels: Option<HashMap<String, String>>) -> Self {
        let labels: BTreeMap<String, String> = labels.unwrap_or_default().into_iter().collect();
        let name = names.into_iter().flatten().next().unwrap_or_default();
        Self {
            name: name.trim_start_matches('/').to_owned(),
            service: labels.get("com.docker.compose.service").cloned(),
            project: labels.get(LABEL).cloned(),
        }
    }
}

/// What runs in the place of a container that is not there, in one sentence; `service`
/// and `project` are what was looked for.
pub(super) fn what_runs(running: &[Other], service: Option<&str>, project: Option<&str>) -> String {
    let elsewhere = running.iter().find(|it| {
        service.is_some() && it.service.as_deref() == service && it.project.as_deref() != project
    });
    let hint = elsewhere.and_then(|it| it.project.as_ref()).map(|project| {
        format!(
            "; it runs in the project `{project}`: export COMPOSE_PROJECT_NAME={project}, or name the \
             container"
        )
    });
    let mut names: Vec<String> = running
        .iter()
        .map(|it| match (&it.service, &it.project) {
            (Some(service), Some(project)) => {
                format!("`{}` (service `{service}` of `{project}`)", it.name)
            }
            _ => format!("`{}`", it.name),
        })
        .collect();
    names.sort();
    let runs = if names.is_empty() {
        "no container runs".to_owned()
    } else {
        format!("what runs: {}", names.join(", "))
    };
    format!("{runs}{}", hint.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        shell_words::split(text).expect("the test quotes well")
    }

    fn names(text: &str) -> BTreeSet<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn service(entrypoint: Option<&str>, command: Option<&str>) -> ServiceSpec {
        ServiceSpec {
            image: "i:1".to_owned(),
            entrypoint: entrypoint.map(words),
            command: command.map(words),
            ..ServiceSpec::default()
        }
    }

    fn compared(service: &ServiceSpec, running: &Running) -> Vec<String> {
        let image_id = Some("sha256:aaaaaaaaaaaaaaaa");
        differences(Described { service, image_id, files: &[] }, running)
    }

    fn running(entrypoint: &str, command: &str) -> Running {
        Running {
            entrypoint: words(entrypoint),
            command: words(command),
            image: "i:1".to_owned(),
            image_id: "sha256:aaaaaaaaaaaaaaaa".to_owned(),
            ..Running::default()
        }
    }

    #[test]
    fn arguments_are_compared_option_by_option() {
        let file = service(None, Some("m --max-num-seqs 64 --seed=1 --api-key new --gone --x 1 2"));
        let seen =
            running("vllm serve", "n --max_num_seqs=16 --seed 1 --api-key old --more 3 --x 1 2");
        assert_eq!(
            compared(&file, &seen),
            [
                "the container runs `n`, the file says `m`",
                "the container runs with --max-num-seqs 16, the file says 64",
                "`--api-key` has another value in the container than in the file",
                "the container runs with --more 3, the file does not have it",
                "the file says --gone, the container runs without it",
            ]
        );
        let same =
            running("vllm serve", "m --seed 1 --max-num-seqs 64 --api-key new --gone --x 1 2");
        assert_eq!(compared(&file, &same), [""; 0]);
        assert_eq!(compared(&service(None, None), &same), [""; 0], "the image's own");
    }

    #[test]
    fn scripts_are_compared_line_by_line() {
        let script = |sequences: u32| {
            format!(
                "'set -e\n# a comment\nexec vllm serve m --seed 1 \\\n  --max-num-seqs {sequences} \\\n  --api-key k\n'"
            )
        };
        let file = service(Some("/bin/sh -c"), Some(&script(64)));
        assert_eq!(
            compared(&file, &running("/bin/sh -c", &script(16))),
            ["the container runs with --max-num-seqs 16, the file says 64"]
        );
    }

    #[test]
    fn images_and_names_of_variables_are_compared() {
        let mut file = service(None, None);
        file.environment =
            [("A", "1"), ("B", "2")].map(|(a, b)| (a.to_owned(), b.to_owned())).into();
        let mut seen = running("", "");
        seen.variables = names("A PATH HF_TOKEN");
        seen.of_image = names("PATH");
        seen.image_id = "sha256:bbbbbbbbbbbbbbbb".to_owned();
        assert_eq!(
            compared(&file, &seen),
            [
                "the container runs the image bbbbbbbbbbbb, but i:1 is aaaaaaaaaaaa now",
                "the container has HF_TOKEN, which the file does not set",
                "the file sets B, which the container does not have",
            ]
        );
        seen.image = "i:0".to_owned();
        assert_eq!(
            compared(&file, &seen)[0],
            "the container runs the image i:0, the file says i:1"
        );
    }

    #[test]
    fn compose_files_and_the_env_file_are_compared() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path().canonicalize().expect("it is there");
        let file = folder.join("compose.yaml");
        std::fs::write(&file, "").expect("written");
        std::fs::write(folder.join(".env"), "").expect("written");
        let at = |name: &str| folder.join(name).display().to_string();
        let labels = |files: &str, env: &str, of: &Path| -> HashMap<String, String> {
            [
                ("config_files", files),
                ("environment_file", env),
                ("working_dir", &of.display().to_string()),
            ]
            .map(|(key, value)| (format!("{LABEL}.{key}"), value.to_owned()))
            .into()
        };
        let named = [file];
        for (files_of, env) in [("compose.yaml", ""), (&*at("compose.yaml"), &*at(".env"))] {
            assert_eq!(files(&named, &labels(files_of, env, &folder)), [""; 0]);
        }
        assert_eq!(files(&named, &HashMap::new()), [""; 0], "it was not made by the compose tool");
        let two = format!("{},{}", at("compose.yaml"), at("over.yaml"));
        assert_eq!(
            files(&named, &labels(&two, &at("prod.env"), &folder)),
            [
                format!(
                    "the container was made with {}, {}, the grid names {}",
                    at("compose.yaml"),
                    at("over.yaml"),
                    at("compose.yaml")
                ),
                format!(
                    "the container was started with an env-file that the grid does not name: {}",
                    at("prod.env")
                ),
            ]
        );
        let elsewhere = files(&named, &labels(&at("compose.yaml"), "", Path::new("/elsewhere")));
        assert_eq!(
            elsewhere,
            [format!(
                "the container's project folder is /elsewhere, the compose file is in {}",
                folder.display()
            )]
        );
    }

    #[test]
    fn what_runs_is_named_for_somebody_who_looks_for_another() {
        let other = |name: &str, compose: Option<(&str, &str)>| Other {
            name: name.to_owned(),
            service: compose.map(|(service, _)| service.to_owned()),
            project: compose.map(|(_, project)| project.to_owned()),
        };
        assert_eq!(what_runs(&[], Some("vllm"), Some("a")), "no container runs");
        let all = [other("z", None), other("b-vllm-1", Some(("vllm", "b")))];
        assert_eq!(
            what_runs(&all, Some("vllm"), Some("a")),
            "what runs: `b-vllm-1` (service `vllm` of `b`), `z`; it runs in the project `b`: export \
             COMPOSE_PROJECT_NAME=b, or name the container"
        );
        assert_eq!(
            what_runs(&all, None, None),
            "what runs: `b-vllm-1` (service `vllm` of `b`), `z`"
        );
    }
}
