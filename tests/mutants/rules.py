"""The rules: where each stands, what the product looks like without it, and which tests have to notice."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """`rule` stands in `file` exactly once; `without` replaces it. `tests` are pytest's arguments."""

    id: str
    name: str
    file: str
    rule: str
    without: str
    tests: tuple[str, ...]


def _in(file: str, words: str = "", *, engine: str = "") -> tuple[str, ...]:
    chosen = " and ".join(f"({part})" for part in (words, engine) if part)
    return (file, "-k", chosen) if chosen else (file,)


REFUNDS, DISPUTES = "tests/domain/test_refunds.py", "tests/domain/test_disputes.py"

RULES: tuple[Rule, ...] = (
    Rule(
        "F56",
        "the value leaves the voucher before Stripe is asked",
        "domain/refunds.py",
        "                _take_off(refund, each, amount_minor)",
        "                pass",
        _in(REFUNDS, "off_the_voucher_before", engine="sqlite"),
    ),
    Rule(
        "F56",
        "a failed refund puts the value back",
        "domain/refunds.py",
        '        ledger.undo_void(void, reason="refund_failed", actor=STRIPE)',
        "        pass",
        _in(REFUNDS, "gives_the_value_back", engine="sqlite"),
    ),
    Rule(
        "F56",
        "vouchers are locked before anybody looks what is unused",
        "domain/freezes.py",
        "    for voucher in order.vouchers:\n        holds.lock(voucher.id)\n    return order",
        "    return order",
        _in(REFUNDS, "meets_a_redemption", engine="postgresql"),
    ),
    Rule(
        "F57",
        "a refund made at Stripe freezes the vouchers",
        "domain/refunds.py",
        "        freezes.freeze(order, reason=AT_STRIPE)",
        "        pass",
        _in(REFUNDS, "made_at_stripe_blocks", engine="sqlite"),
    ),
    Rule(
        "F58",
        "news of a dispute freezes the vouchers",
        "domain/disputes.py",
        "    freezes.freeze(order, reason=str(dispute.kind))",
        "    pass",
        _in(DISPUTES, "news_freezes", engine="sqlite"),
    ),
    Rule(
        "F58",
        "only the end of the last trouble thaws",
        "domain/freezes.py",
        "    if is_in_trouble(order):\n        return False\n",
        "",
        _in(DISPUTES, "two_troubles", engine="sqlite"),
    ),
    Rule(
        "F58",
        "lost takes the rest off",
        "domain/disputes.py",
        "        freezes.end(order, key=key, reason=reason, actor=STRIPE)\n        return",
        "        return",
        _in(DISPUTES, "lost_takes_the_rest", engine="sqlite"),
    ),
)
