"""What a test does at Stripe: as the buyer, the bank, the owner of an account, and by hand in Stripe's own dashboard.

Every verb does what a button of the twin's pages does. Amounts are in Stripe's units. What a verb cannot do now it
refuses with WireError, as the API does; `deliver` False loses the events of the verb.
"""

from gateways.stripe_twin import connect, disputes, refunds, till
from gateways.stripe_twin.engine import Engine
from gateways.stripe_twin.wire import Json


class Verbs:
    """The verbs of a running twin."""

    _engine: Engine

    def sessions(self) -> list[Json]:
        """Every session, newest first, as Stripe would answer it."""
        with self._engine.store.begin() as book:
            return [kept.body for kept in till.all_sessions(book)]

    def events(self, kind: str = "") -> list[Json]:
        """Every event, oldest first; with `kind` only those of a type (`checkout.session.completed`)."""
        with self._engine.store.begin() as book:
            found = [kept.body for kept in book.walk("event", is_backward=True)]
        return [body for body in found if kind in ("", body["type"])]

    def pay(self, session_id: str, *, deliver: bool = True) -> str:
        """The buyer pays by card; the id of `checkout.session.completed`. `deliver` False: the event is lost."""
        with self._engine.store.begin() as book:
            till.pay(book, till.find_session(book, session_id), is_told=deliver)
        return self.event_about(session_id)

    def decline(self, session_id: str) -> None:
        """The bank refuses the buyer's card; the session stays open."""
        with self._engine.store.begin() as book:
            till.decline(book, till.find_session(book, session_id))

    def pay_later(self, session_id: str, *, deliver: bool = True) -> str:
        """The buyer orders a bank debit: complete and unpaid; the id of `checkout.session.completed`."""
        with self._engine.store.begin() as book:
            till.pay_later(book, till.find_session(book, session_id), is_told=deliver)
        return self.event_about(session_id)

    def settle_later(self, session_id: str, *, succeed: bool, deliver: bool = True) -> str:
        """The bank's answer; the id of `checkout.session.async_payment_succeeded` or `…_failed`."""
        with self._engine.store.begin() as book:
            till.settle_later(book, till.find_session(book, session_id), succeed=succeed, is_told=deliver)
        return self.event_about(session_id)

    def refund(
        self, session_or_intent_id: str, amount: int | None = None, *, later: bool = False, deliver: bool = True
    ) -> str:
        """Somebody refunds in Stripe's own dashboard (None: all that is left); the id of the refund.

        `later`: it is pending until `settle_refund`. Amounts in Stripe's units. Raises WireError like the API.
        """
        with self._engine.store.begin() as book:
            charge = till.find_charge(book, session_or_intent_id)
            params = {"charge": charge.id, **({} if amount is None else {"amount": amount})}
            return refunds.create(book, params, account=charge.account, later=later, is_told=deliver).id

    def settle_refund(self, refund_id: str, succeed: bool, deliver: bool = True) -> str:
        """The bank's answer to a refund; the id of `refund.updated` or `refund.failed`.

        One that had succeeded may still fail, days later, as with closed accounts.
        """
        with self._engine.store.begin() as book:
            refunds.settle(book, refunds.find(book, refund_id), succeed=succeed, is_told=deliver)
        return self.event_about(refund_id, "refund.updated" if succeed else "refund.failed")

    def dispute(
        self, session_id: str, *, reason: str = "fraudulent", inquiry: bool = False, deliver: bool = True
    ) -> str:
        """The card's holder objects to the payment of a session (or intent, or charge); the id of the dispute.

        `inquiry`: the bank only asks (`warning_needs_response`) and takes no money.
        """
        with self._engine.store.begin() as book:
            charge = till.find_charge(book, session_id)
            return disputes.open_case(book, charge, reason=reason, is_inquiry=inquiry, is_told=deliver).id

    def answer_dispute(self, dispute_id: str, *, deliver: bool = True) -> str:
        """The shop sent its evidence at Stripe: `under_review`; the id of `charge.dispute.updated`."""
        with self._engine.store.begin() as book:
            disputes.answer(book, disputes.find(book, dispute_id), is_told=deliver)
        return self.event_about(dispute_id, "charge.dispute.updated")

    def close_dispute(self, dispute_id: str, won: bool, *, deliver: bool = True) -> str:
        """The bank decides: `won`, `lost`, or `warning_closed` for an inquiry that is won; the id of `….closed`."""
        with self._engine.store.begin() as book:
            disputes.close(book, disputes.find(book, dispute_id), won=won, is_told=deliver)
        return self.event_about(dispute_id, "charge.dispute.closed")

    def warn(self, session_id: str, *, deliver: bool = True) -> str:
        """The card's bank suspects fraud (session, intent or charge); the id of the early fraud warning."""
        with self._engine.store.begin() as book:
            return disputes.warn(book, till.find_charge(book, session_id), is_told=deliver).id

    def connect(self, *, email: str = "owner@example.org", name: str = "Café Alba", is_ready: bool = True) -> str:
        """A merchant's own account, without its owner's answers unless `is_ready`; its id (`acct_…`)."""
        card = {"capabilities": {"card_payments": {"requested": True}}}
        params = {"contact_email": email, "display_name": name, "configuration": {"merchant": card}}
        with self._engine.store.begin() as book:
            account = connect.open_account(book, params)
            if is_ready:
                connect.finish_onboarding(book, account)
        return account.id

    def finish_onboarding(self, account: str) -> None:
        """The account's owner has answered all questions: it may take cards; the two thin events tell."""
        with self._engine.store.begin() as book:
            connect.finish_onboarding(book, connect.find(book, account))

    def restrict(self, account: str) -> None:
        """Stripe wants a paper that is overdue: no cards until `finish_onboarding`; the two thin events tell."""
        with self._engine.store.begin() as book:
            connect.restrict(book, connect.find(book, account))

    def disconnect(self, account: str) -> str:
        """The owner ends our access: every call for it is 403; the id of `account.application.deauthorized`."""
        with self._engine.store.begin() as book:
            connect.disconnect(book, connect.find(book, account))
        told = [one for one in self.events("account.application.deauthorized") if one["account"] == account]
        return str(told[-1]["id"])

    def thin_events(self, kind: str = "") -> list[Json]:
        """Every thin event of the API's second version (about accounts), oldest first; with `kind` of one type."""
        with self._engine.store.begin() as book:
            found = [kept.body for kept in book.walk("thin_event", is_backward=True)]
        return [body for body in found if kind in ("", body["type"])]

    def event_about(self, object_id: str, kind: str = "") -> str:
        """The id of the newest event about an object or account; with `kind` of one type. Raises KeyError without."""
        with self._engine.store.begin() as book:
            for noun in ("event", "thin_event"):
                for kept in book.walk(noun):
                    if kind in ("", kept.body["type"]) and _subject_id(kept.body) == object_id:
                        return kept.id
        raise KeyError(object_id)


def _subject_id(event: Json) -> str:
    subject = event["data"]["object"] if event["object"] == "event" else event["related_object"]
    return str(subject["id"])
