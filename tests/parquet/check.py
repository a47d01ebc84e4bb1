"""The tables of a sweep open in pandas, Polars and DuckDB with typed columns: check.py FOLDER

FOLDER has ranking.parquet and results.parquet. Numbers are numbers, not texts; what was not
measured is null. Each of the three reads the same types and the same values.
"""

import math
import sys
from pathlib import Path

import duckdb
import pandas
import polars

INTEGER = {"rank", "launches", "repeats", "failures", "launch", "repeat", "block"}
BOOLEAN = {"baseline", "simulated", "eligible", "candidate", "preferred"}
TEXT = {
    "sweep", "configuration", "configuration_id", "rank_label", "aliases", "reason", "remarks",
    "failure_class", "workload", "case", "status", "engine", "image", "model", "service",
    "image_id", "engine_version", "started_at", "purpose",
}
FLOAT_ENDINGS = (".geomean", ".mean", ".low", ".high")


def kind_of_polars(dtype):
    if dtype.is_integer():
        return "integer"
    if dtype.is_float():
        return "float"
    if dtype == polars.Boolean:
        return "boolean"
    if dtype == polars.String:
        return "text"
    return "list" if dtype == polars.List(polars.Float64) else str(dtype)


def kind_of_duckdb(name):
    if name.endswith("[]"):
        return "list" if name == "DOUBLE[]" else name
    return {"DOUBLE": "float", "BOOLEAN": "boolean", "VARCHAR": "text"}.get(
        name, "integer" if "INT" in name else name
    )


def kind_of_arrow(dtype):
    from pyarrow import types

    if types.is_integer(dtype):
        return "integer"
    if types.is_floating(dtype):
        return "float"
    if types.is_boolean(dtype):
        return "boolean"
    if types.is_string(dtype) or types.is_large_string(dtype) or types.is_string_view(dtype):
        return "text"
    return "list" if types.is_list(dtype) or types.is_large_list(dtype) else str(dtype)


def expected(column):
    if column in INTEGER:
        return "integer"
    if column in BOOLEAN:
        return "boolean"
    if column in TEXT or column.startswith(("constraint.", "verdict.", "environment.", "variable.", "gate.")):
        return "text"
    if column.endswith(FLOAT_ENDINGS) or column.startswith(("baseline_", "confirmed_", "p_")):
        return "float"
    return None


def check(path):
    with_polars = polars.read_parquet(path)
    with_pandas = pandas.read_parquet(path, dtype_backend="pyarrow")
    with_duckdb = duckdb.sql(f"describe select * from '{path}'").fetchall()
    kinds = {name: kind_of_polars(dtype) for name, dtype in with_polars.schema.items()}
    assert len(kinds) > 12 and len(with_polars) > 0, path
    assert {row[0]: kind_of_duckdb(row[1]) for row in with_duckdb} == kinds, "DuckDB"
    arrow = {name: kind_of_arrow(dtype.pyarrow_dtype) for name, dtype in with_pandas.dtypes.items()}
    assert arrow == kinds, "pandas"
    for column, kind in kinds.items():
        want = expected(column)
        assert want in (None, kind), f"{path}: {column} is {kind}, not {want}"
        assert kind in ("integer", "float", "boolean", "text", "list"), f"{path}: {column} is {kind}"
    # A flag of a number is a number, and so is every metric that is one.
    numbers = [name for name, kind in kinds.items() if kind in ("integer", "float")]
    sums = duckdb.sql(
        "select " + ", ".join(f'sum("{name}")' for name in numbers) + f" from '{path}'"
    ).fetchall()[0]
    for name, by_duckdb in zip(numbers, sums):
        by_polars = with_polars[name].sum() if with_polars[name].count() else None
        by_pandas = with_pandas[name].sum() if with_pandas[name].count() else None
        for other in (by_polars, by_pandas):
            assert (by_duckdb is None) == (other is None), f"{path}: {name}"
            if by_duckdb is not None:
                assert math.isclose(by_duckdb, other, rel_tol=1e-9, abs_tol=1e-12), f"{path}: {name}"
    print(f"{path}: {len(with_polars)} rows, {len(kinds)} columns, {len(numbers)} of numbers")
    return kinds


def main():
    folder = Path(sys.argv[1])
    ranking = check(folder / "ranking.parquet")
    results = check(folder / "results.parquet")
    flags = [name for name in ranking if name.startswith("flag.")]
    assert flags and all(ranking[name] == results[name] for name in flags), "flags of both"
    for name in flags:
        assert name.replace("flag.", "verdict.", 1) in ranking, name


main()
