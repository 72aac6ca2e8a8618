"""F2, F3, F5 to F13: money that comes in, and Stripe's answers about it."""

from tests.mutants.rules.rule import Rule, tests_of

CHECKOUT, GATEWAY = "tests/domain/test_checkout.py", "tests/gateways/test_stripe_checkout.py"
BACK = "tests/journeys/test_refunds_at_stripe.py"
OTHERWISE = "money_that_came_otherwise"

PAYMENTS: tuple[Rule, ...] = (
    Rule(
        "F2",
        "a payment that was decided stays decided",
        "domain/checkout.py",
        "        if decided is not None:\n            return decided\n",
        "",
        tests_of(CHECKOUT, "whatever_the_order_of_the_news", engine="sqlite"),
    ),
    Rule(
        "F3",
        "whoever settles reads the payment again inside the transaction",
        "domain/checkout.py",
        "        payment = Payment.get_by_id(payment.id)\n        decided = ",
        "        decided = ",
        tests_of(CHECKOUT, "same_news_from_everywhere", engine="sqlite"),
    ),
    Rule(
        "F3",
        "whoever settles locks the order first",
        "domain/checkout.py",
        "        order = locked(Order.select().where(Order.id == payment.order_id)).get()\n"
        "        payment = Payment.get_by_id(payment.id)\n        decided = ",
        "        order = Order.get_by_id(payment.order_id)\n"
        "        payment = Payment.get_by_id(payment.id)\n        decided = ",
        tests_of(CHECKOUT, "same_news_from_everywhere", engine="postgresql"),
    ),
    Rule(
        "F5",
        "an order's work is planned in the transaction that settles it",
        "domain/checkout.py",
        "    fulfilment.plan(Order.get_by_id(order.id))\n    return Outcome.SETTLED",
        "    return Outcome.SETTLED",
        tests_of(CHECKOUT, "pays_the_order_and_plans", engine="sqlite"),
    ),
    Rule(
        "F6",
        "news from before a refusal does not bring the payment back",
        "domain/checkout.py",
        "    if has_failed or payment.state == PaymentState.FAILED:",
        "    if has_failed:",
        tests_of(CHECKOUT, "old_news_after_a_refusal", engine="sqlite"),
    ),
    Rule(
        "F7",
        "another amount is held",
        "domain/checkout.py",
        '        "amount_minor": [payment.amount_minor, report.amount_total_minor],\n',
        "",
        tests_of(CHECKOUT, f"{OTHERWISE} and amount_total_minor", engine="sqlite"),
    ),
    Rule(
        "F7",
        "another currency is held",
        "domain/checkout.py",
        '        "currency": [payment.currency, report.currency],\n',
        "",
        tests_of(CHECKOUT, f"{OTHERWISE} and currency", engine="sqlite"),
    ),
    Rule(
        "F7",
        "money of the other mode is held",
        "domain/checkout.py",
        '        "is_live": [payment.is_live, report.is_live],\n',
        "",
        tests_of(CHECKOUT, f"{OTHERWISE} and is_live", engine="sqlite"),
    ),
    Rule(
        "F8",
        "a completed page is not paid yet",
        "domain/checkout.py",
        '        if report.payment_status in ("paid", "no_payment_required"):',
        '        if report.status == "complete":',
        tests_of(CHECKOUT, "delayed_payment_waits", engine="sqlite"),
    ),
    Rule(
        "F8",
        "a page on which nothing had to be paid settles nothing",
        "domain/checkout.py",
        '        "payment_status": ["paid", str(report.payment_status)],\n',
        "",
        tests_of(CHECKOUT, f"{OTHERWISE} and no_payment_required", engine="sqlite"),
    ),
    Rule(
        "F9",
        "a debit that the bank refused has failed",
        "gateways/stripe_checkout.py",
        '        has_failed=is_waiting and intent is not None and read(intent, "status", str) in _REFUSED,\n',
        "        has_failed=False,\n",
        tests_of(GATEWAY, "bank_debit_that_was_refused"),
    ),
    Rule(
        "F9",
        "a debit that the bank takes back is contested like a card payment",
        "effects/events.py",
        '    "charge.dispute.": _dispute,\n',
        "",
        tests_of(BACK, "bank_takes_back", engine="sqlite"),
    ),
    Rule(
        "F10",
        "an open payment page is used again",
        "domain/checkout.py",
        "                return latest\n",
        "                pass\n",
        tests_of(CHECKOUT, "open_session_is_used_again", engine="sqlite"),
    ),
    Rule(
        "F10",
        "what was paid a second time is held",
        "domain/checkout.py",
        '        "paid_before": [False, order.payment_state == PaymentState.PAID],\n',
        "",
        tests_of(CHECKOUT, "second_session_that_was_paid", engine="sqlite"),
    ),
    Rule(
        "F11",
        "the end of one page does not close an order that waits for another",
        "domain/checkout.py",
        "    remaining = _awaited(order) or state\n",
        "    remaining = state\n",
        tests_of(CHECKOUT, "end_of_an_old_session", engine="sqlite"),
    ),
    Rule(
        "F11",
        "money that comes after the end of its page still settles",
        "domain/checkout.py",
        "    PaymentState.RETURNED: Outcome.ALREADY_SETTLED,\n",
        "    PaymentState.RETURNED: Outcome.ALREADY_SETTLED,\n    PaymentState.EXPIRED: Outcome.EXPIRED,\n",
        tests_of(CHECKOUT, "comes_after_the_expiry", engine="sqlite"),
    ),
    Rule(
        "F12",
        "the stored key goes with the request for a payment page",
        "gateways/stripe_checkout.py",
        "self._api.options(idempotency_key=request.idempotency_key)",
        "self._api.options()",
        tests_of(GATEWAY, "the_same_key_opens_one_session"),
    ),
    Rule(
        "F12",
        "an attempt whose answer was lost is repeated under its key",
        "domain/checkout.py",
        "if latest.session_id else SESSION_LEAST",
        "if latest.session_id else SESSION_LIFE",
        tests_of(CHECKOUT, "key_of_a_payment_is_stored", engine="sqlite"),
    ),
    Rule(
        "F12",
        "a refund is not sent under a key that Stripe may have forgotten",
        "effects/refund.py",
        "    if known is not None or not refunds.is_key_fresh(refund):",
        "    if known is not None:",
        tests_of(BACK, "never_reached_stripe", engine="sqlite"),
    ),
    Rule(
        "F13",
        "a Stripe that is busy or down is asked again later",
        "gateways/stripe_api.py",
        """\
    except (stripe.APIConnectionError, stripe.RateLimitError, stripe.APIError) as error:
        raise StripeUnavailable(_message(error)) from error
    except stripe.StripeError as error:
        # A key in use is somebody's call of this moment: its answer comes to whoever asks again.
        if (error.http_status or 0) >= 500 or error.http_status in (409, 429):
            raise StripeUnavailable(_message(error)) from error
""",
        """\
    except stripe.APIConnectionError as error:
        raise StripeUnavailable(_message(error)) from error
    except stripe.StripeError as error:
""",
        tests_of("tests/gateways/test_stripe_refunds.py", "key_that_another_call_is_using or busy_or_down"),
    ),
    Rule(
        "F13",
        "work that Stripe did before it failed is read back",
        "effects/refund.py",
        "    known = stripe.find(intent_id, refund.public_id) if refund.checks else None\n",
        "    known = None\n",
        tests_of(BACK, "500_after_the_work", engine="sqlite"),
    ),
)
