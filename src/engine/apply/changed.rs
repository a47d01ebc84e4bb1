//! Whether a service is still what was measured, part by part. What `apply` writes anyway may
//! have changed. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::configuration::Configuration;
use crate::engine::command_view::CommandView;
use crate::engine::compose::{ServiceSpec, parts};

/// What a configuration was measured with, as the sweep's files say it.
#[derive(Clone, Debug, Default)]
pub struct Tested {
    /// Name and hash of each part of the services; `None` where they were not noted.
    pub parts: Option<BTreeMap<String, String>>,
    /// The image of its launches.
    pub image_id: Option<String>,
}

/// What the service is now.
pub(super) struct Now<'a> {
    /// The service with the engine block's own flags, as the sweep makes its parts.
    pub(super) spec: &'a ServiceSpec,
    /// What is to be started.
    pub(super) view: &'a CommandView,
    /// The id of its image on this machine, where it is known.
    pub(super) image_id: Option<&'a str>,
}

/// Each part that is not what was measured and that nothing writes, as a sentence.
pub(super) fn found(tested: &Tested, now: &Now<'_>, configuration: &Configuration) -> Vec<String> {
    let mut found = Vec::new();
    if let (Some(named), image) = (&configuration.image, &now.spec.image)
        && named != image
    {
        found.push(format!("its image was {named}, and is {image}"));
    } else if let (Some(then), Some(now_id)) = (tested.image_id.as_deref(), now.image_id)
        && then != now_id
    {
        let (then, now_id) = (short(then), short(now_id));
        found.push(format!("its image {} was {then}, and is {now_id}", now.spec.image));
    }
    let Some(then) = tested.parts.as_ref().map(|all| own(all, configuration)) else {
        return found;
    };
    let parts = parts::of(now.spec);
    let names: BTreeSet<&String> = then.keys().chain(parts.keys()).collect();
    for name in names {
        let (before, is) = (then.get(name), parts.get(name));
        if before == is || is_written(name, now, configuration) {
            continue;
        }
        let what = match (before, is) {
            (Some(_), Some(_)) => "changed",
            (Some(_), None) => "was removed",
            _ => "was added",
        };
        found.push(format!("{name} {what}"));
    }
    found
}

/// What a person should know where the sweep's files do not say what the service was.
pub(super) fn not_compared(tested: &Tested) -> Option<String> {
    tested.parts.is_none().then(|| {
        "whether the service changed since the sweep is not known: the sweep's files do not say what \
         it was made of"
            .to_owned()
    })
}

/// The parts of the configuration's own stack. Those of several are marked with what they are.
fn own(all: &BTreeMap<String, String>, configuration: &Configuration) -> BTreeMap<String, String> {
    let mark = format!(" ({})", configuration.stack);
    let is_marked = |name: &&String| name.ends_with(&mark);
    let is_own = configuration.stack.is_own() || !all.keys().any(|name| is_marked(&name));
    let named = all.iter().filter_map(|(name, hash)| {
        let name = if is_own { name } else { name.strip_suffix(&mark)? };
        Some((name.to_owned(), hash.clone()))
    });
    // The image has a sentence of its own.
    named.filter(|(name, _)| !name.starts_with("image id") && !name.ends_with(')')).collect()
}

/// Whether the override has that part as it was tested, whatever the service says.
fn is_written(name: &str, now: &Now<'_>, configuration: &Configuration) -> bool {
    if let Some(variable) = name.strip_prefix("environment: ") {
        return configuration.environment.contains_key(variable);
    }
    if !matches!(name, "command" | "entrypoint") || now.view.script_text().is_some() {
        return false;
    }
    // Of a vector the flags are all that there is.
    let (model, flags) = now.view.read();
    let asked = configuration.flags.iter().filter(|(_, value)| !value.is_null());
    now.view.unreadable().is_none()
        && configuration.model.as_ref().is_none_or(|asked| model.as_ref() == Some(asked))
        && asked.eq(flags.iter())
}

fn short(id: &str) -> &str {
    id.get(..19).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::configuration::{Flags, Stack};

    fn spec(command: &str) -> ServiceSpec {
        let words = command.split(' ').map(str::to_owned).collect();
        ServiceSpec {
            entrypoint: Some(vec!["vllm".to_owned(), "serve".to_owned()]),
            environment: [("A".to_owned(), "1".to_owned())].into(),
            shm_size: Some(1 << 30),
            ..ServiceSpec::of_image("i:1", words)
        }
    }

    fn configuration() -> Configuration {
        Configuration {
            flags: Flags::from([("max-num-seqs".to_owned(), json!(8))]),
            image: Some("i:1".to_owned()),
            ..Configuration::default()
        }
    }

    fn seen(
        now: &ServiceSpec,
        written: &ServiceSpec,
        configuration: &Configuration,
    ) -> Vec<String> {
        let tested = Tested { parts: Some(parts::of(&spec("m --max-num-seqs 4"))), image_id: None };
        let view = written.view(None);
        found(&tested, &Now { spec: now, view: &view, image_id: None }, configuration)
    }

    #[test]
    fn what_is_not_written_must_be_what_it_was() {
        let (same, applied) = (spec("m --max-num-seqs 4"), spec("m --max-num-seqs 8"));
        assert_eq!(seen(&same, &applied, &configuration()), [""; 0]);
        let mut other = same.clone();
        other.shm_size = None;
        other.environment =
            [("A".to_owned(), "2".to_owned()), ("B".to_owned(), "1".to_owned())].into();
        assert_eq!(
            seen(&other, &applied, &configuration()),
            ["environment: A changed", "environment: B was added", "shm_size was removed"]
        );
        let sets = Configuration { environment: other.environment.clone(), ..configuration() };
        assert_eq!(seen(&other, &applied, &sets), ["shm_size was removed"], "both are written");
        let image = ServiceSpec { image: "i:2".to_owned(), ..same };
        assert_eq!(seen(&image, &applied, &configuration()), ["its image was i:1, and is i:2"]);
    }

    #[test]
    fn a_command_may_change_where_the_flags_are_those_that_were_tested() {
        let edited = spec("m --max-num-seqs 16");
        assert_eq!(seen(&edited, &spec("m --max-num-seqs 8"), &configuration()), [""; 0]);
        let more = spec("m --max-num-seqs 8 --seed 1");
        assert_eq!(seen(&more, &more, &configuration()), ["command changed"]);
        let script = |text: &str| ServiceSpec {
            entrypoint: Some(vec!["sh".to_owned(), "-c".to_owned()]),
            command: Some(vec![text.to_owned()]),
            ..edited.clone()
        };
        let (was, is) = (
            script("exec vllm serve m --max-num-seqs 8"),
            script("sleep 1\nexec vllm serve m --max-num-seqs 8"),
        );
        let tested = Tested { parts: Some(parts::of(&was)), image_id: None };
        let view = is.view(None);
        let now = Now { spec: &is, view: &view, image_id: None };
        assert_eq!(found(&tested, &now, &configuration()), ["command changed"]);
    }

    #[test]
    fn the_image_is_that_of_the_launches_and_each_stack_has_its_own_parts() {
        let same = spec("m --max-num-seqs 4");
        let view = same.view(None);
        let now = Now { spec: &same, view: &view, image_id: Some("sha256:bb") };
        let mut all = parts::of(&same);
        let of_stack = Configuration {
            stack: Stack { image: Some("i:1".to_owned()), ..Stack::default() },
            ..configuration()
        };
        all.insert("shm_size (image i:1)".to_owned(), "0".to_owned());
        all.insert("image id (image i:1)".to_owned(), "0".to_owned());
        let tested = Tested { parts: Some(all), image_id: Some("sha256:aa".to_owned()) };
        let of_own = found(&tested, &now, &configuration());
        assert_eq!(of_own, ["its image i:1 was sha256:aa, and is sha256:bb"]);
        assert!(found(&tested, &now, &of_stack).contains(&"shm_size changed".to_owned()));
    }

    #[test]
    fn what_cannot_be_compared_is_said() {
        let same = spec("m --max-num-seqs 4");
        let noted = Tested { parts: Some(parts::of(&same)), image_id: None };
        assert_eq!(not_compared(&noted), None);
        let said = not_compared(&Tested::default()).expect("it is said");
        assert!(said.contains("is not known"), "{said}");
    }
}
