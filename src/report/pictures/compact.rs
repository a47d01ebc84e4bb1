//! Paths with few bytes for pictures of hundreds of configurations and launches: relative
//! coordinates in tenths of a unit, rounded once, so that errors do not add up.

/// Coordinates so far, in tenths of a unit.
#[derive(Default)]
struct Pen {
    path: String,
    at: (i64, i64),
}

impl Pen {
    fn number(&mut self, tenths: i64) {
        let last = self.path.chars().next_back();
        if tenths >= 0 && last.is_some_and(|it| it.is_ascii_digit()) {
            self.path.push(' ');
        }
        if tenths < 0 {
            self.path.push('-');
        }
        let size = tenths.unsigned_abs();
        if size >= 10 || size == 0 {
            self.path.push_str(&(size / 10).to_string());
        }
        if !size.is_multiple_of(10) {
            self.path.push('.');
            self.path.push_str(&(size % 10).to_string());
        }
    }

    fn start(&mut self, (x, y): (f64, f64)) {
        self.at = (tenths(x), tenths(y));
        self.path.push('M');
        self.number(self.at.0);
        self.number(self.at.1);
    }

    /// By as much as rounding leaves; nothing for no way.
    fn across(&mut self, x: f64) {
        let by = tenths(x) - self.at.0;
        if by != 0 {
            self.path.push('h');
            self.number(by);
            self.at.0 += by;
        }
    }

    fn upright(&mut self, y: f64) {
        let by = tenths(y) - self.at.1;
        if by != 0 {
            self.path.push('v');
            self.number(by);
            self.at.1 += by;
        }
    }
}

fn tenths(value: f64) -> i64 {
    debug_assert!(value.is_finite(), "coordinates are finite");
    (value * 10.0).round() as i64
}

/// The path through some points; empty without any.
pub(super) fn line(points: &[(f64, f64)]) -> String {
    let mut pen = Pen::default();
    for (at, point) in points.iter().enumerate() {
        if at == 0 {
            pen.start(*point);
            continue;
        }
        let by = (tenths(point.0) - pen.at.0, tenths(point.1) - pen.at.1);
        if by == (0, 0) && points.len() > 2 {
            continue;
        }
        pen.path.push('l');
        pen.number(by.0);
        pen.number(by.1);
        pen.at = (pen.at.0 + by.0, pen.at.1 + by.1);
    }
    pen.path
}

/// The path through some points as steps: across first, then up or down.
pub(super) fn steps(points: &[(f64, f64)]) -> String {
    let mut pen = Pen::default();
    for (at, point) in points.iter().enumerate() {
        if at == 0 {
            pen.start(*point);
            continue;
        }
        pen.across(point.0);
        pen.upright(point.1);
    }
    pen.path
}

/// A rectangle.
pub(super) fn rectangle(left: f64, top: f64, right: f64, bottom: f64) -> String {
    let mut pen = Pen::default();
    pen.start((left, top));
    pen.across(right);
    pen.upright(bottom);
    pen.across(left);
    pen.path + "z"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_are_relative_and_short() {
        assert_eq!(line(&[(10.0, 20.04), (11.26, 17.0), (12.0, 18.0)]), "M10 20l1.3-3l.7 1");
        assert_eq!(steps(&[(1.0, 50.0), (1.04, 40.0), (3.0, 40.0)]), "M1 50v-10h2");
        assert_eq!(rectangle(1.0, 2.0, 4.5, 5.0), "M1 2h3.5v3h-3.5z");
        assert_eq!(line(&[]), "");
    }

    #[test]
    fn rounding_does_not_add_up() {
        let points: Vec<(f64, f64)> = (0..1000).map(|at| (f64::from(at) * 0.14, 0.0)).collect();
        let by: f64 = steps(&points).split('h').skip(1).map(|it| it.parse::<f64>().unwrap()).sum();
        assert!((by - 999.0 * 0.14).abs() < 0.06, "{by}");
    }
}
