"""The words of the pay page, in German and English."""

from collections.abc import Iterable

LANGUAGES = ("de", "en")

_WORDS: dict[str, tuple[str, str]] = {
    "test_bar": ("Testseite – es fließt kein echtes Geld", "Test page – no real money"),
    "title": ("Bezahlen", "Payment"),
    "skip": ("Zum Inhalt springen", "Skip to content"),
    "merchant": ("Testgeschäft", "Test shop"),
    "pay_to": ("Zahlung an", "Payment to"),
    "total": ("Summe", "Total"),
    "mail_to": ("Bestätigung an", "Receipt to"),
    "card": ("Testkarte", "Test card"),
    "card_hint": (
        "Diese Karte ist erfunden. Gib hier nie eine echte Kartennummer ein.",
        "This card is made up. Never enter a real card number here.",
    ),
    "pay": ("{total} bezahlen", "Pay {total}"),
    "other_heading": ("Was sonst passieren kann", "What else can happen"),
    "decline": ("Karte ablehnen", "Decline the card"),
    "decline_hint": (
        "Die Bank sagt Nein. Du bleibst auf dieser Seite.",
        "The bank says no. You stay on this page.",
    ),
    "later": ("Später bezahlen (Lastschrift)", "Pay later (bank debit)"),
    "later_hint": (
        "Bestellt, aber noch nicht bezahlt: Die Bank antwortet danach.",
        "Ordered and not paid yet: the bank answers afterwards.",
    ),
    "lose": ("Bezahlen, Nachricht verlieren", "Pay, lose the message"),
    "lose_hint": (
        "Das Geld ist da, aber der Shop erfährt es nicht von selbst.",
        "The money is there, but nobody tells the shop.",
    ),
    "abandon": ("Abbrechen und zurück zum Shop", "Cancel and go back to the shop"),
    "declined": (
        "Deine Karte wurde abgelehnt. Es wurde nichts abgebucht. Versuch es noch einmal.",
        "Your card was declined. Nothing was charged. Please try again.",
    ),
    "paid_title": ("Schon bezahlt", "Already paid"),
    "paid_text": (
        "Diese Zahlung ist abgeschlossen. Du musst nichts mehr tun.",
        "This payment is complete. There is nothing left to do.",
    ),
    "expired_title": ("Diese Seite ist abgelaufen", "This page has expired"),
    "expired_text": (
        "Es wurde nichts abgebucht. Beginne den Einkauf im Shop noch einmal.",
        "Nothing was charged. Please start again in the shop.",
    ),
    "waiting_title": ("Die Bank hat noch nicht geantwortet", "The bank has not answered yet"),
    "waiting_text": (
        "Die Lastschrift ist beauftragt. In Wirklichkeit dauert das Tage. Hier entscheidest du:",
        "The debit is ordered. In real life this takes days. Here you decide:",
    ),
    "bank_pays": ("Die Bank zahlt", "The bank pays"),
    "bank_refuses": ("Die Bank lehnt ab", "The bank refuses"),
    "refused_title": ("Die Bank hat abgelehnt", "The bank has refused"),
    "refused_text": (
        "Die Lastschrift ist geplatzt. Es wurde nichts abgebucht.",
        "The debit failed. Nothing was charged.",
    ),
    "back_to_shop": ("Zurück zum Shop", "Back to the shop"),
    "missing_title": ("Diese Zahlung gibt es nicht", "There is no such payment"),
    "missing_text": (
        "Der Link ist unvollständig oder die Testdaten wurden gelöscht. Beginne im Shop noch einmal.",
        "The link is incomplete or the test data was deleted. Please start again in the shop.",
    ),
}


def choose(locale: str | None, accepted: Iterable[str]) -> str:
    """The page's language: the session's if we have it, else the browser's first that we have, else English."""
    for wish in (locale or "auto", *accepted):
        language = wish.partition("-")[0].lower()
        if language in LANGUAGES:
            return language
    return "en"


def of(language: str) -> dict[str, str]:
    """Every word in one language."""
    place = LANGUAGES.index(language)
    return {name: texts[place] for name, texts in _WORDS.items()}
