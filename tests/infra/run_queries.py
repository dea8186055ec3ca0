"""Runs Kusto queries over rows, in the environment of the scanners (duckdb-kql). Standard input is
{"columns": {TABLE: {COLUMN: SQL TYPE}}, "rows": {TABLE: [ROW]}, "queries": {NAME: TEXT}}; what comes back is {NAME: [ROW]}."""

from __future__ import annotations

import json
import sys

import duckdb_kql  # type: ignore[import-not-found]


def main() -> None:
    given = json.load(sys.stdin)
    database = duckdb_kql.connect()
    for table, columns in given["columns"].items():
        database.sql(f"CREATE TABLE {table} ({', '.join(f'{name} {kind}' for name, kind in columns.items())})")
        for row in given["rows"].get(table, []):
            names, marks = ", ".join(row), ", ".join("?" * len(row))
            database.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(row.values()))
    answers = {}
    for name, text in given["queries"].items():
        answer = duckdb_kql.kql(database, text)
        answers[name] = [dict(zip(answer.columns, row, strict=True)) for row in answer.fetchall()]
    json.dump(answers, sys.stdout, default=str)


if __name__ == "__main__":
    main()
