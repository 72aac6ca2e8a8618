"""The words of Stripe's dashboard (test) and of the page of Stripe's questions, in German and English."""

from gateways.stripe_twin import words

_WORDS: dict[str, tuple[str, str]] = {
    "office": ("Stripe-Dashboard (Test)", "Stripe's dashboard (test)"),
    "office_intro": (
        "Spiele Bank, Kundschaft und Stripe: Alles hier sieht der Shop so, wie er es von Stripe sähe.",
        "Play the bank, the customers and Stripe: the shop sees all of this as it would come from Stripe.",
    ),
    "payments": ("Zahlungen", "Payments"),
    "no_payments": (
        "Noch keine Zahlung. Kauf im Shop einen Gutschein, dann erscheint sie hier.",
        "No payment yet. Buy a voucher in the shop and it appears here.",
    ),
    "older": ("Ältere Zahlungen", "Older payments"),
    "newest": ("Zu den neuesten", "Back to the newest"),
    "actions": ("Was jetzt passieren soll", "What is to happen next"),
    "pay_page": ("Bezahlseite öffnen", "Open the payment page"),
    "impossible": (
        "Das geht bei dieser Zahlung nicht mehr. Hier steht sie, wie sie jetzt ist.",
        "That is no longer possible for this payment. Here it is as it stands now.",
    ),
    "of_account": ("Konto {account}", "Account {account}"),
    "state_open": ("Offen", "Open"),
    "state_expired": ("Abgelaufen", "Expired"),
    "state_waiting": ("Bank antwortet noch", "Waiting for the bank"),
    "state_refused": ("Von der Bank abgelehnt", "Refused by the bank"),
    "state_paid": ("Bezahlt", "Paid"),
    "state_free": ("Ohne Zahlung", "No payment"),
    "state_refunded": ("Erstattet", "Refunded"),
    "state_part": ("{amount} erstattet", "{amount} refunded"),
    "state_pending": ("{amount} Erstattung unterwegs", "{amount} refund on its way"),
    "state_failed": ("Erstattung gescheitert", "Refund failed"),
    "state_needs_response": ("Angefochten", "Disputed"),
    "state_under_review": ("Anfechtung in Prüfung", "Dispute under review"),
    "state_won": ("Anfechtung gewonnen", "Dispute won"),
    "state_lost": ("Anfechtung verloren", "Dispute lost"),
    "state_warning_needs_response": ("Rückfrage der Bank", "Inquiry"),
    "state_warning_under_review": ("Rückfrage in Prüfung", "Inquiry under review"),
    "state_warning_closed": ("Rückfrage erledigt", "Inquiry closed"),
    "state_warned": ("Betrugswarnung", "Fraud warning"),
    "refund_all": ("Alles erstatten ({amount})", "Refund all ({amount})"),
    "refund_part": ("{amount} erstatten", "Refund {amount}"),
    "refund_later": ("Erstatten, Bank braucht Tage", "Refund, the bank takes days"),
    "refund_arrives": ("Erstattung kommt an", "The refund arrives"),
    "refund_fails": ("Erstattung scheitert", "The refund fails"),
    "dispute": ("Zahlung anfechten", "Open a dispute"),
    "inquiry": ("Bank fragt nach", "Open an inquiry"),
    "evidence": ("Belege einreichen", "Send evidence"),
    "won": ("Shop gewinnt", "The shop wins"),
    "lost": ("Shop verliert", "The shop loses"),
    "warn": ("Betrug melden", "Warn of fraud"),
    "no_actions": ("Hier gibt es nichts mehr zu tun.", "There is nothing left to do here."),
    "events": ("Nachrichten an den Shop", "Messages to the shop"),
    "lose_next": ("Nächste Nachricht verlieren", "Lose the next message"),
    "losing": ("Die nächste Nachricht geht verloren.", "The next message will be lost."),
    "keep_next": ("Doch nicht verlieren", "Do not lose it"),
    "send_again": ("Noch einmal senden", "Send again"),
    "no_events": ("Noch keine Nachricht.", "No message yet."),
    "told_pending": ("wird gesendet", "being sent"),
    "told_delivered": ("angekommen", "arrived"),
    "told_failed": ("nicht angenommen", "not accepted"),
    "told_lost": ("verloren", "lost"),
    "accounts": ("Verbundene Konten", "Connected accounts"),
    "account_active": ("Bereit", "Ready"),
    "account_restricted": ("Eingeschränkt", "Restricted"),
    "account_gone": ("Getrennt", "Disconnected"),
    "account_finish": ("Fragen beantworten", "Answer all questions"),
    "account_restrict": ("Einschränken", "Restrict"),
    "account_disconnect": ("Verbindung trennen", "Disconnect"),
    "connect_title": ("Konto einrichten", "Set up your account"),
    "connect_intro": (
        "In Wirklichkeit fragt Stripe hier nach Firma, Ausweis und Bankkonto. Auf dieser Testseite entscheidest du:",
        "In real life Stripe asks for your company, your passport and your bank account here. On this test page"
        " you decide:",
    ),
    "connect_owed": ("Was Stripe noch wissen will", "What Stripe still wants to know"),
    "connect_nothing": ("Stripe weiß alles, was es braucht.", "Stripe knows everything it needs."),
    "connect_finish": ("Alles beantworten und fertig", "Answer everything and finish"),
    "connect_open": ("Etwas offen lassen", "Leave something open"),
    "connect_open_hint": (
        "Stripe verlangt noch einen Ausweis. Karten gehen erst danach.",
        "Stripe asks for one more document. No cards until then.",
    ),
    "connect_back": ("Zurück, ohne zu antworten", "Back without answering"),
}


def of(language: str) -> dict[str, str]:
    """Every word in one language (`words.LANGUAGES`)."""
    place = words.LANGUAGES.index(language)
    return {name: both[place] for name, both in _WORDS.items()}
