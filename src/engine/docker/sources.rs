//! From which compose files a service of a grid's block is read. What the running
//! container of production was made from decides, where its labels say it: the grid's
//! own files may be others than those that serve.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::models::ContainerSummary;
use bollard::query_parameters::ListContainersOptionsBuilder;
use tokio::time::timeout;

use super::daemon::{DaemonSettings, connect};
use crate::engine::compose::{self, ComposeError, ComposeSource};
use crate::grid::{DockerBlock, ProductionName};

/// What the compose tool notes on a container.
const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";
/// How long a daemon may take to say what production was made from, where a person waits.
const BRIEFLY: Duration = Duration::from_secs(2);

/// What follows where the daemon does not say what production was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// The grid's own files are read, with a note: nothing is launched by it.
    Noted,
    /// An error: what is launched must not depend on how long the daemon takes.
    Refused,
}

/// Where a service is described, and what a person should know of how that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The files.
    pub source: ComposeSource,
    /// Choices that the grid does not show.
    pub notes: Vec<String>,
}

/// Where `service` of the block's compose files is described; `None` without a service.
///
/// # Errors
/// The grid names no file, and none is found; or the daemon does not say what production
/// was made from.
pub async fn source_of(
    block: &DockerBlock,
    service: Option<&str>,
    silence: Silence,
) -> Result<Option<Located>, ComposeError> {
    let Some(mut located) = named_by(block, service)? else { return Ok(None) };
    if block.compose.located && service == block.service.as_deref() {
        return Ok(Some(located));
    }
    let asked = made(block, &located.source);
    let answer = match silence {
        Silence::Refused => asked.await,
        Silence::Noted => timeout(BRIEFLY, asked).await.unwrap_or_else(|_| {
            Err(format!("the Docker daemon did not answer within {} s", BRIEFLY.as_secs()))
        }),
    };
    match (answer, silence) {
        (Ok(Some(made)), _) => Ok(Some(made_of(located, &made))),
        (Ok(None), _) => Ok(Some(located)),
        (Err(reason), Silence::Refused) => Err(ComposeError::Daemon(reason)),
        (Err(reason), Silence::Noted) => {
            located.notes.push(format!(
                "what production was made from is not known, so the grid's own files are read: {reason}"
            ));
            Ok(Some(located))
        }
    }
}

/// The same by the grid alone.
///
/// # Errors
/// The grid names no file, and none is found.
pub(super) fn named_by(
    block: &DockerBlock,
    service: Option<&str>,
) -> Result<Option<Located>, ComposeError> {
    let Some(service) = service else { return Ok(None) };
    let (files, notes) = compose::found(&block.compose)?;
    let source = ComposeSource {
        files,
        env_files: block.compose.env_files.clone(),
        project_directory: block.compose.project_directory.clone(),
        profiles: block.profiles.clone(),
        service: service.to_owned(),
        ..ComposeSource::default()
    };
    Ok(Some(Located { source, notes }))
}

/// A container of the service: its name, and its labels.
struct Made {
    name: String,
    labels: HashMap<String, String>,
}

/// The container of the service that serves, or served, where the daemon shows exactly one.
async fn made(block: &DockerBlock, source: &ComposeSource) -> Result<Option<Made>, String> {
    let settings = DaemonSettings::of_environment();
    let docker = connect(&settings).await.map_err(|error| error.to_string())?;
    let service = format!("{SERVICE}={}", source.service);
    let mut labels = vec![service, "com.docker.compose.oneoff=False".to_owned()];
    let by_name = match &block.production {
        Some(ProductionName::Container(name)) => Some(name.as_str()),
        _ => None,
    };
    if by_name.is_none() {
        labels.push(format!("{PROJECT}={}", compose::project_name(source)));
    }
    let filters = HashMap::from([("label", labels)]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let list = || docker.list_containers(Some(options.clone()));
    let found = docker.ask(list).await.map_err(|error| docker.sentence(&error))?;
    let name = |seen: &ContainerSummary| {
        let name = seen.names.as_ref().and_then(|names| names.first().cloned());
        name.unwrap_or_default().trim_start_matches('/').to_owned()
    };
    let mut found = found
        .into_iter()
        .filter(|seen| by_name.is_none_or(|wanted| name(seen) == wanted))
        .map(|seen| Made { name: name(&seen), labels: seen.labels.unwrap_or_default() });
    // Of several none is production.
    Ok(found.next().filter(|_| found.next().is_none()))
}

/// What the container was made from, where that is not what the grid names.
fn made_of(located: Located, made: &Made) -> Located {
    let Located { source, mut notes } = located;
    let folder = made.labels.get(&format!("{PROJECT}.working_dir")).map(PathBuf::from);
    let list = |key: &str| -> Vec<PathBuf> {
        let text = made.labels.get(&format!("{PROJECT}.{key}")).map_or("", String::as_str);
        let paths = text.split(',').map(str::trim).filter(|it| !it.is_empty());
        paths.map(|path| within(folder.as_deref(), Path::new(path))).collect()
    };
    let (files, env_files) = (list("config_files"), list("environment_file"));
    if files.is_empty() {
        return Located { source, notes };
    }
    let same_files = alike(&files, &source.files);
    // The first version of the tool notes no env-file; `.env` in the folder needs no naming.
    let same_env = env_files.is_empty() || alike(&env_files, &source.variable_files());
    if same_files && same_env {
        return Located { source, notes };
    }
    let mut made_from = format!("production (`{}`) was made from {}", made.name, shown(&files));
    if !same_env {
        made_from.extend([" with the env-file ", &shown(&env_files)]);
    }
    let named = if same_files {
        match source.env_files.as_slice() {
            [] => "the grid names no env-file".to_owned(),
            named => format!("the grid names the env-file {}", shown(named)),
        }
    } else {
        format!("the grid comes to {}", shown(&source.files))
    };
    let lost = files.iter().chain(&env_files).find(|file| std::fs::File::open(file).is_err());
    if let Some(lost) = lost {
        notes.push(format!(
            "{made_from}; {} cannot be read here, so what the grid names is read: {named}",
            lost.display()
        ));
        return Located { source, notes };
    }
    notes.push(format!("{made_from}: that is read; {named}"));
    let env_files = if same_env { source.env_files.clone() } else { env_files };
    let project_directory = if same_files { source.project_directory.clone() } else { folder };
    Located { source: ComposeSource { files, env_files, project_directory, ..source }, notes }
}

/// A path of a label: of the project's folder. The first version of the tool notes paths as
/// they were typed, in a folder that is not known; the file's name helps then.
fn within(folder: Option<&Path>, path: &Path) -> PathBuf {
    let joined = folder.unwrap_or(Path::new("")).join(path);
    let beside = folder.zip(path.file_name()).map(|(folder, name)| folder.join(name));
    match beside {
        Some(beside) if !joined.exists() && beside.exists() => beside,
        _ => joined,
    }
}

fn alike(one: &[PathBuf], other: &[PathBuf]) -> bool {
    let whole = |path: &PathBuf| {
        path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.clone())
    };
    one.iter().map(whole).eq(other.iter().map(whole))
}

fn shown(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(folder: &Path, files: &str, env: &str) -> Made {
        let folder = folder.display().to_string();
        let labels =
            [("working_dir", &*folder), ("config_files", files), ("environment_file", env)];
        let labels = labels.map(|(key, value)| (format!("{PROJECT}.{key}"), value.to_owned()));
        Made { name: "vllm".to_owned(), labels: labels.into() }
    }

    fn located(folder: &Path, file: &str) -> Located {
        let source = ComposeSource {
            files: vec![folder.join(file)],
            service: "vllm".to_owned(),
            ..ComposeSource::default()
        };
        Located { source, notes: Vec::new() }
    }

    #[test]
    fn what_production_was_made_from_decides() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = place.path();
        for name in ["a.yaml", "b.yaml", "prod.env", ".env"] {
            std::fs::write(folder.join(name), "").expect("written");
        }
        let same = made_of(located(folder, "a.yaml"), &made(folder, "a.yaml", ".env"));
        assert_eq!(same, located(folder, "a.yaml"), "the same, and `.env` needs no naming");
        let of_v1 = made_of(located(folder, "a.yaml"), &made(folder, "./elsewhere/a.yaml", ""));
        assert_eq!(of_v1, located(folder, "a.yaml"));
        let other = made_of(located(folder, "a.yaml"), &made(folder, "a.yaml,b.yaml", "prod.env"));
        assert_eq!(other.source.files, [folder.join("a.yaml"), folder.join("b.yaml")]);
        assert_eq!(other.source.env_files, [folder.join("prod.env")]);
        assert_eq!(other.source.project_directory.as_deref(), Some(folder));
        assert!(other.notes[0].contains("b.yaml with the env-file"), "{:?}", other.notes);
        let env = made_of(located(folder, "a.yaml"), &made(folder, "a.yaml", "prod.env"));
        assert!(
            env.notes[0].ends_with("that is read; the grid names no env-file"),
            "{:?}",
            env.notes
        );
        let lost = made_of(located(folder, "a.yaml"), &made(folder, "lost.yaml", ""));
        assert_eq!(lost.source, located(folder, "a.yaml").source);
        assert!(lost.notes[0].contains("lost.yaml cannot be read here"), "{:?}", lost.notes);
    }
}
