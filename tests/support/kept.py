"""What a store's file holds, read as any program would."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

FILE = Path("comparison.sqlite")


def rows(path=FILE):
    """Each call, or whole answer, as a dict of the columns; what was given is read as JSON. None is there: no file."""
    if not path.exists():
        return []
    with closing(sqlite3.connect(path, timeout=30)) as connection:
        connection.row_factory = sqlite3.Row
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'calls'").fetchone():
            return []
        found = connection.execute("SELECT * FROM calls WHERE key != '' ORDER BY rowid").fetchall()
    return [{**row, "given": json.loads(row["given"])} for row in map(dict, found)]


def edit(sql, *values, path=FILE):
    """Change the file as another program would."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(sql, values)
