//! What the command of a service asks for by itself: the base that a grid's flags are
//! laid over, and whether it can take flags at all. Pure.

use std::collections::BTreeSet;

use super::command_view::CommandView;
use super::compose::ComposeError;
use crate::configuration::{Configuration, Flags};
use crate::grid::ServiceBase;
use crate::secret::is_in_value;

/// What a service's command asks for by itself; no flags where they cannot be read.
pub fn of(image: &str, view: &CommandView) -> ServiceBase {
    let (model, flags) = view.read();
    // What holds a secret stays in the service's own command, and only there.
    let flags = flags.into_iter().filter(|(_, value)| !is_in_value(value)).collect();
    ServiceBase { image: image.to_owned(), model, flags }
}

/// Refuses flags of the grid (those of its engine block, `own`, too) that could not act:
/// something other than what was asked for would be measured. What else is not known
/// of the command comes back as a warning. `place` is where the command is written.
///
/// # Errors
/// The place, what is in the way, and the flags.
pub fn check(
    view: &CommandView,
    place: &str,
    own: &Flags,
    configurations: &[Configuration],
) -> Result<Option<String>, ComposeError> {
    let varied = configurations.iter().flat_map(|it| &it.varied);
    let set: Vec<_> = own.iter().chain(varied).map(|(name, value)| (name.clone(), value)).collect();
    let names = |set: &mut dyn Iterator<Item = String>| -> Vec<String> {
        set.collect::<BTreeSet<String>>().into_iter().collect()
    };
    if let Some(why) = view.unreadable() {
        let flags = names(&mut set.into_iter().map(|(name, _)| name));
        if flags.is_empty() {
            return Ok(Some(format!(
                "what starts vLLM cannot be seen through: {why}; its flags are not read, so model, \
                 limits and memory are not known before the server shows them"
            )));
        }
        return Err(ComposeError::Unreadable { place: place.to_owned(), why: why.clone(), flags });
    }
    if !view.has("config") {
        return Ok(None);
    }
    let file = view.value("config").unwrap_or_else(|| "(a variable)".to_owned());
    let is_read = !view.config().is_empty();
    let taken = set
        .iter()
        .filter(|(name, value)| value.is_null() && (!is_read || view.config().contains_key(name)));
    let flags = names(&mut taken.map(|(name, _)| name.clone()));
    if !flags.is_empty() {
        let reason = if is_read { "sets it" } else { "is not readable here and may set it" };
        return Err(ComposeError::InConfigFile { place: place.to_owned(), file, reason, flags });
    }
    Ok((!is_read).then(|| {
        format!(
            "`--config {file}` is not readable here: what it sets is missing from flags, ids and \
             what is equal; put it in a bind mount, or write its flags into the command"
        )
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn view(entrypoint: &str, command: &str) -> CommandView {
        let words = |text: &str| shell_words::split(text).expect("the test quotes well");
        CommandView::new(
            (!entrypoint.is_empty()).then(|| words(entrypoint)),
            (!command.is_empty()).then(|| words(command)),
            None,
        )
    }

    fn configuration(varied: &Value, environment: &[(&str, &str)]) -> Configuration {
        let varied: Flags = varied.as_object().expect("flags").clone().into_iter().collect();
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Configuration {
            name: "c".to_owned(),
            aliases: Vec::new(),
            id: "0".to_owned(),
            flags: varied.clone(),
            varied,
            environment: environment.iter().map(pair).collect(),
            ..Default::default()
        }
    }

    fn checked(view: &CommandView, own: &Value, varied: &Value) -> Result<Option<String>, String> {
        let own: Flags = own.as_object().expect("flags").clone().into_iter().collect();
        let all = [configuration(&json!({}), &[("A", "1")]), configuration(varied, &[])];
        check(view, "c.yaml:4: `entrypoint` of the service `llm`", &own, &all)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_script_is_read_as_flags() {
        let view = view("/bin/bash -c", "'vllm serve m --port 8080 --api-key k --max-num-seqs 32'");
        let base = of("i:1", &view);
        assert_eq!(base.model.as_deref(), Some("m"));
        assert_eq!(base.flags, Flags::from([("max-num-seqs".to_owned(), json!(32))]));
        assert_eq!(checked(&view, &json!({}), &json!({"seed": 1})), Ok(None));
    }

    #[test]
    fn flags_for_a_launcher_are_refused_and_environment_is_not() {
        let launcher = view("/bin/sh /launch.sh", "");
        let (none, varied) = (json!({}), json!({"seed": 1, "max-num-seqs": null}));
        assert_eq!(
            checked(&launcher, &none, &varied),
            Err("c.yaml:4: `entrypoint` of the service `llm`: `max-num-seqs`, `seed` cannot be set, \
                 because what starts vLLM cannot be seen through: `sh /launch.sh` is not known to \
                 pass its arguments on to vLLM; write it as one `vllm serve ...` (a script may hold \
                 it), or vary environment variables only"
                .to_owned())
        );
        let refused = checked(&launcher, &json!({"seed": 1}), &none).expect_err("refused");
        assert!(refused.contains("`seed` cannot be set"), "{refused}");
        let warned = checked(&launcher, &none, &none).expect("environment alone").expect("warned");
        assert!(warned.contains("its flags are not read"), "{warned}");
        assert_eq!(of("i:1", &launcher).flags, Flags::new());
    }

    #[test]
    fn what_a_config_file_may_hold_is_not_taken_away() {
        let unread = view("vllm serve", "m --config /c.yaml");
        let (none, away) = (json!({}), json!({"max-num-seqs": null}));
        let refused = checked(&unread, &none, &away).expect_err("it may be in the file");
        assert!(refused.contains("`--config /c.yaml` is not readable here"), "{refused}");
        let warned = checked(&unread, &none, &json!({"seed": 1})).expect("appended");
        assert!(warned.expect("warned").contains("not readable here"));
        let read = unread.with_config(Flags::from([("max-num-seqs".to_owned(), json!(4))]));
        let refused = checked(&read, &none, &away).expect_err("it is in the file");
        assert!(refused.contains("sets it"), "{refused}");
        assert_eq!(checked(&read, &none, &json!({"seed": null, "max-num-seqs": 8})), Ok(None));
    }
}
