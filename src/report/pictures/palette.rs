//! Which colour, shape and dash a configuration has, the same in every picture:
//! production in grey, the candidate in blue, the others in the ranking's order. No two
//! have the same colour and the same shape. What the colours are is in `style.css`.

use super::super::names;
use super::super::text::{plain, width};
use crate::results::ranking::{Ranking, RankingVerdict};

/// With more configurations than this, only those that are spoken of have a colour.
pub const COLOURED: usize = 12;

/// Of a tie group at most so many have a colour then.
const TIED: usize = 6;

/// Hues besides the candidate's.
const HUES: usize = 6;

/// The form of a dot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// The candidate's.
    Circle,
    /// Production's, or the baseline's.
    Diamond,
    /// One of the others'.
    Square,
    /// One of the others'.
    Triangle,
    /// One of the others'; on its tip.
    Tip,
    /// One of the others'.
    Plus,
    /// One of the others'.
    Pentagon,
}

const OTHERS: [Shape; 5] =
    [Shape::Square, Shape::Triangle, Shape::Tip, Shape::Plus, Shape::Pentagon];

/// Patterns of lines besides the solid one.
const DASHES: [&str; 4] = ["6 3", "2 3", "9 3 2 3", "12 4"];

/// How one configuration looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Class that sets `--mark`: `k0` production, `k1` the candidate, `k2` to `k7` others,
    /// `kp` pale.
    pub class: &'static str,
    /// Of its dots.
    pub shape: Shape,
    /// `stroke-dasharray` of its lines; `None` is solid.
    pub dash: Option<&'static str>,
    /// Whether its name stands beside its marks; that of a pale one is shown on hover.
    pub named: bool,
}

const PALE: Look = Look { class: "kp", shape: Shape::Circle, dash: None, named: false };
const CLASSES: [&str; HUES] = ["k2", "k3", "k4", "k5", "k6", "k7"];

/// Looks and names of all configurations of a ranking.
#[derive(Clone, Debug)]
pub struct Palette {
    looks: Vec<Look>,
    names: Vec<String>,
}

impl Palette {
    /// By the ranking's rows.
    pub fn new(ranking: &Ranking) -> Self {
        let few = ranking.rows.len() <= COLOURED;
        let tied: &[String] = match &ranking.verdict {
            RankingVerdict::Tie { names, .. } | RankingVerdict::Undecided { names, .. } => names,
            _ => &[],
        };
        let candidate = ranking.subject();
        let mut others = 0;
        let look = |(name, baseline): (&String, bool)| {
            if baseline {
                return Look { class: "k0", shape: Shape::Diamond, dash: None, named: true };
            }
            if Some(name.as_str()) == candidate {
                return Look { class: "k1", shape: Shape::Circle, dash: None, named: true };
            }
            if !few && !tied.iter().take(TIED).any(|it| it == name) {
                return PALE;
            }
            let place = others;
            others += 1;
            Look {
                class: CLASSES[place % CLASSES.len()],
                shape: OTHERS[place % OTHERS.len()],
                dash: Some(DASHES[place % DASHES.len()]),
                named: true,
            }
        };
        let looks = ranking.rows.iter().map(|row| (&row.name, row.baseline)).map(look).collect();
        let names = ranking.rows.iter().map(|row| shown(&row.name)).collect();
        Self { looks, names }
    }

    /// How a configuration looks; an index that the ranking does not have is pale.
    pub fn look(&self, configuration: usize) -> Look {
        self.looks.get(configuration).copied().unwrap_or(PALE)
    }

    /// Its whole name, plain text on one line.
    pub fn name(&self, configuration: usize) -> &str {
        self.names.get(configuration).map_or("(no name)", String::as_str)
    }

    /// Whether a sentence begins with the name of a configuration.
    pub fn begins_with_name(&self, text: &str) -> bool {
        let text = plain(text);
        let forms = self.names.iter().flat_map(|it| [it.clone(), cut(it, 40.0 * super::COLUMN)]);
        forms
            .filter(|it| !it.is_empty())
            .any(|name| text.strip_prefix(&name).is_some_and(|rest| rest.starts_with(' ')))
    }

    /// The same of at most so many units: the middle is left out of a longer one.
    pub fn short_name(&self, configuration: usize, units: f64) -> String {
        cut(self.name(configuration), units)
    }
}

impl Palette {
    /// Names of at most so many units that stay different: without what all of them share, or
    /// else their ends, where generated names differ.
    pub fn distinct_names(&self, configurations: &[usize], units: f64) -> Vec<String> {
        let columns = (units / super::COLUMN).floor().max(3.0) as usize;
        let whole: Vec<String> =
            configurations.iter().map(|it| self.name(*it).to_owned()).collect();
        let class = |at: &usize| self.look(configurations[*at]).class == "k0";
        let baseline = (0..configurations.len()).find(class);
        let shown = names::narrow(&whole, baseline, columns..=columns).shown;
        let fit = shown.iter().all(|it| width(it) <= columns);
        if fit { shown } else { whole.iter().map(|it| end_of(it, columns)).collect() }
    }
}

/// The end of a name that is wider than so many columns.
fn end_of(name: &str, columns: usize) -> String {
    if width(name) <= columns {
        return name.to_owned();
    }
    let mut end = "";
    for (at, _) in name.char_indices().rev() {
        if width(&name[at..]) >= columns {
            break;
        }
        end = &name[at..];
    }
    format!("…{end}")
}

/// A name from outside as plain text; one without a letter that is seen is said to be none.
pub fn shown(name: &str) -> String {
    let name = plain(name);
    if width(&name) == 0 { "(no name)".to_owned() } else { name }
}

/// A text of at most so many units: the middle is left out of a longer one.
pub fn cut(text: &str, units: f64) -> String {
    let columns = (units / super::COLUMN).floor().max(3.0) as usize;
    names::short(text, columns)
}
