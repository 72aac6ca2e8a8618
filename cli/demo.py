"""`flask demo` and `flask seed`: the whole shop on one machine, with test payments and a captured mailbox."""

import json
import signal
import socket
import subprocess
import sys
import time
from types import FrameType

import click
import flask
import requests
from flask.cli import with_appcontext

import config
import database
import tasks
from cli import example, schema
from database import connected
from effects import outside
from effects.outside import here
from gateways import captured_mailbox
from models import Merchant

_STARTUP_SECONDS = 30.0
_SHUTDOWN_SECONDS = 30.0


@click.command("seed")
@with_appcontext
def seed() -> None:
    """Fill an empty database with the example shops: a voucher in every state and an order stuck at its mail."""
    with connected():
        if Merchant.select().where(Merchant.slug == example.SLUG).exists():
            raise click.ClickException("the example shop is there already")
        example.fill()
    here().press.close()
    click.echo(f"shop {example.SLUG!r}; log in as {example.EMAIL} with {example.PASSWORD!r}")


@click.command("demo")
@with_appcontext
def demo() -> None:
    """Run the shop in the foreground until Ctrl-C: web, worker, Stripe twin, mail server. No real money can move."""
    # A record that a killed demo left behind must not decide where this one listens.
    settings = config.load(is_beside_demo=False)
    if not settings.is_demo:
        raise click.ClickException("STRIPE_SECRET_KEY is set; the demo never runs beside a Stripe key. Unset it.")
    _require_free_port(settings.port)
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    mailbox = captured_mailbox.serve(settings.mailbox_file)
    settings = settings.model_copy(update={"mail_server": "127.0.0.1", "mail_port": mailbox.port})
    database.connect(settings.database_url)
    # From here on mails go to the captured mailbox.
    flask.current_app.extensions["outside"] = outside.build(settings, ring=tasks.kick)
    _write_record(settings)
    try:
        with connected():
            schema.runner().up()
            if not Merchant.select().exists():
                example.fill()
        here().press.close()
        _run(settings)
    finally:
        settings.demo_record.unlink(missing_ok=True)
        mailbox.stop()


def _run(settings: config.Settings) -> None:
    environment = config.child_environment(settings)
    web_command = [
        *(sys.executable, "-m", "granian", "app:create_app", "--factory", "--interface", "wsgi"),
        *("--host", "127.0.0.1", "--port", str(settings.port), "--workers", "2", "--blocking-threads", "4"),
        *("--log-level", "warning", "--no-ws", "--workers-kill-timeout", "10"),
    ]
    worker_command = [sys.executable, "-m", "flask", "worker"]
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)
    children: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, command in (("web", web_command), ("worker", worker_command)):
            # A group of their own: Ctrl-C reaches the demo alone, which then ends them in order.
            children[name] = subprocess.Popen(command, env=environment, cwd=config.ROOT, start_new_session=True)
        _wait_for_web(settings, children["web"])
        click.echo(_welcome(settings))
        while True:
            time.sleep(0.5)
            if children["web"].poll() is not None:
                raise click.ClickException("the web server stopped; see its message above")
            if children["worker"].poll() is not None:
                children["worker"] = subprocess.Popen(
                    worker_command, env=environment, cwd=config.ROOT, start_new_session=True
                )
    except KeyboardInterrupt:
        click.echo("\nStopping; what is begun is finished first.")
    finally:
        _end(children)


def _end(children: dict[str, "subprocess.Popen[bytes]"]) -> None:
    for child in children.values():
        child.terminate()
    deadline = time.monotonic() + _SHUTDOWN_SECONDS
    for child in children.values():
        try:
            child.wait(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()


def _wait_for_web(settings: config.Settings, web: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _STARTUP_SECONDS
    while time.monotonic() < deadline:
        if web.poll() is not None:
            raise click.ClickException("the web server did not start; see its message above")
        try:
            requests.get(f"{settings.loopback_url}/healthz", timeout=2).raise_for_status()
        except requests.RequestException:
            time.sleep(0.1)
        else:
            return
    raise click.ClickException(f"the web server did not answer within {_STARTUP_SECONDS:.0f} s")


def _welcome(settings: config.Settings) -> str:
    url = settings.public_url
    return f"""
Vouchsafe runs in test mode. No real money can move.

  Shop        {url}/s/{example.SLUG}
  Mailbox     {url}/demo/mailbox      every mail that the shop sends
  Dashboard   {url}/dashboard
              {example.EMAIL} · {example.PASSWORD}

  A key for a till:  .venv/bin/flask api-key create --merchant {example.SLUG} --name "Bar till" \\
                       --scope pos:validate --scope pos:redeem
  Stop with Ctrl-C. The data stays in {settings.data_dir}.
"""


def _write_record(settings: config.Settings) -> None:
    facts = {
        "port": settings.port,
        "base_url": settings.public_url,
        "mail_server": settings.mail_server,
        "mail_port": settings.mail_port,
        "database_url": settings.database_url,
        "queue_url": settings.queue_url,
    }
    settings.demo_record.touch(mode=0o600)
    settings.demo_record.write_text(json.dumps(facts))


def _require_free_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise click.ClickException(
                f"port {port} is taken; choose another one: PORT={port + 1} make demo"
            ) from error


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


COMMANDS = [seed, demo]
