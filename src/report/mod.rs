//! How a sweep is told: terminal table, CSV and Parquet.

pub mod plan;
