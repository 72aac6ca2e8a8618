"""Another process that holds the database's lock for a while, as a backup or a forgotten shell does.

`python -m tests.faults.locks <url> <seconds>` says `held` once it holds it.
"""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg

import config


@contextmanager
def held(url: str, *, seconds: float) -> Iterator[None]:
    """The lock is held by a process of its own for so long: SQLite's writer, or every order's row on PostgreSQL."""
    command = [sys.executable, "-m", "tests.faults.locks", url, str(seconds)]
    with subprocess.Popen(command, cwd=config.ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield


def hold(url: str, seconds: float) -> None:
    """Take the lock, say so, keep it for so long and let it go."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=30, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            _keep(seconds)
            connection.execute("ROLLBACK")
        return
    with psycopg.connect(url) as connection:
        connection.execute("SELECT id FROM orders ORDER BY id FOR UPDATE")
        _keep(seconds)
        connection.rollback()


def _keep(seconds: float) -> None:
    print("held", flush=True)
    time.sleep(seconds)


if __name__ == "__main__":
    hold(sys.argv[1], float(sys.argv[2]))
