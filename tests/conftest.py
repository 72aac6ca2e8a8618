"""Fixtures: real databases, the Stripe twin, a real SMTP server, the app on top of them."""

import dataclasses
import os
import random
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import flask
import pytest
from pydantic import SecretStr

import config
import database
import tasks
from app import create_app
from domain import clock
from effects import outside as outsides
from effects import work
from gateways.document import Press
from gateways.stripe_twin import Twin
from tests import cast as casting
from tests.browser import Browser
from tests.engines import PostgresServer, SqliteFiles, postgres_url
from tests.faults import sockets, theatre
from tests.smtp import ScriptedServer

IS_SKIP_A_FAILURE = os.environ.get("REQUIRE_ALL") == "1"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=None, help="replay a run: the seed of everything left to chance")


def pytest_configure(config: pytest.Config) -> None:
    if config.option.seed is None:  # chosen once, so that every process of a parallel run has the same
        config.option.seed = random.randrange(10**6)


def pytest_report_header(config: pytest.Config) -> str:
    return f"seed: --seed {config.option.seed}"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Where everything has to be there, a skipped test is a failed one; a failed one says how it can be repeated."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.failed and "chance" in getattr(item, "fixturenames", ()):
        report.sections.append(("chance", f"replay with --seed {item.config.option.seed}"))
    if IS_SKIP_A_FAILURE and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, but REQUIRE_ALL is set: {report.longrepr}"


@pytest.fixture(scope="session")
def sqlite_files(tmp_path_factory: pytest.TempPathFactory) -> SqliteFiles:
    return SqliteFiles(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> PostgresServer:
    # A short path: the socket's address has to fit into 107 characters.
    folder = Path("/tmp") / f"vouchsafe-pg-{os.getpid()}-{secrets.token_hex(3)}"
    return PostgresServer(postgres_url(folder))


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> str:
    """The database engine of this test; what touches the database runs on both."""
    return str(request.param)


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Everything that a test leaves to chance: its own row of numbers, the same again with the same `--seed`."""
    return random.Random(f"{request.config.option.seed}:{request.node.nodeid}")


@pytest.fixture
def databases(engine: str, request: pytest.FixtureRequest) -> SqliteFiles | PostgresServer:
    """Where fresh databases come from, for a test that needs more than one."""
    found: SqliteFiles | PostgresServer = request.getfixturevalue(
        "sqlite_files" if engine == "sqlite" else "postgres_server"
    )
    return found


@pytest.fixture
def database_url(databases: SqliteFiles | PostgresServer) -> Iterator[str]:
    with databases.fresh() as url:
        yield url


@pytest.fixture
def theatres(
    databases: SqliteFiles | PostgresServer, tmp_path: Path
) -> Callable[..., AbstractContextManager[theatre.Theatre]]:
    """Opens a theatre (`tests/faults`) over a database of its own, one after the other."""

    @contextmanager
    def open_one(**options: tuple[str, ...]) -> Iterator[theatre.Theatre]:
        with databases.fresh() as url, theatre.opened(url, tmp_path, **options) as opened:
            yield opened

    return open_one


@pytest.fixture
def twin() -> Iterator[Twin]:
    """Stripe's twin on a loopback port. Its events are delivered by the test, or to a live server's address."""
    with Twin() as running:
        yield running


@pytest.fixture
def smtp() -> Iterator[ScriptedServer]:
    """A real SMTP server in this process; `.messages` is what it accepted."""
    with ScriptedServer() as running:
        yield running


@pytest.fixture(scope="session")
def press() -> Iterator[Press]:
    with Press() as warm:
        yield warm


@pytest.fixture
def settings(database_url: str, twin: Twin, smtp: ScriptedServer, tmp_path: Path) -> config.Settings:
    return config.Settings(
        _env_file=None,
        database_url=database_url,
        queue_url=f"sqlite:///{tmp_path}/queue.db",
        secret_key=SecretStr("test-secret-key"),
        base_url="http://localhost",
        stripe_secret_key=SecretStr(twin.secret_key),
        stripe_webhook_secret=SecretStr(twin.webhook_secret),
        stripe_api_base=twin.api_base,
        mail_server="127.0.0.1",
        mail_port=smtp.port,
        mail_default_sender="vouchers@shop.example",
    )


@pytest.fixture
def app(settings: config.Settings, press: Press) -> Iterator[flask.Flask]:
    """The whole product, on the test's own database, with an app context pushed and a connection open."""
    made = create_app(settings)
    made.test_client_class = Browser
    made.testing = True
    made.extensions["outside"] = dataclasses.replace(made.extensions["outside"], press=press)
    with made.app_context(), database.connected():
        yield made
    made.extensions["huey"].storage.close()
    database.db.obj.close_all()


@pytest.fixture
def outside(app: flask.Flask) -> outsides.Outside:
    return outsides.here()


@pytest.fixture
def cast(app: flask.Flask) -> casting.Cast:
    return casting.write()


@pytest.fixture
def merchant(cast: casting.Cast) -> casting.Merchant:
    """Café Alba."""
    return cast.alba


@pytest.fixture
def other_merchant(cast: casting.Cast) -> casting.Merchant:
    """Hotel Berg."""
    return cast.berg


@pytest.fixture
def client(app: flask.Flask) -> Browser:
    return app.test_client()  # type: ignore[return-value]


@pytest.fixture
def run_jobs(app: flask.Flask) -> Callable[[], int]:
    """Drain the real queue as its consumer would; returns how many tasks ran. The sweeper is not part of it."""

    def drain() -> int:
        queue, count = app.extensions["huey"], 0
        while (task := queue.dequeue()) is not None:
            queue.execute(task)
            count += 1
        return count

    return drain


@pytest.fixture
def sweep(app: flask.Flask) -> Callable[[], dict[str, int]]:
    """One round of the sweeper."""
    return lambda: work.sweep(tasks.worker_name())


@pytest.fixture
def silent_bell(app: flask.Flask) -> None:
    """The queue's bell is switched off: rows are the truth."""
    outside = app.extensions["outside"]
    quiet = outside.settings.model_copy(update={"kicks": False})
    app.extensions["outside"] = dataclasses.replace(outside, settings=quiet)


@pytest.fixture(autouse=True)
def _clock_at_rest() -> Iterator[None]:
    yield
    clock.reset()


@pytest.fixture(autouse=True)
def _no_line_opened_in_a_transaction() -> Iterator[None]:
    """F28: whatever a test does, no connection to Redis, Stripe or a mail server is opened inside a transaction."""
    sockets.forbid_in_transactions()
    sockets.seen()
    yield
    assert not (found := sockets.seen()), "\n".join(found)
