"""The voucher of a paid unit: mint a code, issue it once, find it again."""

import re

import peewee

from database import Prepared, slot, transaction
from domain import catalogue, clock, codes, entries, fulfilment, ledger, timeline
from effects.outside import here
from gateways import vault
from models import Merchant, Order, Step, Unit, Voucher

# A scanner at the till reads the QR: the whole address or its token is as good as the typed code.
_LINK_TOKEN = re.compile(r"(?:.*/v/)?([a-z2-7]{32})/?", re.IGNORECASE)
_COLLISIONS = 3
_BY_CODE = Prepared(
    lambda: Voucher.select().where(Voucher.merchant == slot("merchant_id"), Voucher.code_hmac == slot("code_hmac"))
)


def create(step: Step) -> None:
    """Issue the voucher of a paid unit, exactly once: by the lease's token, and by the unit that has one voucher."""
    order = step.order
    unit = step.unit
    for attempt in range(1, _COLLISIONS + 1):
        try:
            with transaction():
                fulfilment.finish(step)
                if unit.voucher is None:
                    _issue(order, unit)
            return
        except peewee.IntegrityError:
            if attempt == _COLLISIONS:
                raise


def mint(merchant: Merchant, code: str | None = None) -> ledger.NewCode:
    """A fresh random code of `merchant` (75 random bits), or the given one as its holders know it, sealed.

    The seal is bound to a new public id.
    """
    box, public_id = here().vault, entries.new_public_id("vch")
    code = code.strip() if code is not None else codes.generate()
    sealed = box.seal(code.encode(), context=_context(merchant.id, public_id))
    return ledger.NewCode(
        public_id=public_id,
        hmac=box.code_hmac(codes.normalise(code)),
        ciphertext=sealed.ciphertext,
        key_id=sealed.key_id,
        last4=codes.last4(code),
        link_hash=vault.link_hash(box.voucher_link(public_id)),
    )


def read_code(voucher: Voucher) -> str:
    """The full code as it is printed, for the PDF, the voucher's own page and a logged reveal. Raises SealBroken."""
    sealed = vault.Sealed(voucher.code_key_id, bytes(voucher.code_ciphertext))
    code = here().vault.open(sealed, context=_context(voucher.merchant_id, voucher.public_id)).decode()
    return codes.printed(code)


def find_by_link(token: str) -> Voucher | None:
    """The voucher behind the token of a page, or None."""
    return Voucher.get_or_none(Voucher.link_hash == vault.link_hash(token.lower()))


def find_by_code(merchant: Merchant, text: str) -> Voucher | None:
    """The merchant's voucher behind a typed code in any form, or behind the QR that a scanner read; else None."""
    link = _LINK_TOKEN.fullmatch(text.strip())
    if link is not None:
        link_hash = vault.link_hash(link.group(1).lower())
        linked = Voucher.get_or_none(Voucher.merchant == merchant, Voucher.link_hash == link_hash)
        if linked is not None:
            return linked  # else a code of another system may look like a token
    # One for each key of the vault, the writing key's first: only a voucher from before a rotation needs the others.
    hmacs = here().vault.code_hmacs(codes.normalise(text))
    if len(hmacs) > 1:
        hmacs += hmacs[:1]  # it may have been sealed anew between the first look and the last
    found = (_BY_CODE.first(merchant_id=merchant.id, code_hmac=code_hmac) for code_hmac in hmacs)
    return next(filter(None, found), None)


def _issue(order: Order, unit: Unit) -> None:
    merchant = order.merchant
    bought_on = (order.paid_at or clock.now()).astimezone(clock.zone(merchant.time_zone)).date()
    voucher = ledger.issue(
        merchant,
        value_minor=unit.value_minor,
        currency=unit.currency,
        code=mint(merchant),
        operation_key=f"shop:{order.ref}:{unit.unit_no}",
        actor="shop",
        unit=unit,
        expires_at=catalogue.expiry(
            bought_on,
            years=unit.validity_years,
            is_to_year_end=unit.is_validity_to_year_end,
            time_zone=merchant.time_zone,
        ),
        is_test=order.is_test,
    )
    timeline.record(
        merchant, "voucher_created", order=order, voucher=voucher, unit_no=unit.unit_no, last4=voucher.code_last4
    )


def _context(merchant_id: int, public_id: str) -> str:
    return f"code:{merchant_id}:{public_id}"
