//! Reads Prometheus text: names, labels, values. Samples are found by their exact name;
//! `# HELP` and `# TYPE` lines are skipped, and `_created` series are other names. What
//! vLLM's metrics mean is in `counters`.

/// Samples that are kept of one scrape: vLLM's has a few hundred for each engine.
const MAX_SAMPLES: usize = 100_000;
/// Labels of a sample; a line with more is no sample. vLLM's longest has 30.
const MAX_LABELS: usize = 256;

/// From here on, a float leaves numbers out.
const MAX_COUNT: f64 = 9_007_199_254_740_992.0;

/// The value of a counter: a whole number that a float can count; anything else is none.
pub(super) fn whole(value: f64) -> Option<u64> {
    ((0.0..=MAX_COUNT).contains(&value) && value.fract() == 0.0).then_some(value as u64)
}

/// One sample of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The metric's name, suffixes such as `_total` included.
    pub name: String,
    /// Labels in their order, unescaped.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: f64,
}

/// The samples of one scrape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scrape {
    samples: Vec<Sample>,
}

impl Scrape {
    /// Reads a text. Lines that are not samples are skipped.
    pub fn parse(text: &str) -> Self {
        Self::parse_where(text, |_| true)
    }

    /// As [`Scrape::parse`], for the names that `wanted` accepts: histograms are
    /// most of the 60 KB.
    pub fn parse_where(text: &str, wanted: impl Fn(&str) -> bool) -> Self {
        let samples = text
            .lines()
            .filter_map(|line| {
                let line = line.trim();
                let name_end = line.find(['{', ' ', '\t'])?;
                let (name, rest) = line.split_at(name_end);
                if name.starts_with('#') || !wanted(name) {
                    return None;
                }
                sample(name, rest)
            })
            .take(MAX_SAMPLES)
            .collect();
        Self { samples }
    }

    /// Every sample of this name.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| sample.name == name)
    }

    /// The sum over all labels (engines, finish reasons); `None` where there is no such metric.
    pub fn sum(&self, name: &str) -> Option<f64> {
        self.named(name).map(|sample| sample.value).reduce(|a, b| a + b)
    }

    /// The largest over all labels; `None` where there is no such metric.
    pub fn max(&self, name: &str) -> Option<f64> {
        self.named(name).map(|sample| sample.value).reduce(f64::max)
    }

    /// A label's values in the samples of this name.
    pub fn labels<'a>(&'a self, name: &'a str, label: &'a str) -> impl Iterator<Item = &'a str> {
        let labels = self.named(name).flat_map(|sample| &sample.labels);
        labels.filter(move |(key, _)| key == label).map(|(_, value)| value.as_str())
    }

    /// A label of the first sample of this name.
    pub fn label<'a>(&'a self, name: &'a str, label: &str) -> Option<&'a str> {
        let labels = &self.named(name).next()?.labels;
        labels.iter().find(|(key, _)| key == label).map(|(_, value)| value.as_str())
    }
}

fn sample(name: &str, rest: &str) -> Option<Sample> {
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => labels(inside)?,
        None => (Vec::new(), rest),
    };
    // A time stamp may follow the value.
    let value = rest.split_whitespace().next()?;
    Some(Sample { name: name.to_owned(), labels, value: value.parse().ok()? })
}

/// Labels up to the closing brace, and what follows it.
fn labels(mut text: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        text = text.trim_start_matches([' ', ',']);
        if let Some(rest) = text.strip_prefix('}') {
            return Some((labels, rest));
        }
        if labels.len() == MAX_LABELS {
            return None;
        }
        let (key, rest) = text.split_once('=')?;
        let mut characters = rest.trim_start().strip_prefix('"')?.chars();
        let mut value = String::new();
        loop {
            match characters.next()? {
                '"' => break,
                '\\' => match characters.next()? {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                other => value.push(other),
            }
        }
        labels.push((key.trim().to_owned(), value));
        text = characters.as_str();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn labels_values_and_created_series() {
        let scrape = Scrape::parse(concat!(
            "# HELP a_total help\n# TYPE a_total counter\n",
            "a_total{engine=\"0\",x=\"q\\\"\\\\\\n,}\"} 3.0\n",
            "a_total{engine=\"1\",x=\"\"} 4e0 1700000000\n",
            "a_created{engine=\"0\"} 1.79e+09\n",
            "b 0.5\n broken{ 1\nc{x=\"y\"} NaN\nd +Inf\n",
        ));
        assert_eq!(scrape.sum("a_total"), Some(7.0));
        assert_eq!(scrape.max("a_total"), Some(4.0));
        assert_eq!(scrape.label("a_total", "x"), Some("q\"\\\n,}"));
        assert_eq!(scrape.sum("b"), Some(0.5));
        assert_eq!(scrape.sum("a"), None);
        assert_eq!(scrape.sum("broken"), None);
        assert_eq!(scrape.sum("d"), Some(f64::INFINITY));
        assert!(scrape.sum("c").expect("there").is_nan());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let many = "a_total 1\n".repeat(MAX_SAMPLES + 7);
        assert_eq!(Scrape::parse(&many).sum("a_total"), Some(MAX_SAMPLES as f64));
        let labels = "x=\"\",".repeat(MAX_LABELS + 1);
        assert_eq!(Scrape::parse(&format!("a{{{labels}}} 1\nb 2\n")).sum("a"), None);
    }

    proptest! {
        #[test]
        fn never_panics(text in "(?s).{0,200}") {
            Scrape::parse(&text);
        }

        #[test]
        fn never_panics_near_the_grammar(text in "([a#]|\\{|\\}|\"|\\\\|=|,| |1|é|\n){0,60}") {
            Scrape::parse(&text);
        }

        /// What the format's rules write is read back.
        #[test]
        fn reads_what_is_written(
            value in -1e12f64..1e12,
            labels in prop::collection::vec(("[a-z_]{1,5}", "[a-z\"\\\\\n{},= é]{0,8}"), 0..4),
        ) {
            let written: Vec<String> = labels.iter().map(|(key, value)| {
                let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                format!("{key}=\"{value}\"")
            }).collect();
            let scrape = Scrape::parse(&format!("m{{{}}} {value}\n", written.join(",")));
            let sample = scrape.named("m").next().expect("read");
            prop_assert_eq!(&sample.labels, &labels);
            prop_assert_eq!(sample.value.to_bits(), value.to_bits());
        }
    }
}
