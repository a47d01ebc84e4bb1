//! From which compose files a service of a grid's block is read. What the running
//! container of production was made from decides, where its labels say it: the grid's
//! own files may be others than those that serve.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::models::ContainerSummary;
use bollard::query_parameters::ListContainersOptionsBuilder;
use tokio::time::timeout;

use super::daemon::{DaemonSettings, connect, in_all, late};
use super::patience::may_pass;
use crate::engine::compose::{self, ComposeError, ComposeSource, shown};
use crate::grid::{DockerBlock, ProductionName};

/// What the compose tool notes on a container.
const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";
/// Longest that the daemon may take where a sweep or a recovery depends on its answer.
pub const LIMIT: Duration = Duration::from_secs(10);

/// Where a service is described, and what a person should know of how that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The files.
    pub source: ComposeSource,
    /// Choices that the grid does not show.
    pub notes: Vec<String>,
    /// Why what production was made from is not known, where a daemon that may be there gave no
    /// answer: the files are the grid's own then.
    pub unanswered: Option<String>,
}

/// Where `service` of the block's compose files is described; `None` without a service.
///
/// # Errors
/// The grid names no file, and none is found. Or a daemon that is there does not answer: what
/// is read must not depend on how long it takes.
pub async fn source_of(
    block: &DockerBlock,
    service: Option<&str>,
) -> Result<Option<Located>, ComposeError> {
    let located = source_within(block, service, LIMIT).await?;
    match located.as_ref().and_then(|it| it.unanswered.clone()) {
        Some(why) => Err(ComposeError::NoAnswer { what: WHAT.to_owned(), why }),
        None => Ok(located),
    }
}

/// What the daemon is asked for.
pub const WHAT: &str = "which compose files production was made from";

/// The same for who can do with the grid's own files where the daemon takes longer than `limit`.
///
/// # Errors
/// The grid names no file, and none is found.
pub async fn source_within(
    block: &DockerBlock,
    service: Option<&str>,
    limit: Duration,
) -> Result<Option<Located>, ComposeError> {
    let Some(located) = named_by(block, service)? else { return Ok(None) };
    if block.compose.located && service == block.service.as_deref() {
        return Ok(Some(located));
    }
    let settings = DaemonSettings::of_environment().within(limit);
    let labels = timeout(in_all(limit), labels_of(&settings, block, &located.source));
    Ok(Some(match labels.await.unwrap_or_else(|_| Err(late(limit))) {
        Ok(Some(labels)) => made_of(located, &labels),
        Ok(None) => located,
        Err(why) => Located { unanswered: Some(why), ..located },
    }))
}

/// The same by the grid alone.
///
/// # Errors
/// The grid names no file, and none is found.
pub fn named_by(
    block: &DockerBlock,
    service: Option<&str>,
) -> Result<Option<Located>, ComposeError> {
    let Some(service) = service else { return Ok(None) };
    let (files, notes) = compose::found(&block.compose)?;
    let source = ComposeSource {
        profiles: block.profiles.clone(),
        service: service.to_owned(),
        ..ComposeSource::of(&block.compose, files)
    };
    Ok(Some(Located { source, notes, unanswered: None }))
}

/// A container of the service: its name, and its labels.
struct Made {
    name: String,
    labels: HashMap<String, String>,
}

/// The container of the service that serves, or served, where the daemon shows exactly one.
///
/// # Errors
/// Why a daemon that may be there gave no answer.
async fn labels_of(
    settings: &DaemonSettings,
    block: &DockerBlock,
    source: &ComposeSource,
) -> Result<Option<Made>, String> {
    let limit = settings.patience.unwrap_or(LIMIT);
    let docker = match connect(settings).await {
        Ok(docker) => docker,
        Err(error) => return error.unanswered(limit).map_or(Ok(None), Err),
    };
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
    let found = match docker.ask(|| docker.list_containers(Some(options.clone()))).await {
        Ok(found) => found,
        Err(error) if may_pass(&error) => return Err(late(limit)),
        // What it refuses is told by those who cannot do without it.
        Err(_) => return Ok(None),
    };
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
    let Located { source, mut notes, unanswered } = located;
    let folder = made.labels.get(&format!("{PROJECT}.working_dir")).map(PathBuf::from);
    let list = |key: &str| -> Vec<PathBuf> {
        let text = made.labels.get(&format!("{PROJECT}.{key}")).map_or("", String::as_str);
        let paths = text.split(',').map(str::trim).filter(|it| !it.is_empty());
        paths.map(|path| within(folder.as_deref(), Path::new(path))).collect()
    };
    let (files, env_files) = (list("config_files"), list("environment_file"));
    if files.is_empty() {
        return Located { source, notes, unanswered };
    }
    let same_files = alike(&files, &source.files);
    // The first version of the tool notes no env-file; `.env` in the folder needs no naming.
    let same_env = env_files.is_empty() || alike(&env_files, &source.variable_files());
    if same_files && same_env {
        return Located { source, notes, unanswered };
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
        return Located { source, notes, unanswered };
    }
    notes.push(format!("{made_from}: that is read; {named}"));
    let env_files = if same_env { source.env_files.clone() } else { env_files };
    let project_directory = if same_files { source.project_directory.clone() } else { folder };
    let source = ComposeSource { files, env_files, project_directory, ..source };
    Located { source, notes, unanswered }
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
        Located { source, notes: Vec::new(), unanswered: None }
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
