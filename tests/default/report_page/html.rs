//! Reads a page as far as tests need it: tags with their attributes, and the text between them.
//! Strict on purpose: what it does not understand fails.

/// A page.
pub(crate) struct Page {
    pieces: Vec<Piece>,
}

/// A tag, or the text up to the next one.
enum Piece {
    Open(Tag),
    Close(String),
    Text(String),
}

/// An opening tag.
#[derive(Clone, Debug)]
pub(crate) struct Tag {
    pub(crate) name: String,
    pub(crate) attributes: Vec<(String, String)>,
}

impl Tag {
    pub(crate) fn attribute(&self, name: &str) -> Option<String> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }
}

/// Elements without an end.
const VOID: [&str; 6] = ["meta", "br", "hr", "img", "link", "input"];

impl Page {
    pub(crate) fn of(html: &str) -> Self {
        let mut pieces = Vec::new();
        let mut rest = html.strip_prefix("<!DOCTYPE html>").expect("a document type");
        while let Some(at) = rest.find('<') {
            if at > 0 {
                pieces.push(Piece::Text(unescaped(&rest[..at])));
            }
            rest = &rest[at + 1..];
            let end = end_of_tag(rest);
            let inside = &rest[..end];
            rest = &rest[end + 1..];
            let (inside, is_closed) = match inside.strip_suffix('/') {
                Some(inside) => (inside, true),
                None => (inside, false),
            };
            if let Some(name) = inside.strip_prefix('/') {
                pieces.push(Piece::Close(name.to_owned()));
                continue;
            }
            let tag = tag(inside);
            let raw = matches!(tag.name.as_str(), "style" | "script");
            let (close, name) = (format!("</{}>", tag.name), tag.name.clone());
            pieces.push(Piece::Open(tag));
            if is_closed {
                pieces.push(Piece::Close(name));
                continue;
            }
            if raw {
                let end = rest.find(&close).expect("its end");
                pieces.push(Piece::Text(rest[..end].to_owned()));
                rest = &rest[end..];
            }
        }
        assert!(rest.trim().is_empty(), "{rest}");
        let page = Self { pieces };
        page.check_nesting();
        page
    }

    /// Whatever is opened is closed, in its order.
    fn check_nesting(&self) {
        let mut open: Vec<&str> = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Open(tag) if VOID.contains(&tag.name.as_str()) => {}
                Piece::Open(tag) => open.push(&tag.name),
                Piece::Close(name) => assert_eq!(open.pop(), Some(name.as_str())),
                Piece::Text(_) => {}
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Tag> {
        self.pieces.iter().filter_map(|it| match it {
            Piece::Open(tag) => Some(tag),
            _ => None,
        })
    }

    pub(crate) fn tags<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Tag> {
        self.all().filter(move |it| it.name == name)
    }

    /// Everything that is to be read.
    pub(crate) fn text(&self) -> String {
        self.contents(|tag| tag.name == "body").join(" ")
    }

    /// What is inside of each element of this name, without tags.
    pub(crate) fn contents_of(&self, name: &str) -> Vec<String> {
        self.contents(|tag| tag.name == name)
    }

    /// The same with spaces as one.
    pub(crate) fn texts_of(&self, name: &str) -> Vec<String> {
        self.contents_of(name).iter().map(|it| spaced(it)).collect()
    }

    /// Texts of elements inside of another one.
    pub(crate) fn texts_within(&self, outer: &str, inner: &str) -> Vec<String> {
        let mut depth = 0_usize;
        let mut found = Vec::new();
        for (at, piece) in self.pieces.iter().enumerate() {
            match piece {
                Piece::Open(tag) if tag.name == outer => depth += 1,
                Piece::Close(name) if name == outer => depth -= 1,
                Piece::Open(tag) if depth > 0 && tag.name == inner => {
                    found.push(spaced(&self.content_at(at)));
                }
                _ => {}
            }
        }
        found
    }

    /// The links of each table's rows, its head first: where each leads, and whether the keyboard
    /// stops at it.
    pub(crate) fn links_of_tables(&self) -> Vec<Vec<Vec<(String, bool)>>> {
        let mut tables: Vec<Vec<Vec<(String, bool)>>> = Vec::new();
        let mut is_inside = false;
        for piece in &self.pieces {
            match piece {
                Piece::Open(tag) if tag.name == "table" => {
                    is_inside = true;
                    tables.push(Vec::new());
                }
                Piece::Close(name) if name == "table" => is_inside = false,
                Piece::Open(tag) if is_inside && tag.name == "tr" => {
                    tables.last_mut().expect("a table").push(Vec::new());
                }
                Piece::Open(tag) if is_inside && tag.name == "a" => {
                    let rows = tables.last_mut().expect("a table");
                    let stops = tag.attribute("tabindex").as_deref() != Some("-1");
                    let href = tag.attribute("href").expect("a link leads somewhere");
                    rows.last_mut().expect("a row").push((href, stops));
                }
                _ => {}
            }
        }
        tables
    }

    pub(crate) fn text_of_class(&self, class: &str) -> String {
        self.contents(|tag| tag.attribute("class").as_deref() == Some(class)).join(" ")
    }

    fn contents(&self, wanted: impl Fn(&Tag) -> bool) -> Vec<String> {
        let places = self.pieces.iter().enumerate().filter_map(|(at, piece)| match piece {
            Piece::Open(tag) if wanted(tag) => Some(at),
            _ => None,
        });
        places.map(|at| self.content_at(at)).collect()
    }

    /// The text of the element that begins there; blocks are apart.
    fn content_at(&self, at: usize) -> String {
        let mut depth = 0;
        let mut text = String::new();
        for piece in &self.pieces[at..] {
            match piece {
                Piece::Open(tag) if VOID.contains(&tag.name.as_str()) => {}
                Piece::Open(tag) => {
                    depth += 1;
                    text.push_str(gap(&tag.name));
                }
                Piece::Close(name) => {
                    depth -= 1;
                    text.push_str(gap(name));
                }
                Piece::Text(more) => text.push_str(more),
            }
            if depth == 0 {
                break;
            }
        }
        text
    }
}

fn gap(name: &str) -> &'static str {
    if matches!(name, "a" | "code" | "strong" | "span") { "" } else { " " }
}

fn spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Where a tag ends; quotes hold its `>`.
fn end_of_tag(text: &str) -> usize {
    let mut quoted = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b'>' if !quoted => return at,
            b'<' if !quoted => panic!("`<` inside of a tag: {}", &text[..at]),
            _ => {}
        }
    }
    panic!("a tag has no end")
}

fn tag(inside: &str) -> Tag {
    let (name, mut rest) = inside.split_once(' ').unwrap_or((inside, ""));
    let is_name = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|it| it.is_ascii_alphanumeric() || b"-:_".contains(&it))
    };
    assert!(is_name(name), "<{inside}>");
    let mut attributes = Vec::new();
    while !rest.trim().is_empty() {
        rest = rest.trim_start();
        let end = rest.find(['=', ' ']).unwrap_or(rest.len());
        let key = &rest[..end];
        assert!(is_name(key), "`{key}` in <{inside}>");
        rest = &rest[end..];
        let mut value = String::new();
        if let Some(quoted) = rest.strip_prefix("=\"") {
            let end = quoted.find('"').expect("its end");
            value = unescaped(&quoted[..end]);
            rest = &quoted[end + 1..];
        } else {
            assert!(!rest.starts_with('='), "a value without quotes: <{inside}>");
        }
        attributes.push((key.to_owned(), value));
    }
    Tag { name: name.to_owned(), attributes }
}

fn unescaped(text: &str) -> String {
    assert!(!text.contains('<'));
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
}

/// A relative link as a path.
pub(crate) fn decoded(link: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = link.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits: Vec<u8> = rest.by_ref().take(2).collect();
            let digits = String::from_utf8(digits).unwrap();
            bytes.push(u8::from_str_radix(&digits, 16).unwrap());
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).unwrap()
}
