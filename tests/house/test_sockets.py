"""No transaction is open while we talk to a stranger: the watch over it sees what it should, and a sale passes it."""

import socket

import pytest

import database
from domain import checkout
from effects import payment, work
from gateways.stripe_twin import Twin
from models import Merchant
from tests import cast as casting
from tests.faults import sockets
from tests.reports import fresh
from tests.smtp import ScriptedServer


@pytest.mark.req("F28")
def test_a_line_that_is_opened_inside_a_transaction_is_refused_and_remembered(
    cast: casting.Cast, smtp: ScriptedServer
) -> None:
    address = ("127.0.0.1", smtp.port)
    with socket.socket() as line, pytest.raises(sockets.OpenedInTransaction), database.transaction():
        line.connect(address)
    (found,) = sockets.seen()
    assert str(smtp.port) in found and "inside a transaction" in found
    socket.create_connection(address, timeout=5).close()
    assert sockets.seen() == []


@pytest.mark.req("F28")
def test_a_sale_opens_no_line_inside_a_transaction(merchant: Merchant, twin: Twin, smtp: ScriptedServer) -> None:
    order = casting.place(merchant, "marie@example.com")
    payment.start(order)
    paying = order.latest_payment
    twin.pay(paying.session_id, deliver=False)
    assert payment.confirm(paying, source=checkout.Source.BUTTON) == checkout.Outcome.SETTLED
    work.run_due("w1", order_id=order.id)
    assert sorted(letter.recipients[0] for letter in smtp.messages) == ["lukas@example.com", "marie@example.com"]
    assert {step.state for step in fresh(order).steps} == {"done"}
    assert sockets.seen() == []
