//! Metrics by name where they are computed: a name that the workload's catalogue
//! does not have does not compile, nor does a workload that leaves one of its own out.
//! The catalogues are in [`crate::workload`].

use crate::metric::{Metric, MetricValue};

/// Every metric of a catalogue with its value: `all_of!(KV_CACHE; "tpot_ms": value, ...)`.
macro_rules! all_of {
    ($catalogue:expr; $($name:literal: $value:expr),* $(,)?) => {{
        // An item, which `cargo check` evaluates too.
        const _: () = $crate::bench::metrics::assert_all_computed($catalogue, &[$($name),*]);
        $crate::bench::metrics::some_of!($catalogue; $($name: $value),*)
    }};
}

/// Some metrics of a catalogue with their values; the same form.
macro_rules! some_of {
    ($catalogue:expr; $($name:literal: $value:expr),* $(,)?) => {
        $crate::metric::MetricValues::from([$((
            {
                const NAME: &str = $crate::bench::metrics::name_in_catalogue($catalogue, $name);
                NAME.to_owned()
            },
            $crate::bench::metrics::IntoValue::into_value($value),
        )),*])
    };
}

pub(crate) use {all_of, some_of};

/// What is the value of a metric where it was measured.
pub(crate) trait IntoValue {
    fn into_value(self) -> Option<MetricValue>;
}

impl IntoValue for Option<f64> {
    fn into_value(self) -> Option<MetricValue> {
        self.map(MetricValue::Number)
    }
}

impl IntoValue for f64 {
    fn into_value(self) -> Option<MetricValue> {
        Some(MetricValue::Number(self))
    }
}

impl IntoValue for Option<&str> {
    fn into_value(self) -> Option<MetricValue> {
        self.map(|text| MetricValue::Text(text.to_owned()))
    }
}

impl IntoValue for Option<Vec<Option<f64>>> {
    fn into_value(self) -> Option<MetricValue> {
        self.map(MetricValue::List)
    }
}

/// The name of a metric of the catalogue. In a constant another name does not compile.
pub(crate) const fn name_in_catalogue(catalogue: &[Metric], name: &'static str) -> &'static str {
    let mut index = 0;
    while index < catalogue.len() {
        if is_same(catalogue[index].name, name) {
            return name;
        }
        index += 1;
    }
    // The compiler shows the text of a panic: the name.
    panic!("{}", name)
}

/// In a constant, a metric that `names` do not have does not compile.
pub(crate) const fn assert_all_computed(catalogue: &[Metric], names: &[&str]) {
    let mut metric = 0;
    while metric < catalogue.len() {
        let (mut index, mut found) = (0, false);
        while index < names.len() && !found {
            found = is_same(catalogue[metric].name, names[index]);
            index += 1;
        }
        // The compiler shows the text of a panic: the name.
        assert!(found, "{}", catalogue[metric].name);
        metric += 1;
    }
}

const fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one.len() != other.len() {
        return false;
    }
    let mut index = 0;
    while index < one.len() {
        if one[index] != other[index] {
            return false;
        }
        index += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Direction;

    const METRICS: &[Metric] = &[
        Metric::new("w", "ttft_ms", "ms", Direction::Lower, "", ""),
        Metric::new("w", "state", "text", Direction::Neutral, "", ""),
    ];

    #[test]
    fn values_are_kept_by_name() {
        let values = all_of!(METRICS; "ttft_ms": Some(5.0), "state": Some("good"));
        assert_eq!(values["ttft_ms"], Some(MetricValue::Number(5.0)));
        assert_eq!(values["state"], Some(MetricValue::Text("good".to_owned())));
        assert_eq!(some_of!(METRICS; "ttft_ms": None::<f64>).len(), 1);
    }

    #[test]
    #[should_panic(expected = "ttft_msec")]
    fn a_misspelt_name_is_refused() {
        name_in_catalogue(METRICS, "ttft_msec");
    }

    #[test]
    #[should_panic(expected = "state")]
    fn a_metric_that_is_left_out_is_named() {
        assert_all_computed(METRICS, &["ttft_ms"]);
    }
}
