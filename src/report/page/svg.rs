//! Drawings as a page can hold them. maud writes an element without content as HTML does,
//! without an end; inside of `svg` a browser takes what follows for its content. Here such
//! elements get their end.

use maud::{Markup, PreEscaped};

/// The same drawing; what is opened and never closed is closed at once.
pub(super) fn closed(drawing: &Markup) -> Markup {
    let text = drawing.0.as_str();
    let without_end = without_end(text);
    let mut closed = String::with_capacity(text.len() + without_end.len());
    let mut from = 0;
    for end in without_end {
        closed.push_str(&text[from..end]);
        closed.push('/');
        from = end;
    }
    closed.push_str(&text[from..]);
    PreEscaped(closed)
}

/// Where the `>` of each such element stands, in order. Text and attributes are escaped: each
/// `<` begins a tag, and each `>` ends one.
fn without_end(text: &str) -> Vec<usize> {
    let mut open: Vec<(&str, usize)> = Vec::new();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(begin) = text[at..].find('<').map(|it| at + it) {
        let Some(end) = text[begin..].find('>').map(|it| begin + it) else { break };
        let inside = &text[begin + 1..end];
        at = end + 1;
        if let Some(name) = inside.strip_prefix('/') {
            while let Some((known, place)) = open.pop() {
                if known == name {
                    break;
                }
                found.push(place);
            }
        } else if !inside.ends_with('/') {
            let name = inside.split([' ', '\n']).next().unwrap_or(inside);
            open.push((name, end));
        }
    }
    found.extend(open.into_iter().map(|(_, place)| place));
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use maud::html;

    use super::*;

    #[test]
    fn what_has_no_content_gets_its_end() {
        let drawing = html! {
            svg viewBox="0 0 1 1" {
                line x1="0";
                a href="#x" { title { "a > b" } circle r="1"; path d="M0 0" { title { "t" } } }
                rect width="1";
            }
        };
        assert_eq!(
            closed(&drawing).0,
            "<svg viewBox=\"0 0 1 1\"><line x1=\"0\"/><a href=\"#x\"><title>a &gt; b</title>\
             <circle r=\"1\"/><path d=\"M0 0\"><title>t</title></path></a><rect width=\"1\"/></svg>"
        );
        assert_eq!(closed(&closed(&drawing)).0, closed(&drawing).0);
    }
}
