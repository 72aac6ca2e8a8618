"""Everything around the stage: a shop of its own, Stripe's twin, a mail server; and one sale after the other."""

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import flask
from pydantic import SecretStr

import config
import database
from app import create_app
from effects import payment
from gateways.stripe_twin import Twin
from models import Merchant, Order
from tests import cast as casting
from tests.faults import promises, stage
from tests.faults.fault import Action, Fault
from tests.faults.stage import Ending, Sale, Stage
from tests.smtp import ScriptedServer


@dataclass
class Theatre:
    """A stocked shop with its stage. Each performance is an order of its own in the same database."""

    app: flask.Flask
    merchant: Merchant
    twin: Twin
    smtp: ScriptedServer
    stage: Stage
    units: tuple[str, ...] = ("",)

    def sell(self) -> tuple[Order, Sale]:
        """An order that was paid at Stripe, of which nobody has told the shop yet."""
        order = casting.place(self.merchant, *self.units)
        payment.start(order)
        body, headers = self.twin.signed(self.twin.pay(order.latest_payment.session_id, deliver=False))
        return order, Sale(order.id, body.decode(), headers)

    def points(self, fault: Fault) -> list[str]:
        """Every point of the fault's kind that a sale passes when nothing goes wrong."""
        order, sale = self.sell()
        ending = self.stage.play(sale, fault)
        assert ending.how == "finished" and not ending.complaint, ending
        promises.assert_kept(order, self.smtp.messages, copies=1)
        return ending.passed

    def survive(self, fault: Fault, *, by: str) -> Ending:
        """A sale meets `fault`, somebody recovers it, and every promise about its order is kept."""
        self.smtp.messages.clear()
        order, sale = self.sell()
        ending = self.stage.play(sale, fault)
        try:
            self._assert_acknowledged(order, ending)
            if ending.how == "stopped":
                ending = self.stage.overtake(sale)
            recovery = self.stage.recover(sale, by=by)
            assert recovery.how == "finished" and not recovery.complaint, recovery
            assert recovery.answer in (None, 200), recovery
            promises.assert_kept(order, self.smtp.messages)
        except AssertionError as error:
            raise AssertionError(f"{fault}, at {ending.where or 'no point'}, recovered by the {by}: {error}") from error
        if fault.action == Action.KILL:
            assert (ending.how == "killed") == bool(ending.where), ending
        return ending

    def _assert_acknowledged(self, order: Order, ending: Ending) -> None:
        # Stripe heard 200 and will not say it again, so from then on the order is ours.
        if ending.answer == 200:
            fresh = Order.get_by_id(order.id)
            assert fresh.is_paid and fresh.steps.exists(), "Stripe heard 200 and the order is not settled"


_numbers = itertools.count(1)


@contextlib.contextmanager
def opened(database_url: str, folder: Path, *, units: tuple[str, ...] = ("",)) -> Iterator[Theatre]:
    """A theatre over a fresh database. The app is bound to this process, with a context and a connection."""
    number = next(_numbers)
    with Twin() as twin, ScriptedServer() as smtp:
        settings = shop_settings(database_url, folder / f"queue{number}.db", twin=twin, mail_port=smtp.port)
        app = create_app(settings)
        with (
            app.app_context(),
            database.connected(),
            stage.standing(settings, log=folder / f"stage{number}.log") as standing,
        ):
            merchant = casting.merchant("cafe-alba", "Café Alba")
            theatre = Theatre(app, merchant, twin, smtp, standing, units)
            theatre.stage.warm(theatre.sell()[1])
            smtp.messages.clear()
            yield theatre
        app.extensions["huey"].storage.close()
        database.db.obj.close_all()


def shop_settings(database_url: str, queue: Path, *, twin: Twin, mail_port: int) -> config.Settings:
    """The settings of a shop that pays at the twin and mails to the loopback."""
    return config.Settings(
        _env_file=None,
        database_url=database_url,
        queue_url=f"sqlite:///{queue}",
        secret_key=SecretStr("test-secret-key"),
        base_url="http://localhost",
        stripe_secret_key=SecretStr(twin.secret_key),
        stripe_webhook_secret=SecretStr(twin.webhook_secret),
        stripe_api_base=twin.api_base,
        mail_server="127.0.0.1",
        mail_port=mail_port,
        mail_default_sender="vouchers@shop.example",
    )
