//! Typed columns from optional values: one place that decides which type a
//! column of flags has. What the columns are called is in the frames.

use polars::prelude::{
    Column, DataType, Float64Type, IntoSeries, ListBuilderTrait, ListPrimitiveChunkedBuilder,
    NamedFrom, PlSmallStr, Series,
};
use serde_json::Value;

use crate::configuration::canonical;

/// The type of a column of flag values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Boolean,
    Integer,
    Float,
    Text,
}

/// A column of optional values; absent ones are null.
pub(super) fn column<T>(name: &str, values: Vec<Option<T>>) -> Column
where
    Series: NamedFrom<Vec<Option<T>>, [Option<T>]>,
{
    Series::new(PlSmallStr::from_str(name), values).into()
}

/// A column of lists of numbers; absent ones, and absent numbers in them, are null.
pub(super) fn list<'v>(
    name: &str,
    values: impl ExactSizeIterator<Item = Option<&'v [Option<f64>]>>,
) -> Column {
    let name = PlSmallStr::from_str(name);
    let rows = values.len();
    let mut builder =
        ListPrimitiveChunkedBuilder::<Float64Type>::new(name, rows, rows, DataType::Float64);
    for value in values {
        match value {
            Some(numbers) => builder.append_iter(numbers.iter().copied()),
            None => builder.append_null(),
        }
    }
    builder.finish().into_series().into()
}

/// A list as JSON, where a column of lists is not possible.
pub(super) fn list_text(numbers: impl Iterator<Item = Option<f64>>) -> String {
    numbers.collect::<Value>().to_string()
}

/// The narrowest type for all values; `None` without any. Values of
/// different sorts make text.
pub(super) fn kind<'a>(values: impl IntoIterator<Item = &'a Value>) -> Option<Kind> {
    values
        .into_iter()
        .filter_map(|value| match value {
            Value::Null => None,
            Value::Bool(_) => Some(Kind::Boolean),
            Value::Number(number) if number.is_i64() => Some(Kind::Integer),
            Value::Number(_) => Some(Kind::Float),
            _ => Some(Kind::Text),
        })
        .reduce(|a, b| match (a, b) {
            (a, b) if a == b => a,
            (Kind::Integer, Kind::Float) | (Kind::Float, Kind::Integer) => Kind::Float,
            _ => Kind::Text,
        })
}

/// A column of JSON values of one kind.
pub(super) fn json(name: &str, values: &[Option<&Value>], kind: Kind) -> Column {
    fn each<T>(values: &[Option<&Value>], read: impl Fn(&Value) -> Option<T>) -> Vec<Option<T>> {
        values.iter().map(|value| value.and_then(&read)).collect()
    }
    match kind {
        Kind::Boolean => column(name, each(values, Value::as_bool)),
        Kind::Integer => column(name, each(values, Value::as_i64)),
        Kind::Float => column(name, each(values, Value::as_f64)),
        Kind::Text => column(name, each(values, text)),
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(canonical(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_column_has_the_narrowest_type() {
        let of = |values: Value| kind(values.as_array().unwrap());
        assert_eq!(of(json!([null, true])), Some(Kind::Boolean));
        assert_eq!(of(json!([32, null])), Some(Kind::Integer));
        assert_eq!(of(json!([1, 0.5])), Some(Kind::Float));
        assert_eq!(of(json!(["auto", 4])), Some(Kind::Text));
        assert_eq!(of(json!([{"rope_type": "yarn"}])), Some(Kind::Text));
        assert_eq!(of(json!([null])), None);
    }
}
