"""Leaves the events that Stripe would send. Those that the webhook address is not subscribed to can be listed."""

from domain import clock
from gateways.stripe_twin import event_objects, shapes
from gateways.stripe_twin.book import Book, Kept
from gateways.stripe_twin.faults import Fault
from gateways.stripe_twin.wire import Json

SUBSCRIBED = (
    "account.application.deauthorized",
    "charge.dispute.",
    "charge.refund.updated",
    "charge.refunded",
    "checkout.session.",
    "radar.early_fraud_warning.",
    "refund.",
    "v2.core.account",
)


def emit(book: Book, kind: str, subject: Kept, *, previous: Json | None = None, is_told: bool = True) -> None:
    """A snapshot event about `subject` as it is now; `previous` are its fields' values before a change.

    `is_told` False: the event is lost. Raises ShapeError when the event is none that Stripe could send.
    """
    body = event_objects.event(
        kind, subject.body, account=subject.account, previous=previous, pending=int(is_sent(kind)), created=moment()
    )
    _keep(book, body, kind="event", account=subject.account, is_told=is_told)


def emit_thin(book: Book, kind: str, account: Kept, *, data: Json | None = None) -> None:
    """A thin event about a connected account: what happened and to whom, without the object."""
    body = event_objects.thin_event(kind, account.body, data=data)
    _keep(book, body, kind="thin_event", account=account.id, is_told=True)


def is_sent(kind: str) -> bool:
    """Whether the webhook address is subscribed to this type of event."""
    return kind.startswith(SUBSCRIBED)


def moment() -> int:
    """This second as Stripe counts it (since 1970, UTC)."""
    return int(clock.now().timestamp())


def _keep(book: Book, body: Json, *, kind: str, account: str, is_told: bool) -> None:
    event = book.add(kind, shapes.check(body), account=account)
    if is_sent(body["type"]):
        _plan(book, event.id, is_told=is_told)


def _plan(book: Book, event_id: str, *, is_told: bool) -> None:
    is_lost = not is_told or bool(book.use_fault(Fault.LOSE_EVENTS))
    copies = book.use_fault(Fault.DUPLICATE_EVENTS) or 1
    book.plan_delivery(event_id, is_lost=is_lost, copies=copies, wait_seconds=book.use_fault(Fault.LATE_EVENTS) or 0)
    if not is_lost and (draw := book.draw(Fault.REORDER_EVENTS)):
        block, rank = draw.shuffled_rank(draw.value)
        book.hold(event_id, block=block, rank=rank, size=draw.value)
