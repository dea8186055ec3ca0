"""Runs Kusto queries over rows, in the environment of the scanners (duckdb-kql).

The first line of standard input is {TABLE: {COLUMN: SQL TYPE}}, each further one {"rows": {TABLE: [ROW]}, "query": TEXT}; what
comes back for each of those is a line with the list of the rows that the query gives.
"""

from __future__ import annotations

import json
import sys
from functools import cache
from typing import Any

import duckdb_kql  # type: ignore[import-not-found]


def main() -> None:
    tables: dict[str, dict[str, str]] = json.loads(sys.stdin.readline())
    database = duckdb_kql.connect()
    for table, columns in tables.items():
        database.sql(f"CREATE TABLE {table} ({', '.join(f'{name} {kind}' for name, kind in columns.items())})")

    @cache
    def translated(query: str) -> str:
        return str(duckdb_kql.to_sql(query, schema={table: list(columns) for table, columns in tables.items()}))

    for line in sys.stdin:
        given: dict[str, Any] = json.loads(line)
        for table in tables:
            database.execute(f"DELETE FROM {table}")
            for row in given["rows"][table]:
                names, marks = ", ".join(row), ", ".join("?" * len(row))
                database.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(row.values()))
        answer = database.sql(translated(given["query"]))
        print(
            json.dumps([dict(zip(answer.columns, row, strict=True)) for row in answer.fetchall()], default=str),
            flush=True,
        )


if __name__ == "__main__":
    main()
