//! The tables in other people's tools. `tests/parquet/prepare.sh` installs them.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The interpreter of the folder that `prepare.sh` fills.
fn python() -> PathBuf {
    let of_cache = || {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let home = || Path::new(&std::env::var_os("HOME").unwrap_or_default()).join(".cache");
        cache.unwrap_or_else(home).join("vllm-grid-parquet")
    };
    let folder = std::env::var_os("VLLM_GRID_TEST_PARQUET").map_or_else(of_cache, PathBuf::from);
    folder.join("venv/bin/python")
}

#[test]
#[ignore = "needs pandas, Polars and DuckDB"]
fn the_tables_open_with_typed_columns_in_pandas_polars_and_duckdb() {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let mut export = Command::new(env!("CARGO_BIN_EXE_vllm-grid"));
    export.args(["export", "runs/example", "--output"]).arg(folder.path()).current_dir(checkout);
    assert!(export.status().unwrap().success());
    let script = checkout.join("tests/parquet/check.py");
    let checked = Command::new(python()).arg(script).arg(folder.path()).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
