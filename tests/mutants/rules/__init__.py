"""The rules: where each stands, what the product looks like without it, and which tests have to notice."""

from tests.mutants.rules.documents import DOCUMENTS
from tests.mutants.rules.events import EVENTS
from tests.mutants.rules.mails import MAILS
from tests.mutants.rules.operations import OPERATIONS
from tests.mutants.rules.payments import PAYMENTS
from tests.mutants.rules.refunds import REFUNDS
from tests.mutants.rules.rule import Rule
from tests.mutants.rules.steps import STEPS

__all__ = ["RULES", "Rule"]

RULES: tuple[Rule, ...] = (*PAYMENTS, *EVENTS, *STEPS, *DOCUMENTS, *MAILS, *REFUNDS, *OPERATIONS)
