//! Request records as Parquet.
