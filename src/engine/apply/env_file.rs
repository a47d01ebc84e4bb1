//! A file of variables that both versions of the compose tool read as the same values. Pure.

/// The lines of these variables; the name of one whose value cannot be written otherwise.
pub(super) fn lines<'a>(
    variables: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Result<String, String> {
    let mut text = String::new();
    for (name, value) in variables {
        let value = written(value).ok_or_else(|| name.clone())?;
        text.extend([name, "=", &value, "\n"]);
    }
    Ok(text)
}

/// A value as it is written; `None` where the tools read no spelling alike.
fn written(value: &str) -> Option<String> {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "_-./:,@%+".contains(it);
    if value.chars().all(is_plain) {
        return Some(value.to_owned());
    }
    // Within single quotes nothing has a meaning, but that they end there; a backslash has one
    // to the first version of the tool.
    let is_literal = |it: char| !it.is_control() && it != '\'' && it != '\\';
    value.chars().all(is_literal).then(|| format!("'{value}'"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret;

    #[test]
    fn values_are_read_back_as_they_were() {
        let values = ["fp8", "", "a b", "$HOME ${X}", "{\"a\": \"b\"}", "# x", "é", " lead "];
        for value in values {
            let (name, value) = ("V".to_owned(), value.to_owned());
            let text = lines([(&name, &value)]).expect("it can be written");
            let read = secret::env_file(&text);
            assert_eq!(read, [(1, "V", value)], "{text}");
        }
        for value in ["a\nb", "it's", "a\\b"] {
            let (name, value) = ("V".to_owned(), value.to_owned());
            assert_eq!(lines([(&name, &value)]), Err("V".to_owned()));
        }
    }
}
