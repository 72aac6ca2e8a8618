"""F56 to F58: money that goes back, and payments that somebody contests."""

from tests.mutants.rules.rule import Rule, tests_of

ORDERS, DISPUTES = "tests/domain/test_refunds.py", "tests/domain/test_disputes.py"

REFUNDS: tuple[Rule, ...] = (
    Rule(
        "F56",
        "the value leaves the voucher before Stripe is asked",
        "domain/refunds.py",
        "                _take_off(refund, each, amount_minor)",
        "                pass",
        tests_of(ORDERS, "off_the_voucher_before", engine="sqlite"),
    ),
    Rule(
        "F56",
        "a failed refund puts the value back",
        "domain/refunds.py",
        '        ledger.undo_void(void, reason="refund_failed", actor=STRIPE)',
        "        pass",
        tests_of(ORDERS, "gives_the_value_back", engine="sqlite"),
    ),
    Rule(
        "F56",
        "vouchers are locked before anybody looks what is unused",
        "domain/freezes.py",
        "    for voucher in order.vouchers:\n        holds.lock(voucher.id)\n    return order",
        "    return order",
        tests_of(ORDERS, "meets_a_redemption", engine="postgresql"),
    ),
    Rule(
        "F57",
        "a refund made at Stripe freezes the vouchers",
        "domain/refunds.py",
        "        freezes.freeze(order, reason=AT_STRIPE)",
        "        pass",
        tests_of(ORDERS, "made_at_stripe_blocks", engine="sqlite"),
    ),
    Rule(
        "F58",
        "news of a dispute freezes the vouchers",
        "domain/disputes.py",
        "    freezes.freeze(order, reason=str(dispute.kind))",
        "    pass",
        tests_of(DISPUTES, "news_freezes", engine="sqlite"),
    ),
    Rule(
        "F58",
        "only the end of the last trouble thaws",
        "domain/freezes.py",
        "    if is_in_trouble(order):\n        return False\n",
        "",
        tests_of(DISPUTES, "two_troubles", engine="sqlite"),
    ),
    Rule(
        "F58",
        "lost takes the rest off",
        "domain/disputes.py",
        "        freezes.end(order, key=key, reason=reason, actor=STRIPE)\n        return",
        "        return",
        tests_of(DISPUTES, "lost_takes_the_rest", engine="sqlite"),
    ),
)
