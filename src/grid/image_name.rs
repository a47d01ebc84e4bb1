//! Whether a text can be the name of an image: the grammar of references that registries and
//! the daemon share (`distribution/reference`), so that an impossible one is an error of the
//! grid and not of the night.

/// Bytes of a repository's name at most, its registry included.
const LONGEST: usize = 255;
/// Bytes of a tag at most.
const LONGEST_TAG: usize = 128;
/// Fewest digits of a digest.
const FEWEST_DIGITS: usize = 32;

/// Why it cannot; `None` where it can.
pub(super) fn refusal(name: &str) -> Option<String> {
    let (rest, digest) = match name.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (name, None),
    };
    // A colon before the last slash is a registry's port.
    let slash = rest.rfind('/').map_or(0, |at| at + 1);
    let (repository, tag) = match rest[slash..].find(':') {
        Some(at) => (&rest[..slash + at], Some(&rest[slash + at + 1..])),
        None => (rest, None),
    };
    let why = of_scheme(name)
        .or_else(|| of_repository(repository))
        .or_else(|| tag.and_then(of_tag))
        .or_else(|| digest.and_then(of_digest))?;
    Some(format!("`{}` is no name of an image: {why}", name.escape_debug()))
}

fn of_scheme(name: &str) -> Option<String> {
    let (scheme, _) = name.split_once("://")?;
    Some(format!("it has no scheme (`{}://`), only a registry and a path", scheme.escape_debug()))
}

fn of_repository(name: &str) -> Option<String> {
    if name.len() > LONGEST {
        return Some(format!("it is longer than {LONGEST} bytes"));
    }
    let (registry, path) = match name.split_once('/') {
        Some((first, path)) if !is_path(first) => (Some(first), path),
        _ => (None, name),
    };
    if let Some(registry) = registry.filter(|it| !is_registry(it)) {
        return Some(format!("`{}` is no registry (`host:port`)", registry.escape_debug()));
    }
    let odd = path.split('/').find(|part| !is_path(part))?;
    Some(if odd.is_empty() {
        "a part of its path is empty".to_owned()
    } else if is_path(&odd.to_ascii_lowercase()) {
        format!("`{odd}` has capitals, and a path has none")
    } else {
        format!(
            "`{}` is not made of small letters and digits with `.`, `_`, `__` or `-` between them",
            odd.escape_debug()
        )
    })
}

/// Small letters and digits, with separators between them.
fn is_path(part: &str) -> bool {
    let is_word = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit();
    let separators = part.split(is_word).filter(|it| !it.is_empty());
    let all = separators
        .into_iter()
        .all(|it| matches!(it, "." | "_" | "__") || it.bytes().all(|byte| byte == b'-'));
    all && part.starts_with(is_word) && part.ends_with(is_word)
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => {
            let is_address = address.parse::<std::net::Ipv6Addr>().is_ok();
            return is_address && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let is_label = |label: &str| {
        let is_word = |it: char| it.is_ascii_alphanumeric();
        label.chars().all(|it| is_word(it) || it == '-')
            && label.starts_with(is_word)
            && label.ends_with(is_word)
    };
    host.split('.').all(is_label) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit())
}

fn of_tag(tag: &str) -> Option<String> {
    let is_first = |it: char| it.is_ascii_alphanumeric() || it == '_';
    let is_word = |it: char| is_first(it) || it == '.' || it == '-';
    if tag.is_empty() {
        return Some("nothing follows its `:`".to_owned());
    }
    let good = tag.len() <= LONGEST_TAG && tag.starts_with(is_first) && tag.chars().all(is_word);
    (!good).then(|| {
        format!(
            "its tag `{}` is not made of at most {LONGEST_TAG} letters, digits, `_`, `.` and `-`",
            tag.escape_debug()
        )
    })
}

fn of_digest(digest: &str) -> Option<String> {
    let is_part = |part: &str| {
        part.starts_with(|it: char| it.is_ascii_alphabetic())
            && part.chars().all(|it| it.is_ascii_alphanumeric())
    };
    let good = digest.split_once(':').is_some_and(|(algorithm, digits)| {
        algorithm.split(['+', '.', '-', '_']).all(is_part)
            && digits.len() >= FEWEST_DIGITS
            && (algorithm != "sha256" || digits.len() == 64)
            && digits.bytes().all(|it| it.is_ascii_hexdigit())
    });
    (!good).then(|| format!("`{}` is no digest (`sha256:...`)", digest.escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::refusal;

    #[test]
    fn names_by_the_grammar_of_references_pass() {
        let digest = format!("sha256:{:064x}", 7);
        for name in [
            "a",
            "a:1",
            "r/vllm:1",
            "vllm/vllm-openai:v0.11.0",
            "library/a__b.c-d--e:x_Y.Z-1",
            "host:5000/a/b:tag",
            "localhost/a",
            "localhost:5000/a",
            "Host.example/a",
            "[::1]:5000/a",
            "[fe80::1]/a",
            "nvcr.io/nvidia/vllm:25.09-py3",
            "192.168.0.1:5000/a:_x",
        ] {
            assert_eq!(refusal(name), None);
            assert_eq!(refusal(&format!("{name}@{digest}")), None, "{name}");
        }
        assert_eq!(refusal(&format!("sha256:{:064x}", 7)), None, "an id");
    }

    #[test]
    fn whatever_no_registry_can_have_is_refused_with_the_reason() {
        for (name, why) in [
            ("a:1:2", "its tag `1:2`"),
            ("a:", "nothing follows its `:`"),
            ("vllm/VLLM:1", "`VLLM` has capitals"),
            ("A", "`A` has capitals"),
            ("http://r/a:1", "has no scheme"),
            ("r//a", "part of its path is empty"),
            ("r/a/", "part of its path is empty"),
            ("/a", "is no registry"),
            (":1", "part of its path is empty"),
            ("host:/a", "is no registry"),
            ("host:x/a", "is no registry"),
            ("-a", "`-a` is not made of"),
            ("a_", "`a_` is not made of"),
            ("a___b", "is not made of"),
            ("a..b", "is not made of"),
            ("ä", "is not made of"),
            ("${IMAGE}", "is not made of"),
            ("a:-1", "its tag `-1`"),
            ("a@sha256:12", "is no digest"),
            ("a@", "is no digest"),
            ("a:1@x@y", "is no digest"),
            ("a:1@sha256:zz", "is no digest"),
        ] {
            let said = refusal(name).unwrap_or_default();
            assert!(said.contains(why), "{name}: {said}");
        }
        assert!(refusal(&"a".repeat(256)).is_some() && refusal(&format!("a:{:0129}", 1)).is_some());
    }
}
