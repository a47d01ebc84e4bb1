//! Which configurations can be compared where launches ran on several hosts: those that a
//! chain of common hosts connects. A difference between others is that of their hosts, too.

use std::collections::BTreeMap;

/// Of each configuration the first of those that it can be compared with, itself included.
/// `ran`: configuration and host of each launch.
pub fn connected(
    configurations: usize,
    ran: impl IntoIterator<Item = (usize, usize)>,
) -> Vec<usize> {
    let mut groups: Vec<usize> = (0..configurations).collect();
    let mut on_host: BTreeMap<usize, usize> = BTreeMap::new();
    for (configuration, host) in ran {
        let other = *on_host.entry(host).or_insert(configuration);
        let (a, b) = (groups[configuration], groups[other]);
        for group in groups.iter_mut().filter(|group| **group == a.max(b)) {
            *group = a.min(b);
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_of_common_hosts_connects_and_a_host_of_ones_own_does_not() {
        assert_eq!(connected(3, [(0, 0), (1, 0), (2, 0)]), [0, 0, 0]);
        assert_eq!(connected(4, [(3, 1), (1, 1), (0, 0), (2, 0)]), [0, 1, 0, 1]);
        // 3 and 1 by host 1, 1 and 0 by host 0.
        assert_eq!(connected(4, [(3, 1), (1, 1), (0, 0), (1, 0), (2, 2)]), [0, 0, 2, 0]);
        // What was never launched is by itself.
        assert_eq!(connected(2, []), [0, 1]);
    }
}
