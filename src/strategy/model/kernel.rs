//! How alike configurations are by their levels: the additive (ANOVA) kernel over the axes,
//! with interactions of pairs of axes and a part that each configuration has for itself
//! (D. Duvenaud, H. Nickisch, C. E. Rasmussen, *Additive Gaussian processes*, 2011). Its
//! parts are not scaled here: how much each one counts is learned in `process`.

/// The kernel's parts, over the configurations of a sweep.
#[derive(Clone, Debug)]
pub(super) struct Kernel {
    /// Of each axis the level of each configuration. Axes that always change together are one.
    axes: Vec<Vec<usize>>,
}

impl Kernel {
    /// Of each configuration's levels.
    pub(super) fn new(levels: &[Vec<usize>]) -> Self {
        let width = levels.iter().map(Vec::len).min().unwrap_or_default();
        let mut axes: Vec<Vec<usize>> = Vec::new();
        for axis in 0..width {
            let of = numbered(levels.iter().map(|it| it[axis]));
            let count = of.iter().max().map_or(0, |highest| highest + 1);
            // With a level for each configuration it says nothing of any other one.
            if count > 1 && count < levels.len() && !axes.contains(&of) {
                axes.push(of);
            }
        }
        Self { axes }
    }

    /// How many axes tell configurations apart, and join some of them.
    pub(super) fn axes(&self) -> usize {
        self.axes.len()
    }

    /// Levels beyond the first one, over all axes: what a launch or two each are needed for.
    pub(super) fn freedom(&self) -> usize {
        self.axes.iter().filter_map(|of| of.iter().max()).sum()
    }

    /// The levels of an axis, one for each configuration.
    #[cfg(test)]
    pub(super) fn axis(&self, axis: usize) -> &[usize] {
        &self.axes[axis]
    }

    /// What two configurations have in common in each part, from 0 to 1.
    pub(super) fn common(&self, a: usize, b: usize) -> Vec<f64> {
        let mut common: Vec<f64> =
            self.axes.iter().map(|of| f64::from(u8::from(of[a] == of[b]))).collect();
        let equal = common.iter().sum::<f64>();
        let axes = self.axes.len() as f64;
        let pairs = (axes * (axes - 1.0) / 2.0).max(1.0);
        common.push(equal * (equal - 1.0) / 2.0 / pairs);
        common.push(f64::from(u8::from(a == b)));
        common
    }
}

/// The same levels numbered in the order in which they appear.
fn numbered(levels: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut seen = Vec::new();
    levels
        .map(|level| {
            seen.iter().position(|it| *it == level).unwrap_or_else(|| {
                seen.push(level);
                seen.len() - 1
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_have_in_common_what_their_axes_share() {
        let kernel = Kernel::new(&[vec![0, 0, 0], vec![0, 1, 1], vec![0, 1, 2], vec![1, 0, 3]]);
        // The last axis has a level for each configuration: it joins none.
        assert_eq!((kernel.axes(), kernel.freedom()), (2, 2));
        assert_eq!(kernel.common(0, 0), [1.0, 1.0, 1.0, 1.0]);
        assert_eq!(kernel.common(0, 1), [1.0, 0.0, 0.0, 0.0]);
        assert_eq!(kernel.common(1, 2), [1.0, 1.0, 1.0, 0.0]);
        assert_eq!(kernel.common(2, 3), [0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn axes_that_change_together_are_one_and_no_axes_are_none() {
        let together = Kernel::new(&[vec![0, 5], vec![1, 3], vec![0, 5], vec![1, 3]]);
        assert_eq!(together.axes(), 1);
        let none = Kernel::new(&vec![Vec::new(); 3]);
        assert_eq!(
            (none.axes(), none.common(0, 0), none.common(0, 1)),
            (0, vec![0.0, 1.0], vec![0.0, 0.0])
        );
    }
}
