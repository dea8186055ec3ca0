"""Runs Kusto queries over rows, in the environment of the scanners (duckdb-kql).

Each line of standard input is {"columns": {TABLE: {COLUMN: SQL TYPE}}, "rows": {TABLE: [ROW]}, "query": TEXT}; each line that
comes back is the list of the rows that the query gives.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import duckdb_kql  # type: ignore[import-not-found]


def run(given: dict[str, Any]) -> list[dict[str, Any]]:
    database = duckdb_kql.connect()
    for table, columns in given["columns"].items():
        database.sql(f"CREATE TABLE {table} ({', '.join(f'{name} {kind}' for name, kind in columns.items())})")
        for row in given["rows"].get(table, []):
            names, marks = ", ".join(row), ", ".join("?" * len(row))
            database.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(row.values()))
    answer = duckdb_kql.kql(database, given["query"])
    return [dict(zip(answer.columns, row, strict=True)) for row in answer.fetchall()]


def main() -> None:
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line)), default=str), flush=True)


if __name__ == "__main__":
    main()
