"""Runs Kusto queries over rows, in the environment of the scanners (duckdb-kql).

The first line of standard input is {TABLE: {COLUMN: SQL TYPE}}, each further one {"rows": {TABLE: [ROW]}, "query": TEXT}; what
comes back for each of those is a line with the list of the rows that the query gives. A query is planned once: on so few rows
that costs more than to run it.
"""

from __future__ import annotations

import json
import sys
from functools import cache
from itertools import count
from typing import Any

import duckdb_kql  # type: ignore[import-not-found]


def main() -> None:
    tables: dict[str, dict[str, str]] = json.loads(sys.stdin.readline())
    database = duckdb_kql.connect()
    database.execute("SET threads = 1")
    numbers = count(1)
    for table, columns in tables.items():
        database.sql(f"CREATE TABLE {table} ({', '.join(f'{name} {kind}' for name, kind in columns.items())})")

    @cache
    def prepared(query: str) -> str:
        name = f"query_{next(numbers)}"
        sql = duckdb_kql.to_sql(query, schema={table: list(columns) for table, columns in tables.items()})
        database.execute(f"PREPARE {name} AS {sql}")
        return name

    for line in sys.stdin:
        given: dict[str, Any] = json.loads(line)
        for table in tables:
            database.execute(f"DELETE FROM {table}")
            for row in given["rows"][table]:
                into, marks = ", ".join(row), ", ".join("?" * len(row))
                database.execute(f"INSERT INTO {table} ({into}) VALUES ({marks})", list(row.values()))
        answer = database.execute(f"EXECUTE {prepared(given['query'])}")
        names = [column[0] for column in answer.description]
        print(json.dumps([dict(zip(names, row, strict=True)) for row in answer.fetchall()], default=str), flush=True)


if __name__ == "__main__":
    main()
