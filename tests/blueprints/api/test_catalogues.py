"""The catalogues of codes and sentences are whole."""

import re
from pathlib import Path

from blueprints.api import problems, schemas, wording
from domain import refusals

ROOT = Path(__file__).parents[3]


def test_every_refusal_of_a_voucher_has_a_kind_with_the_same_status_and_title() -> None:
    named = [refusals.VoucherNotFound, refusals.VoucherInactive, refusals.VoucherNotStarted, refusals.VoucherExpired]
    named += [refusals.VoucherDepleted, refusals.CurrencyMismatch, refusals.VoucherNotTransferable]
    named += [refusals.InsufficientBalance, refusals.IdempotencyConflict, refusals.RequestInProgress]
    for refusal in named:
        kind = problems.KINDS[refusal.code]
        assert (kind.status, kind.title) == (refusal.status, refusal.title)
    assert set(problems.VALIDATION_CODES) == {refusal.code for refusal in named[:7]}


def test_every_sentence_exists_in_both_languages_with_the_same_facts() -> None:
    for outcome, sentences in wording.SENTENCES.items():
        assert set(sentences) == {"de", "en"}, outcome
        assert wording.fields_of(sentences["de"]) == wording.fields_of(sentences["en"]), outcome


def test_every_field_code_that_can_come_has_a_sentence() -> None:
    assert set(schemas._CODE_OF_TYPE.values()) <= set(schemas.FIELD_CODES)
    for path in (ROOT / "blueprints/api").glob("*.py"):
        for code in re.findall(r'(?:_wrong|refuse)\((?:"\w+", )?"(\w+)"\)', path.read_text()):
            assert code in schemas.FIELD_CODES, (path.name, code)
