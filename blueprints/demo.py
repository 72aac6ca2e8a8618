"""The demo's mailbox: every letter that the shop sent, to look at. It exists only where no real payment is possible."""

import re

from flask import Blueprint, Response, abort, make_response, render_template
from flask.typing import ResponseReturnValue

from blueprints import presentation
from effects.outside import here
from gateways.captured_mailbox import Mailbox, OpenedLetter

blueprint = Blueprint("demo", __name__, url_prefix="/demo")

# A letter is foreign matter: it may show itself with its own styles and nothing else, inside our own frame only.
_LETTER_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; sandbox"
_SAFE_TO_SHOW = frozenset({"application/pdf", "text/plain"})


@blueprint.get("/mailbox")
def list_letters() -> ResponseReturnValue:
    """All letters, newest first."""
    return presentation.private(render_template("demo/mailbox.html", letters=_mailbox().list()))


@blueprint.get("/mailbox/<int:letter_id>")
def show_letter(letter_id: int) -> ResponseReturnValue:
    """One letter: headers, preview, text, attachments."""
    letter = _letter(letter_id)
    return presentation.private(render_template("demo/letter.html", letter=letter, links=_links(letter)))


@blueprint.get("/mailbox/<int:letter_id>/preview")
def preview_letter(letter_id: int) -> ResponseReturnValue:
    """The HTML part as it came, locked into a sandbox by its own policy."""
    response = make_response(_letter(letter_id).html)
    response.headers["Content-Security-Policy"] = _LETTER_POLICY
    return presentation.private(response)


@blueprint.get("/mailbox/<int:letter_id>/attachments/<int:index>")
def download_attachment(letter_id: int, index: int) -> ResponseReturnValue:
    """One attached file, always as a download."""
    try:
        attached = _mailbox().attachment(letter_id, index)
    except (KeyError, OverflowError):
        abort(404)
    mime = attached.mime if attached.mime in _SAFE_TO_SHOW else "application/octet-stream"
    response = Response(attached.content, mimetype=mime)
    response.headers.set("Content-Disposition", "attachment", filename=attached.filename or "attachment")
    return presentation.private(response)


def _mailbox() -> Mailbox:
    return Mailbox(here().settings.mailbox_file)


def _letter(letter_id: int) -> OpenedLetter:
    try:
        return _mailbox().read(letter_id)
    except (KeyError, OverflowError):
        abort(404)


def _links(letter: OpenedLetter) -> list[str]:
    """The shop's own addresses in the letter. The sandbox opens no links, so they stand beside it."""
    root = re.escape(here().settings.public_url)
    return list(dict.fromkeys(re.findall(rf"{root}/[ov]/[a-z2-7]+", letter.text)))
