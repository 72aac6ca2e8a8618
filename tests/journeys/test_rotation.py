"""Keys change while the shop is open: two are valid at a time, and nobody notices."""

import base64
import dataclasses
import threading
from collections.abc import Callable, Iterator
from typing import Any

import flask
import pytest
from pydantic import SecretStr

import config
import database
from app import create_app
from domain import api_keys, audit
from effects import document, links, rewrap
from effects import voucher as vouchers
from effects.outside import Outside, here
from gateways import vault
from gateways.document import Press
from gateways.stripe_twin import Twin
from models import Merchant, Voucher, VoucherPdf
from tests import cast as casting
from tests import sales
from tests.browser import Browser

K1, K2 = (f"k{number}:{base64.b64encode(bytes([number]) * 32).decode()}" for number in (1, 2))
MANY = 60


def anew(settings: config.Settings, **changes: object) -> config.Settings:
    """Read anew with something changed: a copy would keep the keys that it has worked out already."""
    return config.Settings(_env_file=None, **(settings.model_dump() | changes))  # type: ignore[arg-type]


@pytest.fixture
def settings(settings: config.Settings) -> config.Settings:
    return anew(settings, code_keys=SecretStr(K1))


@pytest.fixture
def under(app: flask.Flask, settings: config.Settings, press: Press) -> Callable[[str], None]:
    """The app goes on with other CODE_KEYS, as after a restart with a changed environment."""

    def switch(listed: str) -> None:
        changed = anew(settings, code_keys=SecretStr(listed))
        outside: Outside = app.extensions["outside"]
        app.extensions["outside"] = dataclasses.replace(
            outside, settings=changed, vault=vault.Vault(changed.vault_keys)
        )

    return switch


@pytest.fixture
def sold(app: flask.Flask, merchant: Merchant, under: Any) -> list[tuple[Voucher, str, str]]:
    """Vouchers from before the rotation, with their codes and the links on their PDFs."""
    issued = [casting.issue(merchant, value_minor=10_000) for _ in range(MANY)]
    return [(row, code, links.voucher_url(row)) for row, code in issued]


class Tills:
    """Four terminals that validate and redeem one voucher after the other until they are told to stop."""

    def __init__(self, app: flask.Flask, merchant: Merchant, codes: list[str]) -> None:
        _, self._secret = api_keys.create(merchant, name="Till", scopes=["pos:validate", "pos:redeem"], is_test=True)
        self._app, self._codes, self._stop = app, codes, threading.Event()
        self.failures: list[object] = []
        self.calls = 0
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(4)]

    def __enter__(self) -> "Tills":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self, number: int) -> None:
        turn, client = 0, self._app.test_client()
        till = sales.Till(client, self._secret)  # type: ignore[arg-type]
        while not self._stop.is_set():
            code = self._codes[(turn * 4 + number) % len(self._codes)]
            turn += 1
            valid = till.validate(code, 1)
            booked = till.redeem(code, 1, key=f"{number}.{turn}")
            self.calls += 2
            if not valid["valid"] or booked.status_code != 201:
                self.failures.append((code, valid["error"], booked.status_code, booked.text))


@pytest.mark.req("F65")
@pytest.mark.timeout(240)
def test_tills_notice_nothing_while_every_code_is_sealed_anew(
    app: flask.Flask, merchant: Merchant, sold: list[tuple[Voucher, str, str]], under: Any
) -> None:
    under(f"{K2},{K1}")
    with Tills(app, merchant, [code for _, code, _ in sold]) as tills:
        steps = list(rewrap.run(chunk=3))
        while tills.calls < 100:
            pass
    assert tills.failures == []
    assert sum(step.done for step in steps) == MANY and not any(step.broken for step in steps)
    assert {row.code_key_id for row in Voucher.select()} == {"k2"}
    assert audit.is_clean(audit.run())


@pytest.mark.req("F65")
def test_a_rotation_changes_no_code_and_no_link_and_the_old_key_opens_nothing_any_more(
    merchant: Merchant, sold: list[tuple[Voucher, str, str]], under: Any
) -> None:
    under(f"{K2},{K1}")
    list(rewrap.run())
    for row, code, link in sold:
        fresh = Voucher.get_by_id(row.id)
        assert (vouchers.read_code(fresh), links.voucher_url(fresh)) == (code, link)
    under(K1)
    with pytest.raises(vault.SealBroken):
        vouchers.read_code(Voucher.get())
    under(K2)  # the old key is gone for good
    for row, code, link in sold:
        assert vouchers.find_by_code(merchant, code) == row
        assert vouchers.find_by_code(merchant, link) == row, "the printed QR stays good"


@pytest.mark.req("F65")
def test_a_rewrap_that_was_stopped_goes_on_where_it_was(
    sold: list[tuple[Voucher, str, str]], under: Any, app: flask.Flask
) -> None:
    under(f"{K2},{K1}")
    begun: Iterator[rewrap.Progress] = rewrap.run(chunk=10)
    assert next(begun).done == 10
    del begun
    assert rewrap.remaining()["vouchers"] == MANY - 10
    run = app.test_cli_runner().invoke(args=["rewrap", "--pause", "0"])
    assert run.exit_code == 0, run.output
    assert f"vouchers: {MANY - 10} sealed under k2" in run.output
    assert not any(rewrap.remaining().values())


@pytest.mark.req("F65")
def test_a_row_that_can_not_be_opened_is_named_and_stops_no_other(
    sold: list[tuple[Voucher, str, str]], under: Any, app: flask.Flask
) -> None:
    under(f"{K2},{K1}")
    with database.transaction():
        Voucher.update(code_ciphertext=b"x" * 40).where(Voucher.id == sold[0][0].id).execute()
    run = app.test_cli_runner().invoke(args=["rewrap", "--pause", "0"])
    assert run.exit_code == 1
    assert f"vouchers: {MANY - 1} sealed under k2, 1 can't be opened" in run.output


@pytest.mark.req("F65")
def test_stored_pdfs_move_to_the_new_key_and_stay_the_same_bytes(
    client: Browser, cast: casting.Cast, twin: Twin, sweep: Callable[[], object], under: Any
) -> None:
    sales.pay(client, twin, sales.order(client, amount="50"))
    sweep()
    before = document.stored_pdf(Voucher.get())
    under(f"{K2},{K1}")
    list(rewrap.run())
    assert VoucherPdf.get().key_id == "k2"
    under(K2)
    assert document.stored_pdf(Voucher.get()) == before is not None


@pytest.mark.req("F65")
def test_a_person_stays_signed_in_when_the_session_key_changes_and_the_old_one_is_a_fallback(
    app: flask.Flask, cast: casting.Cast, settings: config.Settings, press: Press
) -> None:
    client = app.test_client()
    sales.sign_in(client, "anna@alba.example", casting.PASSWORD)  # type: ignore[arg-type]
    cookie = client.get_cookie("session")
    assert cookie is not None
    for fallbacks, status in (("test-secret-key", 200), ("", 303)):
        changed = {"secret_key": SecretStr("another-secret-key"), "secret_key_fallbacks": fallbacks}
        database.db.obj.close_all()
        later = create_app(anew(settings, **changed))
        later.test_client_class = Browser
        visitor = later.test_client()
        visitor.set_cookie("session", cookie.value)
        assert visitor.get("/dashboard").status_code == status
        later.extensions["outside"].press.close()
        later.extensions["huey"].storage.close()


@pytest.mark.req("F65", "F14")
def test_a_webhook_is_heard_under_either_secret_while_they_change(
    app: flask.Flask, client: Browser, cast: casting.Cast, twin: Twin, settings: config.Settings
) -> None:
    outside: Outside = here()
    both = anew(settings, stripe_webhook_secret=SecretStr(f"whsec_new, {twin.webhook_secret}"))
    stripe = type(outside.stripe)(twin.secret_key, webhook_secrets=both.webhook_secrets, api_base=twin.api_base)
    app.extensions["outside"] = dataclasses.replace(outside, stripe=stripe)
    for number, secret in enumerate(("", "whsec_new")):
        session_id = sales.order(client, amount="50", buyer_email=f"b{number}@example.com")
        body, headers = twin.signed(twin.pay(session_id, deliver=False), secret=secret)
        assert client.post("/webhooks/stripe", data=body, headers=headers).json == {"outcome": "settled"}
