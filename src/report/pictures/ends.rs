//! Labels of several lines at the ends of lines: where they stand in one column without
//! covering each other. Labels of one line and labels beside dots are in `label`.

use maud::{Markup, html};

use super::label::{Align, LINE, text};
use super::mark::straight;

/// A label at the end of a line.
pub(super) struct Ending {
    /// Where the line ends.
    pub(super) x: f64,
    /// Where the line ends.
    pub(super) y: f64,
    /// From above to below; the first one is strong.
    pub(super) lines: Vec<String>,
}

impl Ending {
    fn height(&self) -> f64 {
        self.lines.len() as f64 * LINE + 4.0
    }
}

/// How many of the labels have room, the first ones kept.
fn fitting(endings: &[Ending], room: f64) -> usize {
    let mut used = 0.0;
    let fits = |ending: &&Ending| {
        used += ending.height();
        used <= room
    };
    endings.iter().take_while(fits).count()
}

/// Middles of the labels that have room, between `top` and `bottom`, as near to their
/// points as the others allow; parallel to the labels.
fn middles(endings: &[Ending], top: f64, bottom: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..endings.len()).collect();
    order.sort_by(|a, b| endings[*a].y.total_cmp(&endings[*b].y));
    let mut places = vec![0.0; endings.len()];
    let mut least = top;
    for &at in &order {
        let half = endings[at].height() / 2.0;
        places[at] = endings[at].y.max(least + half);
        least = places[at] + half;
    }
    let mut most = bottom;
    for &at in order.iter().rev() {
        let half = endings[at].height() / 2.0;
        places[at] = places[at].min(most - half);
        most = places[at] - half;
    }
    places
}

/// The labels from `x` on, with leaders; what has no room is counted below them.
pub(super) fn draw(endings: &[Ending], x: f64, top: f64, bottom: f64) -> Markup {
    let mut kept = fitting(endings, bottom - top);
    if kept < endings.len() {
        kept = fitting(endings, bottom - top - LINE);
    }
    let more = endings.len() - kept;
    let end = if more > 0 { bottom - LINE } else { bottom };
    let endings = &endings[..kept];
    html! {
        @for (ending, middle) in endings.iter().zip(middles(endings, top, end)) {
            (straight("leader", (ending.x + 4.0, ending.y), (x - 3.0, middle)))
            @let first = middle - LINE * (ending.lines.len() as f64 - 1.0) / 2.0;
            @for (at, line) in ending.lines.iter().enumerate() {
                @let class = if at == 0 { "strong" } else { "muted" };
                (text(x, first + at as f64 * LINE, Align::Start, class, line))
            }
        }
        @if more > 0 {
            (text(x, bottom - LINE / 2.0, Align::Start, "muted", &format!("{more} more")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ending(y: f64) -> Ending {
        Ending { x: 0.0, y, lines: vec!["a".to_owned(), "b".to_owned()] }
    }

    #[test]
    fn labels_keep_apart_and_inside() {
        let all: Vec<Ending> = [50.0, 51.0, 49.0, 300.0, 10.0].map(ending).into();
        let places = middles(&all, 0.0, 300.0);
        let mut sorted = places.clone();
        sorted.sort_by(f64::total_cmp);
        assert!(sorted.windows(2).all(|it| it[1] - it[0] >= 36.0 - 1e-9), "{sorted:?}");
        assert!(sorted[0] >= 18.0 && sorted[4] <= 282.0, "{sorted:?}");
        // In the order of the points.
        assert!(places[4] < places[2] && places[2] < places[0] && places[0] < places[1]);
    }

    #[test]
    fn what_has_no_room_is_counted() {
        let all: Vec<Ending> = (0..9).map(|at| ending(f64::from(at))).collect();
        assert!(draw(&all, 10.0, 0.0, 100.0).into_string().contains("7 more"));
        assert!(!draw(&all[..2], 10.0, 0.0, 100.0).into_string().contains("more"));
    }
}
