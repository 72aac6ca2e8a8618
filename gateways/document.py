"""A voucher as a PDF, and proof of what stands on it.

The renderer (WeasyPrint on Pango) can crash, hang or eat memory, so it lives in a warm child process,
`gateways/document_press.py`, with limits of its own. Nothing here loads it into the calling process.
"""

import hashlib
import json
import re
import threading
import unicodedata
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Literal, Self

from gateways.document_child import Child, DocumentFailed

__all__ = ["DocumentFailed", "Press", "Printed", "ReadBack", "VoucherDocument", "differences", "printable"]

LAYOUTS = frozenset({"classic"})
LONGEST_MESSAGE = 500
WALL_SECONDS = 30.0
PRINTS_PER_CHILD = 300  # a fresh child now and then: the renderer never gives back what a big page took

_LONGEST_FIELD = 500
_MOST_LINES = 40
_ACCENT = re.compile(r"#[0-9a-fA-F]{6}")
_MOST_MARKS_IN_A_ROW = 6  # real scripts stack four at most; more would paint over the value
_JOINERS = "\u200c\u200d"  # the only invisible characters that writing (and family emoji) need


@dataclass(frozen=True)
class VoucherDocument:
    """Everything that is printed, as finished text. Unprintable characters are taken out on the way in.

    `link` is what the QR code holds. `valid_until_text` and `value_text` may be empty (no end, value hidden).
    `identifier` goes into the file, so that the same document gives the same bytes. ValueError names the field
    that is too long or of the wrong form.
    """

    issuer_name: str
    code: str
    link: str
    identifier: str
    value_text: str = ""
    title: str | None = None
    recipient_name: str = ""
    sender_name: str = ""
    message: str = ""
    issuer_lines: tuple[str, ...] = ()
    issuer_contact: tuple[str, ...] = ()
    purchased_on_text: str = ""
    valid_until_text: str = ""
    terms_lines: tuple[str, ...] = ()
    is_test: bool = False
    locale: Literal["de", "en"] = "de"
    layout: str = "classic"
    accent: str = "#8a2c4b"

    def __post_init__(self) -> None:
        for field, value in self.__dict__.items():
            object.__setattr__(self, field, _cleaned(field, value))
        if self.layout not in LAYOUTS:
            raise ValueError(f"layout: unknown, one of {sorted(LAYOUTS)}")
        if self.locale not in ("de", "en"):
            raise ValueError("locale: de or en")
        if not _ACCENT.fullmatch(self.accent):
            raise ValueError("accent: six hexadecimal digits after #")


@dataclass(frozen=True)
class ReadBack:
    """What a reader finds in the finished file: its text, and the payload of every QR code a camera would see."""

    text: str
    qr_payloads: tuple[str, ...]
    pages: int


@dataclass(frozen=True)
class Printed:
    """The finished file, what was read back from it, and its SHA-256 in hexadecimal."""

    pdf: bytes
    read_back: ReadBack
    sha256: str


class Press:
    """One warm renderer. Safe to share between threads: prints queue up. Ends with the process that made it."""

    def __init__(self, *, wall_seconds: float = WALL_SECONDS, prints_per_child: int = PRINTS_PER_CHILD) -> None:
        self._wall_seconds = wall_seconds
        self._prints_per_child = prints_per_child
        self._lock = threading.Lock()
        self._child: Child | None = None

    @property
    def pid(self) -> int | None:
        """The renderer's process, None before the first print: for the system page and for tests."""
        return self._child.pid if self._child else None

    def warm(self) -> None:
        """Start the renderer now, without waiting for it: the first print is then as quick as the others."""
        with self._lock:
            self._running_child()

    def print(self, document: VoucherDocument) -> Printed:
        """The file of `document`. Raises DocumentFailed; a crash is tried once more in a new child."""
        order = json.dumps(asdict(document)).encode()
        with self._lock:
            try:
                return self._printed(order)
            except DocumentFailed as failure:
                if failure.code != "renderer_crashed":
                    raise
            return self._printed(order)

    def close(self) -> None:
        """End the renderer. A later print starts a new one."""
        with self._lock:
            self._drop_child()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _printed(self, order: bytes) -> Printed:
        child = self._running_child()
        try:
            answer, pdf = child.ask(order)
        except BaseException:
            self._drop_child()
            raise
        if child.prints >= self._prints_per_child:
            self._drop_child()
        if "code" in answer:
            raise DocumentFailed(str(answer["code"]), str(answer["detail"]))
        read_back = ReadBack(answer["text"], tuple(answer["qr_payloads"]), answer["pages"])
        return Printed(pdf, read_back, hashlib.sha256(pdf).hexdigest())

    def _running_child(self) -> Child:
        if self._child is None or not self._child.is_alive:
            self._drop_child()
            self._child = Child(self._wall_seconds)
        return self._child

    def _drop_child(self) -> None:
        if self._child is not None:
            self._child.end()
            self._child = None


def differences(document: VoucherDocument, read_back: ReadBack) -> tuple[str, ...]:
    """What the paper says otherwise than the document: of value, code, link, issuer, valid_until. Empty is right.

    What a buyer wrote does not count as proof: a value that stands in the message must be found once more.
    """
    wrong = [
        name
        for name, wanted in (
            ("value", document.value_text),
            ("code", document.code),
            ("valid_until", document.valid_until_text),
        )
        if wanted and not _is_printed(wanted, document, read_back.text)
    ]
    if _letters(document.issuer_name) not in _letters(read_back.text):
        wrong.append("issuer")
    if set(read_back.qr_payloads) != {document.link}:
        wrong.append("link")
    return tuple(wrong)


def printable(text: str) -> str:
    """`text` as it can be printed: NFC, no controls, no direction overrides, no towers of combining marks.

    Line breaks stay, any kind of them as a newline.
    """
    text = re.sub("\r\n?|[\u2028\u2029\x85\x0b\x0c]", "\n", text).replace("\t", " ")
    kept = "".join(character for character in text if character in "\n" + _JOINERS or _has_ink(character))
    kept = re.sub("\n{3,}", "\n\n", unicodedata.normalize("NFC", kept))
    return _without_towers(kept).strip()


def _cleaned(field: str, value: object) -> object:
    if isinstance(value, tuple):
        if len(value) > _MOST_LINES:
            raise ValueError(f"{field}: at most {_MOST_LINES} lines")
        return tuple(text for line in value if (text := _cleaned_text(field, line)))
    return _cleaned_text(field, value) if isinstance(value, str) else value


def _cleaned_text(field: str, text: str) -> str:
    clean = printable(text)
    if field != "message":
        clean = " ".join(clean.split("\n"))
    most = LONGEST_MESSAGE if field == "message" else _LONGEST_FIELD
    if len(clean) > most:
        raise ValueError(f"{field}: at most {most} characters")
    return clean


def _has_ink(character: str) -> bool:
    return unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn")


def _without_towers(text: str) -> str:
    kept, marks = [], 0
    for character in text:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks <= _MOST_MARKS_IN_A_ROW:
            kept.append(character)
    return "".join(kept)


def _is_printed(wanted: str, document: VoucherDocument, text: str) -> bool:
    free = [document.title or "", document.recipient_name, document.sender_name, document.message]
    free += [document.purchased_on_text, document.issuer_name]
    free += document.issuer_lines + document.issuer_contact + document.terms_lines
    return _times_found(wanted, text) > sum(_times_found(wanted, field) for field in free)


def _times_found(wanted: str, text: str) -> int:
    """How often `wanted` stands in `text`, whatever the line breaks, but never as part of a longer number or code."""
    letters = [re.escape(letter) for letter in _plain(wanted) if not letter.isspace()]
    pattern = r"(?<![\w.,−-])(?<!\d[ ])" + r"\s*".join(letters) + r"(?![\w−-]|[.,]\d)"
    return len(re.findall(pattern, _plain(text)))


def _plain(text: str) -> str:
    """One spelling for ligatures and the many blanks; a hyphen at a line's end is a hyphen again."""
    return unicodedata.normalize("NFKC", re.sub("[\x02\ufffe\u00ad]", "-", text)).replace("\r", "\n")


def _letters(text: str) -> str:
    return "".join(letter for letter in _plain(text).casefold() if letter.isalnum())
