"""Events as Stripe writes them: snapshots with their object, thin ones with a reference to it."""

from gateways.stripe_twin import objects
from gateways.stripe_twin.wire import API_VERSION, Json, new_id

THIN_PREFIX = "evt_test_6"
_FOLDERS = {
    "charge": "charges",
    "checkout.session": "checkout/sessions",
    "dispute": "disputes",
    "payment_intent": "payment_intents",
    "radar.early_fraud_warning": "radar/early_fraud_warnings",
    "refund": "refunds",
}


def event(kind: str, subject: Json, *, account: str, previous: Json | None, pending: int, created: int) -> Json:
    """A snapshot event about `subject` as it is now; `previous` are the values that have changed."""
    body = {
        "id": new_id("evt_1"),
        "object": "event",
        "api_version": API_VERSION,
        "created": created,
        "data": {"object": subject, **({"previous_attributes": previous} if previous else {})},
        "livemode": False,
        "pending_webhooks": pending,
        "request": {"id": None, "idempotency_key": None},
        "type": kind,
    }
    return {**body, "account": account} if account else body


def thin_event(kind: str, account: Json, *, data: Json | None) -> Json:
    """News about a connected account (`v2.core.account…`), a reference instead of the object."""
    body = {
        "id": new_id("evt_test_6"),
        "object": "v2.core.event",
        "type": kind,
        "livemode": False,
        "created": objects.moment(),
        "context": account["id"],
        "reason": None,
        "related_object": {
            "id": account["id"],
            "type": account["object"],
            "url": f"/v2/core/accounts/{account['id']}",
        },
    }
    return {**body, "data": data} if data else body


def as_sent(event: Json) -> Json:
    """The event as it goes to a webhook address: of a thin one, what was changed is only told on request."""
    return {name: value for name, value in event.items() if event["object"] == "event" or name != "data"}


def as_thin(event: Json) -> Json:
    """The happening of an event as Stripe tells it in thin form."""
    if event["object"] != "event":
        return event
    subject = event["data"]["object"]
    body = {
        "id": event["id"].replace("evt_1", THIN_PREFIX, 1),
        "object": "v2.core.event",
        "type": f"v1.{event['type']}",
        "livemode": event["livemode"],
        "created": objects.moment(event["created"]),
        "context": event.get("account"),
        "snapshot_event": event["id"],
    }
    folder = _FOLDERS.get(subject["object"])
    related = {"id": subject["id"], "type": subject["object"], "url": f"/v1/{folder}/{subject['id']}"}
    return {**body, "related_object": related} if folder else body
