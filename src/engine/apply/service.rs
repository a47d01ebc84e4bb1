//! A tested configuration as an override of the user's compose service. It is made from the
//! service as it is written, checked by the compose tool itself, and put in its place only
//! where the tool reads with it what was tested.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::ApplyError;
use super::changed::{self, Now, Tested};
use super::difference::{self, Change};
use super::files::{self, Draft};
use super::placed::Placed;
use super::writing::Overriding;
use crate::configuration::Configuration;
use crate::engine::command_view::{CommandView, ImageCommand};
use crate::engine::compose::template::{Template, expressions, words_followed_by};
use crate::engine::compose::{
    self, ComposeError, ComposeSource, Origin, ServiceSpec, Written, find_tool, written,
};
use crate::engine::docker::daemon::{DaemonSettings, connect};
use crate::engine::docker::{LIMIT, identity, named_by, source_within};
use crate::engine::service::{described, place_of};
use crate::engine::service_view::view_of;
use crate::engine::stack::{with_image, with_model};
use crate::grid::DockerBlock;
use crate::secret::{Secrets, is_in_arguments, is_masked, is_secret};

/// What is to be deployed, and where its files go.
pub struct Order<'a> {
    /// The engine block with what the configuration's stack names in its place.
    pub block: &'a DockerBlock,
    /// What was tested.
    pub configuration: &'a Configuration,
    /// What it was measured with.
    pub tested: &'a Tested,
    /// Path of the override.
    pub output: &'a Path,
    /// What the override is of, for its first line.
    pub of: &'a str,
    /// What must not be written.
    pub secrets: &'a Secrets,
}

/// What deploys a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deployment {
    /// The service, and the files that describe it.
    pub service: String,
    /// What changes of the service, in the unified form; empty where nothing does.
    pub difference: Vec<String>,
    /// What a person should know, one sentence each.
    pub notes: Vec<String>,
    /// The files that were written.
    pub files: Vec<PathBuf>,
    /// The command that deploys it.
    pub command: String,
    /// The command that takes it back.
    pub back: String,
}

/// Where the service of a block is described, without what `apply` wrote for it before.
///
/// # Errors
/// No file is found.
pub async fn located(
    block: &DockerBlock,
    is_own: bool,
) -> Result<Option<(ComposeSource, Vec<String>)>, ComposeError> {
    let service = block.service.as_deref();
    // What production was made from says nothing of another service.
    let found = if is_own {
        source_within(block, service, LIMIT).await?
    } else {
        named_by(block, service)?
    };
    Ok(found.map(|located| {
        let mut source = located.source.absolute();
        source.files.retain(|file| !files::is_ours(file));
        source.env_files.retain(|file| !files::is_ours(file));
        (source, located.notes)
    }))
}

/// Writes the override for a configuration, and the file of its variables.
///
/// # Errors
/// Everything for which nothing is written; see [`ApplyError`].
pub async fn of_service(
    order: &Order<'_>,
    source: ComposeSource,
) -> Result<Deployment, ApplyError> {
    let Order { block, configuration, output, secrets, .. } = order;
    let output = &std::path::absolute(output).unwrap_or_else(|_| output.to_path_buf());
    let variables_at = &output.with_extension("env");
    if variables_at == output {
        return Err(ApplyError::SamePath(output.clone()));
    }
    source.reveal_to(secrets);
    check_masked(configuration)?;
    check_variables(&source.variables, secrets)?;
    let described_spec = compose::read(&source).await?;
    let spec = with_image(described_spec.clone(), block);
    spec.reveal_to(secrets);
    let mut notes = Vec::new();
    let (image_id, own) = image(&spec.image, &mut notes).await;
    let views = Views::of(&spec, own, block, configuration);
    views.check(&source)?;
    let base = ServiceSpec {
        entrypoint: views.base.entrypoint().map(<[String]>::to_vec),
        command: views.base.command().map(<[String]>::to_vec),
        ..spec.clone()
    };
    let now = Now { spec: &base, view: &views.wanted, image_id: image_id.as_deref() };
    let changed = changed::found(order.tested, &now, configuration);
    if !changed.is_empty() {
        return Err(ApplyError::Changed(changed));
    }
    notes.extend(changed::not_compared(order.tested));
    for path in [output, variables_at] {
        files::check(path)?;
    }
    files::folder_of(output)?;
    let read = Uninterpolated::of(&source, &spec, output).await?;
    notes.extend(read.notes());
    let overriding = Overriding {
        image: block.image.clone().filter(|image| *image != described_spec.image),
        entrypoint: read.entrypoint.overriding(views.wanted.entrypoint()),
        command: read.command.overriding(views.wanted.command()),
        environment: configuration.environment.clone(),
    };
    check_secrets(&overriding, &source, secrets)?;
    let draft = Draft::of(output, &overriding.text(&source.service, order.of))?;
    let (tool, _) = find_tool().await.ok_or(ComposeError::NoTool)?;
    let placed = Placed::of(&source, tool, variables_at)?;
    let variables = placed.draft(order.of)?;
    let expected = ServiceSpec {
        entrypoint: views.wanted.entrypoint().map(<[String]>::to_vec),
        command: views.wanted.command().map(<[String]>::to_vec),
        environment: with(&spec.environment, &configuration.environment),
        ..spec.clone()
    };
    let checked = placed.source(draft.place(), variables.as_ref().map(Draft::place));
    let differing = differing(&compose::read(&checked).await?, &expected);
    if !differing.is_empty() {
        return Err(ApplyError::NotTheSame { path: output.clone(), parts: differing });
    }
    let difference = shown(&overriding, &described_spec, &read, &source, variables_at);
    let files = files::keep(draft, variables)?;
    if placed.is_in_front() {
        notes.push(
            "`docker-compose` (v1) takes one file of variables, and the service has one: the \
             configuration's own stand before the command, and every later command needs them, too"
                .to_owned(),
        );
    }
    let command = placed.line(Some(output));
    let back = placed.without_ours().line(None);
    Ok(Deployment { service: source.service, difference, notes, files, command, back })
}

/// The image's id and what it runs by itself, where a daemon says it.
async fn image(image: &str, notes: &mut Vec<String>) -> (Option<String>, Option<ImageCommand>) {
    let settings = DaemonSettings::of_environment().within(LIMIT);
    let seen = match connect(&settings).await {
        Ok(docker) => identity(&docker, image).await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match seen {
        Ok(seen) => (Some(seen.id), Some(seen.own)),
        Err(why) => {
            notes.push(format!(
                "whether the image is the one that was measured is not known: {why}"
            ));
            (None, None)
        }
    }
}

/// What is started.
struct Views {
    /// With what the grid names for all: what the sweep compared between its sessions.
    base: CommandView,
    /// As it was tested.
    wanted: CommandView,
    /// Flags that the grid sets.
    flags: Vec<String>,
}

impl Views {
    fn of(
        spec: &ServiceSpec,
        image: Option<ImageCommand>,
        block: &DockerBlock,
        configuration: &Configuration,
    ) -> Self {
        let base = with_model(spec.view(image.clone()), block).overlaid(&block.flags);
        let own = with_model(view_of(spec, image), block).overlaid(&block.flags);
        let flags = configuration.varied.keys().chain(block.flags.keys()).cloned().collect();
        Self { base, wanted: own.configured(configuration), flags }
    }

    fn check(&self, source: &ComposeSource) -> Result<(), ApplyError> {
        let why = self.wanted.unreadable().filter(|_| !self.flags.is_empty());
        let Some(why) = why else { return Ok(()) };
        let place = place_of(source, &self.wanted);
        Err(ComposeError::Unreadable {
            place: described(source, &self.wanted, &place),
            why: why.clone(),
            flags: self.flags.clone(),
        }
        .into())
    }
}

/// A key of the service as it is written.
#[derive(Default)]
struct Key {
    /// What the tool reads; `None` where the service does not have the key.
    words: Option<Vec<String>>,
    /// The same as it is written.
    templates: Vec<Template>,
    /// Expressions that cannot stay.
    lost: Vec<String>,
}

impl Key {
    /// What the override says of it; `None` where it stays.
    fn overriding(&self, wanted: Option<&[String]>) -> Option<Vec<Template>> {
        let own = self.words.as_deref();
        if own.unwrap_or_default() == wanted.unwrap_or_default() {
            return None;
        }
        Some(words_followed_by(&self.templates, wanted.unwrap_or_default()))
    }
}

/// What a service starts as it is written, with what its expressions come to.
struct Uninterpolated {
    entrypoint: Key,
    command: Key,
}

impl Uninterpolated {
    async fn of(
        source: &ComposeSource,
        spec: &ServiceSpec,
        beside: &Path,
    ) -> Result<Self, ApplyError> {
        let files = ["entrypoint", "command"].map(|key| (key, written(source, key)));
        let texts = files.iter().filter_map(|(_, it)| it.as_ref()).flat_map(Written::texts);
        let used: BTreeSet<&str> = texts.flat_map(|it| expressions(it)).collect();
        let values = values(source, &used, beside).await?;
        let value = |raw: &str| values.get(raw).cloned().unwrap_or_default();
        let key = |key: &'static str, read: &Option<Vec<String>>, file: Option<&Written>| {
            let Some(words) = read else { return Ok(Key::default()) };
            let (templates, lost) = match file {
                Some(Written::List(words)) => {
                    let words = words.iter().map(|it| Template::of(it, value));
                    (words.collect::<Vec<_>>(), Vec::new())
                }
                Some(Written::Text(text)) => Template::of(text, value).words().unwrap_or_default(),
                None => (Vec::new(), Vec::new()),
            };
            if templates.iter().map(Template::text).ne(words.iter().cloned()) {
                let place = source.place_of(key).to_string();
                return Err(ApplyError::NotFollowed { place, key });
            }
            Ok(Key { words: read.clone(), templates, lost })
        };
        let [(_, entrypoint), (_, command)] = &files;
        Ok(Self {
            entrypoint: key("entrypoint", &spec.entrypoint, entrypoint.as_ref())?,
            command: key("command", &spec.command, command.as_ref())?,
        })
    }

    fn notes(&self) -> Vec<String> {
        let lost = self.entrypoint.lost.iter().chain(&self.command.lost);
        let note = |raw: &String| {
            format!("`{raw}` is not one word of the command: what it comes to now is written out")
        };
        lost.map(note).collect()
    }
}

/// What the tool makes of expressions, by itself: as variables of the service's container.
async fn values(
    source: &ComposeSource,
    used: &BTreeSet<&str>,
    beside: &Path,
) -> Result<BTreeMap<String, String>, ApplyError> {
    if used.is_empty() {
        return Ok(BTreeMap::new());
    }
    let name = |at: usize| format!("VLLM_GRID_EXPRESSION_{at}");
    let service = compose::yaml::quoted(&source.service);
    let mut text = format!("services:\n  {service}:\n    environment:\n");
    for (at, raw) in used.iter().enumerate() {
        text.extend(["      ", &name(at), ": ", &compose::yaml::quoted(raw), "\n"]);
    }
    let draft = Draft::of(&beside.with_extension("probe.yaml"), &text)?;
    let mut asked = source.clone();
    asked.files.push(draft.place().to_owned());
    let read = compose::read(&asked).await?;
    let value = |at: usize| read.environment.get(&name(at)).cloned().unwrap_or_default();
    Ok(used.iter().enumerate().map(|(at, raw)| ((*raw).to_owned(), value(at))).collect())
}

fn with(
    own: &BTreeMap<String, String>,
    over: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut all = own.clone();
    all.extend(over.clone());
    all
}

/// What the tool reads otherwise than it was tested.
fn differing(read: &ServiceSpec, expected: &ServiceSpec) -> Vec<String> {
    let words = |it: &Option<Vec<String>>| it.clone().unwrap_or_default();
    let mut found = Vec::new();
    if read.image != expected.image {
        found.push("image".to_owned());
    }
    if words(&read.entrypoint) != words(&expected.entrypoint) {
        found.push("entrypoint".to_owned());
    }
    if words(&read.command) != words(&expected.command) {
        found.push("command".to_owned());
    }
    let names: BTreeSet<&String> =
        read.environment.keys().chain(expected.environment.keys()).collect();
    let differ = |name: &&&String| read.environment.get(**name) != expected.environment.get(**name);
    found.extend(names.iter().filter(differ).map(|name| format!("environment: {name}")));
    let rest = |spec: &ServiceSpec| ServiceSpec {
        image: String::new(),
        entrypoint: None,
        command: None,
        environment: BTreeMap::new(),
        said: Vec::new(),
        replaced: Vec::new(),
        ..spec.clone()
    };
    if rest(read) != rest(expected) {
        found.push("other keys".to_owned());
    }
    found
}

const ADVICE: &str = "move it into a variable (`${NAME}` of the compose file, or one of the container \
                      under `environment`), then try again";

/// Values that the sweep's files do not have.
fn check_masked(configuration: &Configuration) -> Result<(), ApplyError> {
    let variable =
        configuration.environment.iter().find(|(name, value)| is_secret(name) || is_masked(value));
    if let Some((name, _)) = variable {
        return Err(ApplyError::Masked(format!("the value of {name}")));
    }
    let flag = configuration.varied.iter().find(|(_, value)| is_masked(&value.to_string()));
    match flag {
        Some((name, _)) => Err(ApplyError::Masked(format!("the value of --{name}"))),
        None => Ok(()),
    }
}

fn check_variables(
    variables: &BTreeMap<String, String>,
    secrets: &Secrets,
) -> Result<(), ApplyError> {
    let found = variables
        .iter()
        .find(|(name, value)| is_secret(name) || is_masked(value) || secrets.find(value).is_some());
    match found {
        Some((name, _)) => Err(ApplyError::Secret {
            place: "the grid's `variables`".to_owned(),
            what: format!("the value of {name}"),
            advice: ADVICE,
        }),
        None => Ok(()),
    }
}

/// Refuses what would have the value of a secret in it.
fn check_secrets(
    overriding: &Overriding,
    source: &ComposeSource,
    secrets: &Secrets,
) -> Result<(), ApplyError> {
    for (key, words) in [("entrypoint", &overriding.entrypoint), ("command", &overriding.command)] {
        let shown: Vec<String> = words.iter().flatten().map(Template::shown).collect();
        let known = shown.iter().find(|word| secrets.find(word).is_some());
        if known.is_some() || is_in_arguments(shown.iter().map(String::as_str)) {
            return Err(ApplyError::Secret {
                place: format!(
                    "{}: `{key}` of the service `{}`",
                    source.place_of(key),
                    source.service
                ),
                what: "the value of a secret in it".to_owned(),
                advice: ADVICE,
            });
        }
    }
    let of_environment = overriding.environment.iter().find(|(_, it)| secrets.find(it).is_some());
    match of_environment {
        Some((name, _)) => Err(ApplyError::Secret {
            place: "the grid's `environment`".to_owned(),
            what: format!("the value of {name}"),
            advice: ADVICE,
        }),
        None => Ok(()),
    }
}

/// What changes, for a person.
fn shown(
    overriding: &Overriding,
    described: &ServiceSpec,
    read: &Uninterpolated,
    source: &ComposeSource,
    variables_at: &Path,
) -> Vec<String> {
    let pair = |(name, value): (&String, &String)| format!("{name}={value}");
    let mut changes = Vec::new();
    if let Some(image) = &overriding.image {
        let (before, after) = (vec![described.image.clone()], vec![image.clone()]);
        changes.push(Change { key: "image".to_owned(), before, after });
    }
    let keys = [
        ("entrypoint", &overriding.entrypoint, &read.entrypoint),
        ("command", &overriding.command, &read.command),
    ];
    for (key, words, own) in keys {
        if let Some(words) = words {
            let (before, after) = (difference::lines(&own.templates), difference::lines(words));
            changes.push(Change { key: key.to_owned(), before, after });
        }
    }
    let own = described.environment.iter();
    let before = own.filter(|(name, _)| overriding.environment.contains_key(*name)).map(pair);
    changes.push(Change {
        key: "environment".to_owned(),
        before: before.collect(),
        after: overriding.environment.iter().map(pair).collect(),
    });
    let bare = ComposeSource { variables: BTreeMap::new(), ..source.clone() };
    let uses = compose::variables_of(&bare).into_iter();
    let before = uses
        .filter(|it| source.variables.contains_key(&it.name) && it.origin != Origin::Unset)
        .map(|it| format!("{}={}", it.name, it.value));
    let name = variables_at.file_name().unwrap_or_default().to_string_lossy();
    changes.push(Change {
        key: format!("variables of the compose files ({name})"),
        before: before.collect(),
        after: source.variables.iter().map(pair).collect(),
    });
    difference::unified(&changes)
}
