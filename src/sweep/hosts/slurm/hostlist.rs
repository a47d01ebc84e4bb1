//! Lists of nodes as Slurm writes them: `n1,n[3-5,08-10]`. Pure.

/// More names than this are no list that a person writes for one partition.
const MOST: usize = 100_000;

/// The names of a list. What cannot be read as one stays as it is.
pub(super) fn names(list: &str) -> Vec<String> {
    words(list).flat_map(expanded).collect()
}

/// The parts of a list: a comma in brackets is of its part.
fn words(list: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    let parts = list.split(move |c| {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    parts.map(str::trim).filter(|it| !it.is_empty())
}

/// One part with its brackets written out.
fn expanded(word: &str) -> Vec<String> {
    let parts = word.split_once('[').and_then(|(before, rest)| {
        let (ranges, after) = rest.split_once(']')?;
        let numbers: Option<Vec<Vec<String>>> = ranges.split(',').map(range).collect();
        Some((before, numbers?.concat(), after))
    });
    let Some((before, numbers, after)) = parts else { return vec![word.to_owned()] };
    let rests = expanded(after);
    if numbers.len().saturating_mul(rests.len()) > MOST {
        return vec![word.to_owned()];
    }
    let all =
        numbers.iter().flat_map(|it| rests.iter().map(move |rest| format!("{before}{it}{rest}")));
    all.collect()
}

/// The numbers of `3`, `3-5` or `08-10`, as wide as the first one.
fn range(text: &str) -> Option<Vec<String>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (low, high) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
    let width = first.len();
    let is_one = low <= high && high - low < MOST;
    is_one.then(|| (low..=high).map(|it| format!("{it:0width$}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_written_out_and_what_is_none_stays_as_it_is() {
        assert_eq!(names("n1, n3"), ["n1", "n3"]);
        assert_eq!(names("n[1-3,7],x"), ["n1", "n2", "n3", "n7", "x"]);
        assert_eq!(names("n[08-10]"), ["n08", "n09", "n10"]);
        assert_eq!(names("r[1-2]n[1-2]"), ["r1n1", "r1n2", "r2n1", "r2n2"]);
        for same in ["n[3-1]", "n[x]", "n[1-3", "n[1-999999999]"] {
            assert_eq!(names(same), [same]);
        }
        assert_eq!(names(""), Vec::<String>::new());
    }
}
