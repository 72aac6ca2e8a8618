"""The objects that the twin answers with, as this version of Stripe's API describes them. Amounts in Stripe's units."""

from datetime import UTC, datetime
from typing import Any

from domain import clock
from gateways.stripe_twin.wire import Json, new_id


def nulls(names: str) -> Json:
    """Fields that are there and empty; `names` are parted by spaces."""
    return dict.fromkeys(names.split())


_NO_ADDRESS = nulls("city country line1 line2 postal_code state")
_SESSION_NULLS = nulls(
    "adaptive_pricing after_expiration allow_promotion_codes billing_address_collection client_secret"
    " collected_information consent consent_collection currency_conversion customer customer_account invoice"
    " invoice_creation origin_context payment_intent payment_link payment_method_configuration_details permissions"
    " recovered_from saved_payment_method_options setup_intent shipping_address_collection shipping_cost subscription"
    " wallet_options customer_details client_reference_id customer_email locale submit_type cancel_url success_url"
)
_INTENT_NULLS = nulls(
    "application application_fee_amount canceled_at cancellation_reason customer customer_account description"
    " last_payment_error latest_charge next_action on_behalf_of payment_method payment_method_configuration_details"
    " processing receipt_email review setup_future_usage shipping source statement_descriptor"
    " statement_descriptor_suffix transfer_data transfer_group"
)
_CHARGE_NULLS = nulls(
    "application application_fee application_fee_amount balance_transaction customer description"
    " failure_balance_transaction failure_code failure_message on_behalf_of radar_options receipt_email receipt_number"
    " receipt_url review shipping source source_transfer statement_descriptor statement_descriptor_suffix"
    " transfer_data transfer_group"
)
_TAKEN_OVER = ("client_reference_id", "customer_email", "locale", "submit_type", "cancel_url", "success_url")
_LATE_METHODS = {"eur": "sepa_debit", "usd": "us_bank_account", "gbp": "bacs_debit"}


def late_method(currency: str) -> str:
    """The method of this currency whose money comes days later."""
    return _LATE_METHODS.get(currency, "customer_balance")


def session(params: Json, *, lines: list[Json], public_url: str, created: int) -> Json:
    """An open Checkout Session made of checked parameters."""
    session_id = new_id("cs_test_a1", length=58)
    total, currency = sum(line["amount_total"] for line in lines), lines[0]["currency"]
    return {
        **_SESSION_NULLS,
        **{name: params[name] for name in _TAKEN_OVER if name in params},
        "id": session_id,
        "object": "checkout.session",
        "amount_subtotal": total,
        "amount_total": total,
        "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "branding_settings": _branding(params),
        "created": created,
        "currency": currency,
        "custom_fields": [],
        "custom_text": dict.fromkeys(("after_submit", "shipping_address", "submit", "terms_of_service_acceptance")),
        "customer_creation": "if_required",
        "discounts": [],
        "expires_at": params.get("expires_at", created + 86_400),
        "livemode": False,
        "metadata": params.get("metadata", {}),
        "mode": "payment",
        "payment_method_collection": "if_required",
        "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
        "payment_method_types": ["card", late_method(currency)],
        "payment_status": "unpaid" if total else "no_payment_required",
        "phone_number_collection": {"enabled": False},
        "shipping_options": [],
        "status": "open",
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        "ui_mode": "hosted_page",
        "url": f"{public_url}/pay/{session_id}",
    }


def line_item(params: Json, *, created: int) -> Json:
    """One line of a session, with the price that was made for it."""
    data, quantity = params["price_data"], params.get("quantity", 1)
    amount, currency = data["unit_amount"] * quantity, data["currency"].lower()
    return {
        "id": new_id("li_1"),
        "object": "item",
        "adjustable_quantity": None,
        "amount_discount": 0,
        "amount_subtotal": amount,
        "amount_tax": 0,
        "amount_total": amount,
        "currency": currency,
        "description": data["product_data"]["name"],
        "discounts": [],
        "metadata": params.get("metadata", {}),
        "price": _price(data["unit_amount"], currency, created=created),
        "quantity": quantity,
        "taxes": [],
    }


def payment_intent(of: Json, *, metadata: Json, created: int) -> Json:
    """The payment behind a session that is being paid."""
    intent_id = new_id("pi_3")
    return {
        **_INTENT_NULLS,
        "id": intent_id,
        "object": "payment_intent",
        "amount": of["amount_total"],
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "automatic_payment_methods": None,
        "capture_method": "automatic_async",
        "client_secret": new_id(f"{intent_id}_secret_"),
        "confirmation_method": "automatic",
        "created": created,
        "currency": of["currency"],
        "livemode": False,
        "metadata": metadata,
        "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
        "payment_method_types": of["payment_method_types"],
        "status": "requires_payment_method",
    }


def charge(intent: Json, *, method: str, email: str | None, status: str, created: int) -> Json:
    """One try to take the money: `status` is `succeeded`, `pending` or `failed`."""
    is_done = status == "succeeded"
    return {
        **_CHARGE_NULLS,
        "id": new_id("ch_3"),
        "object": "charge",
        "amount": intent["amount"],
        "amount_captured": intent["amount"] if is_done else 0,
        "amount_refunded": 0,
        "application_fee_amount": intent["application_fee_amount"],
        "billing_details": {"address": _NO_ADDRESS, "email": email, "name": None, "phone": None, "tax_id": None},
        "calculated_statement_descriptor": "TEST",
        "captured": status != "failed",
        "created": created,
        "currency": intent["currency"],
        "disputed": False,
        "fraud_details": {},
        "livemode": False,
        "metadata": intent["metadata"],
        "outcome": _outcome(status),
        "paid": status != "failed",
        "payment_intent": intent["id"],
        "payment_method": new_id("pm_1"),
        "payment_method_details": {"type": method, method: _method_details(method)},
        "refunded": False,
        "status": status,
    }


def moment(seconds: float | None = None) -> str:
    """A moment (seconds since 1970; None: now) as the API's second version writes it."""
    at = clock.now() if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def page(found: list[Json], *, url: str, has_more: bool) -> Json:
    """A list as Stripe answers it."""
    return {"object": "list", "data": found, "has_more": has_more, "url": url}


def decline() -> Json:
    """Why a card was declined, as it stands in `last_payment_error`."""
    return {
        "code": "card_declined",
        "decline_code": "generic_decline",
        "message": "Your card was declined.",
        "type": "card_error",
    }


def _branding(params: Json) -> Json:
    wanted = params.get("branding_settings", {})
    return {
        "background_color": wanted.get("background_color", "#ffffff"),
        "border_style": wanted.get("border_style", "rounded"),
        "button_color": wanted.get("button_color", "#0074d4"),
        "display_name": wanted.get("display_name", ""),
        "font_family": wanted.get("font_family", "default"),
        "icon": None,
        "logo": None,
    }


def _price(amount: int, currency: str, *, created: int) -> Json:
    return {
        **dict.fromkeys(("custom_unit_amount", "lookup_key", "nickname", "recurring", "tiers_mode")),
        "id": new_id("price_1"),
        "object": "price",
        "active": False,
        "billing_scheme": "per_unit",
        "created": created,
        "currency": currency,
        "livemode": False,
        "metadata": {},
        "product": new_id("prod_", length=14),
        "tax_behavior": "unspecified",
        "transform_quantity": None,
        "type": "one_time",
        "unit_amount": amount,
        "unit_amount_decimal": str(amount),
    }


def _outcome(status: str) -> Json:
    is_refused = status == "failed"
    return {
        "advice_code": "try_again_later" if is_refused else None,
        "network_advice_code": None,
        "network_decline_code": None,
        "network_status": "declined_by_network" if is_refused else "approved_by_network",
        "reason": "generic_decline" if is_refused else None,
        "risk_level": "normal",
        "risk_score": 1,
        "seller_message": "The bank declined the payment." if is_refused else "Payment complete.",
        "type": "issuer_declined" if is_refused else "authorized",
    }


def _method_details(method: str) -> Json:
    if method == "card":
        return _card()
    if method == "sepa_debit":
        nothing = dict.fromkeys(("expected_debit_date", "mandate"))
        bank = {"bank_code": "19043", "branch_code": "", "country": "AT", "last4": "3201"}
        return {**nothing, **bank, "fingerprint": new_id("", length=16)}
    return {}


def _card() -> Json:
    nothing: dict[str, Any] = dict.fromkeys(
        ("installments", "mandate", "network_transaction_id", "regulated_status", "three_d_secure", "wallet")
    )
    return {
        **nothing,
        "amount_authorized": None,
        "authorization_code": None,
        "brand": "visa",
        "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
        "country": "AT",
        "exp_month": 12,
        "exp_year": 2034,
        "fingerprint": new_id("", length=16),
        "funding": "credit",
        "last4": "4242",
        "network": "visa",
        "network_token": {"used": False},
    }
