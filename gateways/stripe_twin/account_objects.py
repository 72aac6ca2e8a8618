"""Connected accounts as the API's second version describes them."""

from collections.abc import Iterable

from gateways.stripe_twin import objects
from gateways.stripe_twin.wire import Json, new_id

LINK_SECONDS = 300
# What an account's owner owes before the first payment, in Stripe's words.
OPENING_QUESTIONS = (
    "configuration.merchant.mcc",
    "defaults.profile.business_url",
    "identity.attestations.terms_of_service.account",
    "identity.entity_type",
)
LEFT_OPEN = ("identity.individual.documents.primary_verification",)
_PARTS = ("customer", "merchant", "recipient")
_MERCHANT_NULLS = objects.nulls(
    "bacs_debit_payments branding card_payments konbini_payments mcc script_statement_descriptor sepa_debit_payments"
    " statement_descriptor support"
)
_WISHES = ("branding", "mcc", "support", "statement_descriptor", "card_payments")
_WITHOUT_INCLUDE = ("configuration", "defaults", "future_requirements", "identity", "requirements")


def account(params: Json) -> Json:
    """A new account with everything in it; `view` leaves out what was not asked for."""
    configured = {part: params.get("configuration", {}).get(part) for part in _PARTS}
    identity = params.get("identity", {})
    return {
        "id": new_id("acct_1", length=15),
        "object": "v2.core.account",
        "applied_configurations": [part for part in _PARTS if configured[part] is not None],
        "closed": False,
        "configuration": {**dict.fromkeys(_PARTS), "merchant": _merchant(configured["merchant"])},
        "contact_email": params.get("contact_email"),
        "contact_phone": params.get("contact_phone"),
        "created": objects.moment(),
        "dashboard": params.get("dashboard"),
        "defaults": _defaults(params.get("defaults", {})),
        "display_name": params.get("display_name"),
        "future_requirements": {"alternatives": [], "entries": [], "minimum_transition_date": None, "summary": None},
        "identity": {
            **objects.nulls("attestations business_details individual"),
            "country": identity.get("country"),
            "entity_type": identity.get("entity_type"),
        },
        "livemode": False,
        "metadata": params.get("metadata", {}),
        "requirements": requirements(OPENING_QUESTIONS, status="currently_due"),
    }


def view(body: Json, include: Iterable[str]) -> Json:
    """The account as it is answered: what is not in `include` is null, as in the API's second version."""
    wanted = set(include)
    shown = {**body, **{name: None for name in _WITHOUT_INCLUDE if name not in wanted}}
    parts = {part for part in _PARTS if f"configuration.{part}" in wanted}
    if parts:
        shown["configuration"] = {part: body["configuration"][part] if part in parts else None for part in _PARTS}
    return shown


def requirements(descriptions: Iterable[str], *, status: str) -> Json:
    """What is owed to Stripe; `status` is `currently_due` or `past_due`."""
    entries = [_entry(description, status=status) for description in descriptions]
    deadline = {"status": status, "time": None} if entries else None
    return {"alternatives": [], "entries": entries, "summary": {"minimum_deadline": deadline}}


def capability(status: str) -> Json:
    """`active`, or `restricted` until the owner has given what is required."""
    details = [] if status == "active" else [{"code": "requirements_past_due", "resolution": "provide_info"}]
    return {"status": status, "status_details": details}


def link(params: Json, *, url: str, expires_in: float, now: float) -> Json:
    """A link to the page where an account's owner answers Stripe's questions."""
    case = params["use_case"]
    made = {
        "account": params["account"],
        "created": objects.moment(now),
        "expires_at": objects.moment(now + expires_in),
        "livemode": False,
        "object": "v2.core.account_link",
        "url": url,
    }
    flow = {"return_url": None, "collection_options": None, **case[case["type"]]}
    return {**made, "use_case": {"type": case["type"], case["type"]: flow}}


def application() -> Json:
    """The platform as its connected accounts see it."""
    return {"id": "ca_Twin0000000000000000000000000000", "object": "application", "name": "Twin"}


def _merchant(wished: Json | None) -> Json | None:
    if wished is None:
        return None
    named = {name: ask["requested"] for name, ask in wished.get("capabilities", {}).items()}
    capabilities = {name: capability("restricted") for name, is_requested in named.items() if is_requested}
    taken = {name: wished[name] for name in _WISHES if name in wished}
    return {**_MERCHANT_NULLS, **taken, "applied": True, "capabilities": capabilities}


def _defaults(wished: Json) -> Json:
    asked = wished.get("responsibilities", {})
    return {
        "currency": wished.get("currency"),
        "locales": wished.get("locales", []),
        "payout_methods": None,
        "profile": {**objects.nulls("business_url doing_business_as product_description"), **wished.get("profile", {})},
        "responsibilities": {
            "fees_collector": asked.get("fees_collector", "stripe"),
            "losses_collector": asked.get("losses_collector", "stripe"),
            "requirements_collector": "stripe",
        },
    }


def _entry(description: str, *, status: str) -> Json:
    restricted = {"capability": "card_payments", "configuration": "merchant", "deadline": {"status": status}}
    return {
        "awaiting_action_from": "user",
        "description": description,
        "errors": [],
        "impact": {"restricts_capabilities": [restricted]},
        "minimum_deadline": {"status": status},
        "reference": None,
        "requested_reasons": [{"code": "routine_onboarding"}],
    }
