"""The sentences that owners get by mail, in German and English, each trouble in five parts.

Effect on people, cause, what happens by itself, what the reader can do, and a reference, which the letter adds.
Times are said in the merchant's time zone; nothing is promised that the program does not do.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from gateways.letters import Locale


@dataclass(frozen=True)
class Words:
    """One trouble in words; `title` is the subject of a letter about it alone."""

    title: str
    effect: str
    cause: str
    by_itself: str
    advice: str


def of(kind: str, values: Mapping[str, str], *, locale: Locale) -> Words:
    """The sentences for one trouble with its values filled in; an unknown kind is told in general words."""
    words = _chosen(kind, values, locale)
    filled = _Filled(values)
    cause = words.cause.format_map(_Filled({**values, "why": _why(values, locale)}))
    return Words(
        title=words.title.format_map(filled),
        effect=words.effect.format_map(filled),
        cause=cause,
        by_itself=words.by_itself.format_map(filled),
        advice=words.advice.format_map(filled),
    )


class _Filled(dict[str, str]):
    """Values for a sentence; a missing one is a dash, so that no letter fails for want of a word."""

    def __missing__(self, name: str) -> str:
        return "–"


def _chosen(kind: str, values: Mapping[str, str], locale: Locale) -> Words:
    found = SENTENCES[locale]
    if kind == "breaker" and values.get("ended_at"):
        kind = "breaker.over"
    detailed = f"{kind}.{values.get('step') or values.get('state') or values.get('name')}"
    return found.get(detailed) or found.get(kind) or found["unknown"]


def _why(values: Mapping[str, str], locale: Locale) -> str:
    causes = CAUSES[locale]
    return causes.get(values.get("code", ""), causes["unexpected"]).format_map(_Filled(values))


_BY_ITSELF_EN = "We stopped trying."
_BY_ITSELF_DE = "Es wird nicht weiter versucht."

CAUSES: dict[Locale, dict[str, str]] = {
    "en": {
        "bad_address": "The mail server says that the address {to} does not exist or takes no mail.",
        "bounced": "The message to {to} came back.",
        "mail_refused": "The mail server of the recipient refused this message for good.",
        "mail_not_now": "The mail server asked us to wait until there were no tries left.",
        "mail_ours": "Your mail server does not accept our log-in or settings.",
        "mail_unreachable": "Your mail server did not answer.",
        "mail_unknown": "The connection broke while messages were being handed over.",
        "renderer_missing": "The program that makes PDFs is not fully installed on this server.",
        "seal_broken": "A stored voucher code can't be opened: its key is missing, or the data was changed.",
        "worker_died": "The worker process ended in the middle of this step every time it tried.",
        "unexpected": "The technical details are on the page linked below.",
    },
    "de": {
        "bad_address": "Der Mailserver sagt, dass es die Adresse {to} nicht gibt oder dass sie keine Post annimmt.",
        "bounced": "Die Nachricht an {to} kam zurück.",
        "mail_refused": "Der Mailserver des Empfängers hat diese Nachricht endgültig abgelehnt.",
        "mail_not_now": "Der Mailserver hat um Geduld gebeten, bis keine Versuche mehr übrig waren.",
        "mail_ours": "Ihr Mailserver nimmt unsere Anmeldung oder Einstellungen nicht an.",
        "mail_unreachable": "Ihr Mailserver hat nicht geantwortet.",
        "mail_unknown": "Die Verbindung brach ab, während Nachrichten übergeben wurden.",
        "renderer_missing": "Das Programm, das PDFs erzeugt, ist auf diesem Server nicht vollständig installiert.",
        "seal_broken": "Ein gespeicherter Gutscheincode lässt sich nicht öffnen: Sein Schlüssel fehlt, oder die Daten"
        " wurden verändert.",
        "worker_died": "Der Arbeitsprozess endete bei jedem Versuch mitten in diesem Schritt.",
        "unexpected": "Die technischen Einzelheiten stehen auf der unten verlinkten Seite.",
    },
}

_ENGLISH = {
    "step.create": Words(
        "{order}: paid, and no voucher yet",
        "{buyer} has paid and has no voucher yet.",
        "{why}",
        _BY_ITSELF_EN,
        "Open the order and press “Try now”; nothing can be created twice.",
    ),
    "step.document": Words(
        "{order}: the PDF is missing",
        "The voucher for {buyer} exists and is valid, but its PDF is missing, so its e-mail waits.",
        "{why}",
        _BY_ITSELF_EN,
        "Open the order and press “Try now”.",
    ),
    "step.deliver_buyer": Words(
        "{order}: the e-mail did not arrive",
        "{buyer} has not received the voucher by e-mail. The order page offers it already.",
        "{why}",
        _BY_ITSELF_EN,
        "Open the order, correct the address or try again.",
    ),
    "step.deliver_recipient": Words(
        "{order}: the e-mail did not arrive",
        "The recipient at {to} has not received the voucher that {buyer} bought.",
        "{why}",
        _BY_ITSELF_EN,
        "Open the order, correct the address or try again.",
    ),
    "step.receipt": Words(
        "{order}: the receipt did not arrive",
        "{buyer} has not received the receipt. The voucher itself is not touched by this.",
        "{why}",
        _BY_ITSELF_EN,
        "Open the order, correct the address or try again.",
    ),
    "review": Words(
        "{order}: a payment is held",
        "No voucher was made for {buyer}, who has paid and is waiting.",
        "Stripe reports {received}, the order says {amount}, or the payment differs in another way.",
        "Nothing happens by itself, so that no wrong voucher goes out.",
        "Open the order: release the payment or refund it.",
    ),
    "dispute": Words(
        "{order}: the payment is disputed",
        "{buyer}’s bank takes {amount} back until the dispute is decided. The vouchers of the order are blocked.",
        "The holder of the card contests the payment.",
        "If you win, the vouchers work again by themselves.",
        "Answer in Stripe by {respond_by}; without an answer the dispute is lost.",
    ),
    "inquiry": Words(
        "{order}: the bank asks about a payment",
        "The bank of {buyer} asks about {amount}. The vouchers of the order are blocked.",
        "The holder of the card does not recognise the payment.",
        "No money has been taken back yet; when the inquiry is closed, the vouchers work again by themselves.",
        "Answer in Stripe by {respond_by}, or refund the payment.",
    ),
    "fraud_warning": Words(
        "{order}: warning of a stolen card",
        "The vouchers of the order are blocked. {buyer} can’t redeem them.",
        "The bank warns that the card for {amount} may have been used without its holder’s knowledge.",
        "No money has been taken back; a dispute often follows.",
        "Open the order: refund the payment, or unblock the vouchers when you know the buyer.",
    ),
    "refund_to_decide": Words(
        "{order}: a refund was made at Stripe",
        "{buyer} gets {amount} back. The vouchers of the order are blocked until you decide.",
        "Somebody made the refund in Stripe’s own dashboard, so we can’t know what it was for.",
        "Nothing happens by itself.",
        "Open the order and choose: take the value off the vouchers, or let them work again.",
    ),
    "refund_failed": Words(
        "{order}: a refund failed",
        "{buyer} has not got {amount} back. The value is on the vouchers again.",
        "The bank did not take the refund.",
        "It is not asked for again by itself.",
        "Open the order and refund once more, or pay the buyer in another way.",
    ),
    "stray": Words(
        "A payment without an order: {amount}",
        "Somebody has paid {amount}, and no order here explains it, so there is no voucher.",
        "Stripe lists the payment {session_id} for the order {reference}, which our books don’t have. After a restored"
        " backup that is what an order looks like that was made in between.",
        "We look every two minutes whether an order turns up.",
        "Find the payment in Stripe: make a voucher by hand and mail it, or refund it, then mark it as done.",
    ),
    "no_voucher": Words(
        "{order}: paid, and no voucher after ten minutes",
        "{buyer} has paid and has no voucher yet.",
        "The work for this order waits longer than it should: the worker may be standing still.",
        "The order is safe and is worked on as soon as the worker runs.",
        "Look at the health line of the dashboard; if the worker is silent, start it again.",
    ),
    "account.restricted": Words(
        "Stripe has restricted your account",
        "Buyers can’t pay in your shop at the moment.",
        "Stripe needs something from you: {list}.",
        "We look every minute whether it is there; then the shop sells again by itself.",
        "Open the payment settings and go on at Stripe.",
    ),
    "account.ended": Words(
        "Your Stripe account is not connected any more",
        "Buyers can’t pay in your shop.",
        "The connection was ended at Stripe.",
        "Nothing happens by itself; vouchers that are sold stay valid.",
        "Open the payment settings and connect the account again.",
    ),
    "breaker": Words(
        "No e-mails are going out since {since}",
        "Buyers and recipients wait for their e-mails; the order pages offer the vouchers already.",
        "{why}",
        "We try again by ourselves every few minutes. Everything that waits then goes out.",
        "Check the mail settings of the server.",
    ),
    "breaker.over": Words(
        "E-mails are going out again",
        "No e-mail went out between {since} and {ended_at}. What waited goes out now.",
        "{why}",
        "The rest is sent by itself.",
        "If it happens often, ask whoever runs your mail server.",
    ),
    "breaker.stripe": Words(
        "Stripe has not answered since {since}",
        "Buyers can’t reach the payment page at the moment. Vouchers that are paid go out.",
        "Stripe does not answer, or not in time.",
        "We try again by ourselves; payments that arrive meanwhile are found.",
        "Look at Stripe’s status page.",
    ),
    "audit": Words(
        "The books do not add up",
        "Vouchers work as before, but the hourly audit found something that should not be.",
        "Broken since {since}: {list}.",
        "The audit looks again every hour.",
        "Run “flask audit” on the server and show its answer to whoever looks after the program.",
    ),
    "clock": Words(
        "The clock of the server is wrong",
        "Payments are found later than usual, and times on orders are wrong.",
        "The clock differs from Stripe’s by {skew_seconds} seconds, so Stripe’s messages are refused.",
        "Every payment is still found by asking Stripe, within minutes.",
        "Set the clock of the server, best by a time service (NTP).",
    ),
    "silence": Words(
        "Stripe does not call us any more",
        "Vouchers go out, but later than they could.",
        "Stripe’s last message came: {last_webhook_at}. Since then {found} payments were found by asking.",
        "We go on asking every few minutes.",
        "Check the webhook in Stripe: its address, whether it is switched on, and its secret.",
    ),
    "unknown": Words(
        "Something needs you",
        "Something needs a person.",
        "The details are on the page linked below.",
        "Nothing happens by itself.",
        "Open the dashboard.",
    ),
}

_GERMAN = {
    "step.create": Words(
        "{order}: bezahlt, aber noch ohne Gutschein",
        "{buyer} hat bezahlt und hat noch keinen Gutschein.",
        "{why}",
        _BY_ITSELF_DE,
        "Öffnen Sie die Bestellung und drücken Sie „Jetzt versuchen“; doppelt entsteht dabei nichts.",
    ),
    "step.document": Words(
        "{order}: das PDF fehlt",
        "Der Gutschein für {buyer} besteht und gilt, aber sein PDF fehlt, deshalb wartet die E-Mail.",
        "{why}",
        _BY_ITSELF_DE,
        "Öffnen Sie die Bestellung und drücken Sie „Jetzt versuchen“.",
    ),
    "step.deliver_buyer": Words(
        "{order}: die E-Mail kam nicht an",
        "{buyer} hat den Gutschein nicht per E-Mail bekommen. Die Bestellseite bietet ihn schon an.",
        "{why}",
        _BY_ITSELF_DE,
        "Öffnen Sie die Bestellung, berichtigen Sie die Adresse oder versuchen Sie es noch einmal.",
    ),
    "step.deliver_recipient": Words(
        "{order}: die E-Mail kam nicht an",
        "Der Gutschein, den {buyer} gekauft hat, ist bei {to} nicht angekommen.",
        "{why}",
        _BY_ITSELF_DE,
        "Öffnen Sie die Bestellung, berichtigen Sie die Adresse oder versuchen Sie es noch einmal.",
    ),
    "step.receipt": Words(
        "{order}: der Beleg kam nicht an",
        "{buyer} hat den Beleg nicht bekommen. Den Gutschein selbst betrifft das nicht.",
        "{why}",
        _BY_ITSELF_DE,
        "Öffnen Sie die Bestellung, berichtigen Sie die Adresse oder versuchen Sie es noch einmal.",
    ),
    "review": Words(
        "{order}: eine Zahlung ist angehalten",
        "Für {buyer} wurde kein Gutschein erstellt; die Zahlung ist da, und jemand wartet.",
        "Stripe meldet {received}, in der Bestellung steht {amount}, oder die Zahlung weicht anders ab.",
        "Von selbst geschieht nichts, damit kein falscher Gutschein hinausgeht.",
        "Öffnen Sie die Bestellung: Geben Sie die Zahlung frei oder erstatten Sie sie.",
    ),
    "dispute": Words(
        "{order}: die Zahlung wird bestritten",
        "Die Bank von {buyer} holt {amount} zurück, bis entschieden ist. Die Gutscheine der Bestellung sind gesperrt.",
        "Wer die Karte besitzt, bestreitet die Zahlung.",
        "Gewinnen Sie, gelten die Gutscheine von selbst wieder.",
        "Antworten Sie in Stripe bis {respond_by}; ohne Antwort ist der Fall verloren.",
    ),
    "inquiry": Words(
        "{order}: die Bank fragt nach einer Zahlung",
        "Die Bank von {buyer} fragt nach {amount}. Die Gutscheine der Bestellung sind gesperrt.",
        "Wer die Karte besitzt, erkennt die Zahlung nicht wieder.",
        "Es wurde noch kein Geld zurückgeholt; ist die Anfrage erledigt, gelten die Gutscheine von selbst wieder.",
        "Antworten Sie in Stripe bis {respond_by}, oder erstatten Sie die Zahlung.",
    ),
    "fraud_warning": Words(
        "{order}: Warnung vor einer gestohlenen Karte",
        "Die Gutscheine der Bestellung sind gesperrt. {buyer} kann sie nicht einlösen.",
        "Die Bank warnt, dass die Karte über {amount} ohne Wissen ihrer Inhaberin oder ihres Inhabers benutzt wurde.",
        "Es wurde noch kein Geld zurückgeholt; oft folgt eine Reklamation.",
        "Öffnen Sie die Bestellung: Erstatten Sie die Zahlung, oder heben Sie die Sperre auf, wenn Sie die Käuferin"
        " oder den Käufer kennen.",
    ),
    "refund_to_decide": Words(
        "{order}: bei Stripe wurde erstattet",
        "{buyer} bekommt {amount} zurück. Die Gutscheine der Bestellung sind gesperrt, bis Sie entscheiden.",
        "Jemand hat in der Oberfläche von Stripe erstattet, deshalb wissen wir nicht, wofür.",
        "Von selbst geschieht nichts.",
        "Öffnen Sie die Bestellung und wählen Sie: den Wert von den Gutscheinen nehmen oder sie wieder gelten lassen.",
    ),
    "refund_failed": Words(
        "{order}: eine Erstattung ist gescheitert",
        "{buyer} hat {amount} nicht zurückbekommen. Der Wert steht wieder auf den Gutscheinen.",
        "Die Bank hat die Erstattung nicht angenommen.",
        "Von selbst wird sie nicht wiederholt.",
        "Öffnen Sie die Bestellung und erstatten Sie noch einmal, oder zahlen Sie auf anderem Weg zurück.",
    ),
    "stray": Words(
        "Eine Zahlung ohne Bestellung: {amount}",
        "Jemand hat {amount} bezahlt, und keine Bestellung hier erklärt es; es gibt also keinen Gutschein.",
        "Stripe führt die Zahlung {session_id} zur Bestellung {reference}, die unsere Bücher nicht kennen. Nach einer"
        " zurückgespielten Sicherung sieht so eine Bestellung aus, die dazwischen entstand.",
        "Alle zwei Minuten wird nachgesehen, ob eine Bestellung dazu auftaucht.",
        "Suchen Sie die Zahlung in Stripe: Erstellen Sie von Hand einen Gutschein und senden Sie ihn, oder erstatten"
        " Sie die Zahlung; danach haken Sie sie ab.",
    ),
    "no_voucher": Words(
        "{order}: bezahlt, nach zehn Minuten noch ohne Gutschein",
        "{buyer} hat bezahlt und hat noch keinen Gutschein.",
        "Die Arbeit an dieser Bestellung wartet länger als sie sollte: Vielleicht steht der Arbeitsprozess still.",
        "Die Bestellung ist sicher und kommt an die Reihe, sobald er läuft.",
        "Sehen Sie in der Übersicht nach; ist der Arbeitsprozess still, starten Sie ihn neu.",
    ),
    "account.restricted": Words(
        "Stripe hat Ihr Konto eingeschränkt",
        "In Ihrem Shop kann im Moment niemand bezahlen.",
        "Stripe braucht etwas von Ihnen: {list}.",
        "Jede Minute wird nachgesehen, ob es da ist; dann verkauft der Shop von selbst weiter.",
        "Öffnen Sie die Zahlungseinstellungen und machen Sie bei Stripe weiter.",
    ),
    "account.ended": Words(
        "Ihr Stripe-Konto ist nicht mehr verbunden",
        "In Ihrem Shop kann niemand bezahlen.",
        "Die Verbindung wurde bei Stripe beendet.",
        "Von selbst geschieht nichts; verkaufte Gutscheine gelten weiter.",
        "Öffnen Sie die Zahlungseinstellungen und verbinden Sie das Konto wieder.",
    ),
    "breaker": Words(
        "Seit {since} gehen keine E-Mails hinaus",
        "Käufer und Beschenkte warten auf ihre E-Mails; die Bestellseiten bieten die Gutscheine schon an.",
        "{why}",
        "Es wird alle paar Minuten von selbst versucht. Alles, was wartet, geht dann hinaus.",
        "Prüfen Sie die Mail-Einstellungen des Servers.",
    ),
    "breaker.over": Words(
        "E-Mails gehen wieder hinaus",
        "Zwischen {since} und {ended_at} ging keine E-Mail hinaus. Was wartete, geht jetzt hinaus.",
        "{why}",
        "Der Rest wird von selbst gesendet.",
        "Kommt es öfter vor, fragen Sie, wer Ihren Mailserver betreibt.",
    ),
    "breaker.stripe": Words(
        "Stripe antwortet seit {since} nicht",
        "Im Moment erreicht niemand die Bezahlseite. Bezahlte Gutscheine gehen hinaus.",
        "Stripe antwortet nicht oder nicht rechtzeitig.",
        "Es wird von selbst weiter versucht; Zahlungen, die inzwischen eintreffen, werden gefunden.",
        "Sehen Sie auf der Statusseite von Stripe nach.",
    ),
    "audit": Words(
        "Die Bücher gehen nicht auf",
        "Gutscheine gelten wie bisher, aber die stündliche Prüfung fand etwas, das nicht sein darf.",
        "Verletzt seit {since}: {list}.",
        "Jede Stunde wird wieder geprüft.",
        "Führen Sie auf dem Server „flask audit“ aus und zeigen Sie die Antwort, wer das Programm betreut.",
    ),
    "clock": Words(
        "Die Uhr des Servers geht falsch",
        "Zahlungen werden später als sonst gefunden, und Zeiten an Bestellungen stimmen nicht.",
        "Die Uhr weicht um {skew_seconds} Sekunden von der bei Stripe ab, deshalb werden Stripes Meldungen abgelehnt.",
        "Jede Zahlung wird trotzdem binnen Minuten gefunden, weil wir bei Stripe nachfragen.",
        "Stellen Sie die Uhr des Servers, am besten über einen Zeitdienst (NTP).",
    ),
    "silence": Words(
        "Stripe meldet sich nicht mehr",
        "Gutscheine gehen hinaus, aber später als sie könnten.",
        "Stripes letzte Meldung kam: {last_webhook_at}. Seitdem wurden {found} Zahlungen durch Nachfragen gefunden.",
        "Es wird weiter alle paar Minuten nachgefragt.",
        "Prüfen Sie den Webhook in Stripe: seine Adresse, ob er eingeschaltet ist, und sein Geheimnis.",
    ),
    "unknown": Words(
        "Etwas braucht Sie",
        "Etwas braucht einen Menschen.",
        "Die Einzelheiten stehen auf der unten verlinkten Seite.",
        "Von selbst geschieht nichts.",
        "Öffnen Sie die Übersicht.",
    ),
}
SENTENCES: dict[Locale, dict[str, Words]] = {"en": _ENGLISH, "de": _GERMAN}
