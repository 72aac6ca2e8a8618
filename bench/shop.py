"""A real shop for measuring: web server, worker, Stripe twin and mailbox on the loopback, data in a temporary place."""

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import flask
import requests
from pydantic import SecretStr

import config
from app import create_app
from database import connected, db, transaction
from domain import api_keys, catalogue, ledger
from effects import voucher
from gateways import captured_mailbox
from gateways.stripe_twin import Twin
from models import Merchant

SLUG = "bench"
RICH_MINOR = 10**12  # no voucher is used up while it is measured
# As many workers and threads as the demo starts.
WORKERS, THREADS = 2, 4
_START_SECONDS, _STOP_SECONDS = 30.0, 20.0


@dataclass(frozen=True)
class Shop:
    """A running shop. `app` is a second copy in this process, on the same data, for what HTTP does not offer."""

    settings: config.Settings
    app: flask.Flask
    twin: Twin
    mailbox: captured_mailbox.Mailbox
    environment: dict[str, str]

    @property
    def port(self) -> int:
        return self.settings.port

    @property
    def merchant(self) -> Merchant:
        return Merchant.get(Merchant.slug == SLUG)

    @contextmanager
    def working(self) -> Iterator[None]:
        """With its worker running: PDFs are made and mails leave."""
        with process([sys.executable, "-m", "flask", "worker"], environment=self.environment):
            yield

    def issue(self, count: int) -> list[tuple[int, str]]:
        """Vouchers that never run dry: row id and code."""
        issued = []
        with self.app.app_context(), connected():
            for _ in range(count):
                with transaction():
                    row = ledger.issue(
                        self.merchant,
                        value_minor=RICH_MINOR,
                        currency="EUR",
                        code=voucher.mint(self.merchant),
                        operation_key=f"issue:{secrets.token_hex(8)}",
                        actor="bench",
                        is_test=True,
                    )
                issued.append((row.id, voucher.read_code(row)))
        return issued

    def keys(self, count: int) -> list[str]:
        """Keys of tills. A key may ask 600 times a minute, so a till faster than any person's needs several."""
        with connected():
            scopes = ["pos:validate", "pos:redeem"]
            return [api_keys.create(self.merchant, name="Till", scopes=scopes, is_test=True)[1] for _ in range(count)]


@contextmanager
def opened(database_url: str, folder: Path) -> Iterator[Shop]:
    """A shop on this database, ended again at the end with everything that it started."""
    with ExitStack() as stack:
        port = free_port()
        twin = stack.enter_context(Twin(webhook_url=f"http://127.0.0.1:{port}/webhooks/stripe"))
        post_office = captured_mailbox.serve(folder / "mailbox.db")
        stack.callback(post_office.stop)
        settings = _settings(database_url, folder, port=port, mail_port=post_office.port, twin=twin)
        environment = _environment(settings)
        app = create_app(settings)
        stack.callback(db.obj.close_all)
        with connected():
            merchant = Merchant.create(slug=SLUG, name="Café Messwert", address="Lindengasse 12\n1070 Wien")
            catalogue.stock_shop(merchant)
        stack.enter_context(served("app:create_app", port=port, environment=environment))
        yield Shop(settings, app, twin, captured_mailbox.Mailbox(folder / "mailbox.db"), environment)


@contextmanager
def served(factory: str, *, port: int, environment: dict[str, str]) -> Iterator[None]:
    """`factory` behind the web server as operators start it."""
    command = [
        *(sys.executable, "-m", "granian", factory, "--factory", "--interface", "wsgi"),
        *("--host", "127.0.0.1", "--port", str(port), "--log-level", "error", "--no-ws"),
        *("--workers", str(WORKERS), "--blocking-threads", str(THREADS), "--workers-kill-timeout", "5"),
    ]
    with process(command, environment=environment) as web:
        _wait_for_answer(port, web)
        yield


@contextmanager
def process(command: list[str], *, environment: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    """A child that is asked to end, and killed when it does not listen."""
    child = subprocess.Popen(
        command, env=environment, cwd=config.ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for_answer(port: int, web: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and web.poll() is None:
        try:
            requests.get(f"http://127.0.0.1:{port}/healthz", timeout=2)
        except requests.RequestException:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("the web server did not start; run `make demo` to see why")


def _settings(database_url: str, folder: Path, *, port: int, mail_port: int, twin: Twin) -> config.Settings:
    return config.Settings(
        _env_file=None,
        data_dir=folder,
        database_url=database_url,
        queue_url=f"sqlite:///{folder / 'queue.db'}",
        secret_key=SecretStr(secrets.token_hex(32)),
        base_url=f"http://localhost:{port}",
        port=port,
        stripe_secret_key=SecretStr(twin.secret_key),
        stripe_webhook_secret=SecretStr(twin.webhook_secret),
        stripe_api_base=twin.api_base,
        mail_server="127.0.0.1",
        mail_port=mail_port,
        mail_default_sender="vouchers@shop.example",
    )


def _environment(settings: config.Settings) -> dict[str, str]:
    given = settings.model_dump(exclude_unset=True)
    plain = {name: value.get_secret_value() if isinstance(value, SecretStr) else value for name, value in given.items()}
    return os.environ | {name.upper(): str(value) for name, value in plain.items()}
