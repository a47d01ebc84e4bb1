//! Words that a grid gives to `sbatch` besides what is set here: long options, one word each.
//! Refused is what another key says, what the sweep itself sets, and what would make jobs that it
//! cannot follow. `sbatch` takes a long option's name cut short, too: a word that may mean one of
//! these is refused like it.

use super::super::error::Findings;
use super::super::fields::list;
use super::super::node::{Content, Node};
use crate::secret::is_in_arguments;

/// Options that a key of the grid says, with the key.
const OF_KEYS: [(&str, &str); 13] = [
    ("partition", "partition"),
    ("gres", "gres"),
    ("gpus", "gres"),
    ("gpus-per-node", "gres"),
    ("gpus-per-socket", "gres"),
    ("gpus-per-task", "gres"),
    ("time", "time"),
    ("time-min", "time"),
    ("exclusive", "exclusive"),
    ("oversubscribe", "exclusive"),
    ("share", "exclusive"),
    ("export", "environment"),
    ("export-file", "environment"),
];

/// Options that are set here, or with which a launch could not be followed, with why.
const OWN: [(&str, &str); 35] = [
    ("job-name", NAMED),
    ("comment", NAMED),
    ("parsable", NAMED),
    ("output", FILES),
    ("error", FILES),
    ("open-mode", FILES),
    ("chdir", FILES),
    ("workdir", FILES),
    ("input", FILES),
    ("wrap", SCRIPT),
    ("array", SUBMITTED),
    ("wait", SUBMITTED),
    ("nodes", ONE),
    ("nodefile", ONE),
    ("ntasks", ONE),
    ("ntasks-per-core", ONE),
    ("ntasks-per-gpu", ONE),
    ("ntasks-per-node", ONE),
    ("ntasks-per-socket", ONE),
    ("tasks-per-node", ONE),
    ("hold", STARTED),
    ("requeue", STARTED),
    ("no-requeue", STARTED),
    ("signal", STARTED),
    ("no-kill", STARTED),
    ("clusters", FOLLOWED),
    ("cluster-constraint", FOLLOWED),
    ("uid", FOLLOWED),
    ("gid", FOLLOWED),
    ("test-only", NO_JOB),
    ("help", NO_JOB),
    ("usage", NO_JOB),
    ("version", NO_JOB),
    ("kill-on-bad-exit", ONE),
    ("multi-prog", ONE),
];

const NAMED: &str = "the sweep finds its jobs by what it sets there";
const FILES: &str = "a launch's files are in its folder of the run";
const SCRIPT: &str = "a job is one launch, and its script is the sweep's";
const SUBMITTED: &str = "the sweep submits each launch as a job of its own, and follows it";
const ONE: &str = "a launch is one task on one node";
const STARTED: &str = "the sweep decides when a job starts, and what becomes of one that is cut";
const FOLLOWED: &str = "the sweep asks for its jobs on this cluster, as this user";
const NO_JOB: &str = "with it no job would be made";

/// Options that are whole names of their own although another one begins like them.
const WHOLE: [&str; 2] = ["gres-flags", "exclude"];

/// Options that name nodes. `sbatch` takes a value with a `/` for a file, which nobody else reads:
/// neither the plan, nor who adds further nodes to those that are excluded.
const OF_NODES: [&str; 2] = ["nodelist", "exclude"];

/// Options whose value would be missing: the next word would be taken for it.
const WITH_VALUE: [&str; 32] = [
    "account",
    "acctg-freq",
    "batch",
    "bb",
    "begin",
    "constraint",
    "container",
    "core-spec",
    "cores-per-socket",
    "cpu-freq",
    "cpus-per-gpu",
    "cpus-per-task",
    "deadline",
    "dependency",
    "distribution",
    "exclude",
    "extra-node-info",
    "gpu-bind",
    "gpu-freq",
    "gres-flags",
    "licenses",
    "mail-type",
    "mail-user",
    "mem",
    "mem-per-cpu",
    "mem-per-gpu",
    "mincpus",
    "nodelist",
    "priority",
    "qos",
    "reservation",
    "tmp",
];

/// The words of `options`.
pub(super) fn read(node: &Node, findings: &mut Findings) -> Vec<String> {
    let Some(items) = list(node, "`options`", findings) else { return Vec::new() };
    let mut words: Vec<String> = Vec::new();
    for item in items {
        let Content::Text(word) = &item.content else {
            let message = format!("`options` contains {}, not a text", item.describe());
            findings.error(&item.span, message).help("write for example `--account=lab`");
            continue;
        };
        let before = words.last().map(String::as_str);
        // A secret is reported with the others, and not shown.
        let is_secret = is_in_arguments(before.into_iter().chain([word.as_str()]));
        if let Some((message, help)) = refusal(word, before).filter(|_| !is_secret) {
            findings.error(&item.span, message).help(help);
        }
        words.push(word.clone());
    }
    words
}

/// Why a word cannot be taken, and what to do; `before` is the word before it.
fn refusal(word: &str, before: Option<&str>) -> Option<(String, String)> {
    let shown = crate::flags::shown(word);
    let Some(rest) = word.strip_prefix("--") else {
        let bare = before.filter(|it| it.starts_with("--") && !it.contains('='));
        let help = match bare {
            Some(before) => format!("write `{before}={shown}`, as one word"),
            None if word.starts_with('-') => "write the long form: `--account=lab`".to_owned(),
            None => "write for example `--account=lab`".to_owned(),
        };
        return Some((format!("`options`: `{shown}` is no long option of sbatch"), help));
    };
    let (name, value) = rest.split_once('=').map_or((rest, None), |(name, it)| (name, Some(it)));
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    if name.is_empty() || !name.chars().all(is_letter) || word.contains(char::is_control) {
        let message = format!("`options`: `{shown}` is no long option of sbatch");
        return Some((message, "write for example `--account=lab`".to_owned()));
    }
    if let Some((option, key)) = meant(&OF_KEYS, name) {
        let message = format!("`options`: `--{option}` is not for here");
        let help = match *key {
            "environment" => {
                "variables of the server belong into the grid's `environment`".to_owned()
            }
            key => format!("use the key `{key}` of `slurm`"),
        };
        return Some((message, help));
    }
    if let Some((option, why)) = meant(&OWN, name) {
        return Some((
            format!("`options`: `--{option}` is not for here"),
            format!("{why}: take it out"),
        ));
    }
    if let Some(option) = WITH_VALUE.iter().find(|it| it.starts_with(name))
        && !WITH_VALUE.contains(&name)
    {
        let message = format!("`options`: `--{name}` is cut short");
        return Some((message, format!("write `--{option}=VALUE`")));
    }
    if let Some(refused) = value.and_then(|value| refusal_of_nodes(name, value)) {
        return Some(refused);
    }
    let needs = WITH_VALUE.contains(&name) && value.is_none_or(str::is_empty);
    needs.then(|| {
        let message = format!("`options`: `--{name}` has no value");
        (message, format!("write `--{name}=VALUE`, as one word"))
    })
}

/// The same of an option that names nodes.
fn refusal_of_nodes(name: &str, nodes: &str) -> Option<(String, String)> {
    let option = OF_NODES.iter().find(|it| **it == name)?;
    if nodes.contains('/') {
        let message = format!("`options`: `--{option}` names a file, by its `/`");
        return Some((message, "name the nodes".to_owned()));
    }
    // `sbatch` takes the first one of them in silence.
    let is_several = *option == "nodelist" && nodes.contains([',', '[']);
    is_several.then(|| {
        let message = "`options`: `--nodelist` names several nodes, and a launch runs on one";
        let help = "exclude the others: `--exclude=n1,n[3-4]`, or choose by `--constraint`";
        (message.to_owned(), help.to_owned())
    })
}

/// The option that a name means, or may mean where it is cut short.
fn meant<'a>(all: &'a [(&'a str, &'a str)], name: &str) -> Option<&'a (&'a str, &'a str)> {
    let exact = all.iter().find(|(known, _)| *known == name);
    let is_whole = WHOLE.contains(&name) || WITH_VALUE.contains(&name);
    let cut = || all.iter().find(|(known, _)| !is_whole && known.starts_with(name));
    exact.or_else(cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_taken(word: &str) -> bool {
        refusal(word, None).is_none()
    }

    #[test]
    fn what_chooses_nodes_and_accounts_is_taken() {
        for word in [
            "--account=lab",
            "--qos=night",
            "--mem=0",
            "--cpus-per-task=16",
            "--constraint=a&b",
            "--nodelist=n1",
            "--exclude=n[2-4]",
            "--gres-flags=enforce-binding",
            "--begin=23:00",
            "--contiguous",
            "--container-image=nvcr.io#nvidia/pytorch:24.01-py3",
            "--reservation=mine",
            "--nice",
            "--deadline=now+1hour",
        ] {
            assert!(is_taken(word), "{word}: {:?}", refusal(word, None));
        }
    }

    #[test]
    fn what_is_set_elsewhere_is_refused_cut_short_too() {
        for (word, option) in [
            ("--array=1-4", "--array"),
            ("--job-name=x", "--job-name"),
            ("--out=x", "--output"),
            ("--output=x", "--output"),
            ("--err=x", "--error"),
            ("--part=gpu", "--partition"),
            ("--time=1", "--time"),
            ("--time-min=1", "--time-min"),
            ("--exclusive", "--exclusive"),
            ("--exclusive=user", "--exclusive"),
            ("--exp=NONE", "--export"),
            ("--gpus-per-node=2", "--gpus-per-node"),
            ("--hold", "--hold"),
            ("--req", "--requeue"),
            ("--wr=true", "--wrap"),
            ("--signal=B:INT@9", "--signal"),
            ("--ntasks-per-node=2", "--ntasks-per-node"),
            ("--clusters=all", "--clusters"),
        ] {
            let (message, _) = refusal(word, None).unwrap_or_else(|| panic!("{word} was taken"));
            assert!(message.contains(&format!("`{option}`")), "{word}: {message}");
        }
    }

    #[test]
    fn a_file_of_nodes_is_refused_as_the_plan_needs_their_names() {
        for (word, option) in [
            ("--nodelist=/share/nodes", "nodelist"),
            ("--nodelist=./nodes", "nodelist"),
            ("--exclude=n1,/share/bad", "exclude"),
        ] {
            let (message, help) = refusal(word, None).unwrap_or_else(|| panic!("{word} was taken"));
            assert_eq!(message, format!("`options`: `--{option}` names a file, by its `/`"));
            assert_eq!(help, "name the nodes");
        }
        assert!(is_taken("--container-image=/share/vllm.sqsh"), "of other options it is a path");
    }

    #[test]
    fn several_nodes_for_a_launch_and_names_cut_short_are_refused_with_what_to_write() {
        for word in ["--nodelist=n1,n2", "--nodelist=n[1-2]"] {
            let (message, help) = refusal(word, None).unwrap_or_else(|| panic!("{word} was taken"));
            assert!(
                message.ends_with("names several nodes, and a launch runs on one"),
                "{message}"
            );
            assert!(help.contains("--exclude="), "{help}");
        }
        for (word, option) in [("--exclud=n1", "exclude"), ("--nodel=n1", "nodelist")] {
            let (message, help) = refusal(word, None).unwrap_or_else(|| panic!("{word} was taken"));
            assert!(message.ends_with("is cut short"), "{message}");
            assert_eq!(help, format!("write `--{option}=VALUE`"));
        }
    }

    #[test]
    fn a_word_that_would_take_or_be_another_ones_value_is_refused() {
        let (_, help) = refusal("lab", Some("--account")).expect("a value by itself");
        assert_eq!(help, "write `--account=lab`, as one word");
        for word in ["--account", "--qos=", "--", "-A", "", "--a b=c", "--mem=1\n"] {
            assert!(!is_taken(word), "{word:?}");
        }
    }
}
