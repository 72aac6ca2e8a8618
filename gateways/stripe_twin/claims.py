"""What can come back after a payment, as Stripe describes it: refunds, disputes and early fraud warnings."""

from gateways.stripe_twin import objects
from gateways.stripe_twin.wire import Json, new_id

RESPONSE_SECONDS = 14 * 86_400  # how long the shop may answer a dispute
# What Visa calls the reasons that Stripe knows.
_NETWORK_CODES = {"fraudulent": "10.4", "product_not_received": "13.1", "credit_not_processed": "13.6"}

_REFUND_NULLS = objects.nulls(
    "balance_transaction customer_account description failure_reason reason receipt_number source_transfer_reversal"
    " transfer_reversal"
)
_EVIDENCE = objects.nulls(
    "access_activity_log billing_address cancellation_policy cancellation_policy_disclosure cancellation_rebuttal"
    " customer_communication customer_email_address customer_name customer_purchase_ip customer_signature"
    " duplicate_charge_documentation duplicate_charge_explanation duplicate_charge_id product_description receipt"
    " refund_policy refund_policy_disclosure refund_refusal_explanation service_date service_documentation"
    " shipping_address shipping_carrier shipping_date shipping_documentation shipping_tracking_number"
    " uncategorized_file uncategorized_text"
)


def refund(of: Json, *, amount: int, reason: str | None, metadata: Json, status: str, created: int) -> Json:
    """Money given back from a charge, or on its way."""
    return {
        **_REFUND_NULLS,
        "id": new_id("re_3"),
        "object": "refund",
        "amount": amount,
        "charge": of["id"],
        "created": created,
        "currency": of["currency"],
        "destination_details": _destination(of),
        "metadata": metadata,
        "payment_intent": of["payment_intent"],
        "reason": reason,
        "status": status,
        **({"pending_reason": "processing"} if status == "pending" else {}),
    }


def dispute(of: Json, *, reason: str, is_inquiry: bool, created: int) -> Json:
    """A holder's objection to a charge; an inquiry takes no money yet."""
    network_code = _NETWORK_CODES.get(reason, "10.4")
    card = {
        "brand": "visa",
        "case_type": "inquiry" if is_inquiry else "chargeback",
        "network": "visa",
        "network_reason_code": network_code,
    }
    method = of["payment_method_details"]["type"]
    return {
        "id": new_id("du_1"),
        "object": "dispute",
        "amount": of["amount"],
        "balance_transactions": [],
        "charge": of["id"],
        "created": created,
        "currency": of["currency"],
        "enhanced_eligibility_types": [],
        "evidence": {**_EVIDENCE, "customer_email_address": of["billing_details"]["email"], "enhanced_evidence": {}},
        "evidence_details": {
            "due_by": created + RESPONSE_SECONDS,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        "is_charge_refundable": is_inquiry,
        "livemode": False,
        "metadata": {},
        "network_reason_code": network_code,
        "payment_intent": of["payment_intent"],
        "payment_method_details": {"card": card, "type": "card"} if method == "card" else None,
        "reason": reason,
        "status": "warning_needs_response" if is_inquiry else "needs_response",
    }


def fraud_warning(of: Json, *, created: int) -> Json:
    """The card's bank suspects fraud; a dispute may follow."""
    return {
        "id": new_id("issfr_1"),
        "object": "radar.early_fraud_warning",
        "actionable": True,
        "charge": of["id"],
        "created": created,
        "fraud_type": "unauthorized_use_of_card",
        "livemode": False,
        "payment_intent": of["payment_intent"],
    }


def dispute_movement(of: Json, *, is_back: bool, created: int) -> Json:
    """The money of a dispute as it leaves the shop's balance, or comes back."""
    amount = of["amount"] if is_back else -of["amount"]
    return {
        **objects.nulls("exchange_rate"),
        "id": new_id("txn_1"),
        "object": "balance_transaction",
        "amount": amount,
        "available_on": created,
        "balance_type": "payments",
        "created": created,
        "currency": of["currency"],
        "description": f"Chargeback {'reversal' if is_back else 'withdrawal'} for {of['charge']}",
        "fee": 0,
        "fee_details": [],
        "net": amount,
        "reporting_category": "dispute_reversal" if is_back else "dispute",
        "source": of["id"],
        "status": "available",
        "type": "adjustment",
    }


def _destination(of: Json) -> Json:
    method = of["payment_method_details"]["type"]
    if method != "card":
        return {"type": method}
    card = {"reference_status": "pending", "reference_type": "acquirer_reference_number", "type": "refund"}
    return {"card": card, "type": "card"}
