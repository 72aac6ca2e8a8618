"""The renderer's own process: reads orders from its input, answers with a PDF and what it read back from it.

Started by `gateways.document` as `python -m gateways.document_press <pid of the starter>`, never imported by the shop.
Whatever a buyer typed, nothing is loaded from a file or the network: pictures come as data, fonts from our own folder.
"""

import contextlib
import json
import os
import queue
import re
import resource
import select
import sys
import threading
import time
import warnings
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import IO, Any
from urllib.request import DataHandler, Request

import jinja2
import segno

from gateways import document_sizes, native
from gateways.document import ReadBack, VoucherDocument
from gateways.document_child import DocumentFailed

MEMORY_BYTES = 768 << 20  # of addresses; a page of four needs 365 MiB
CPU_SECONDS = 20
MOST_PAGES = 4

_ROOT = Path(__file__).resolve().parent.parent
_LAYOUTS = _ROOT / "templates" / "pdf"
_FONTS = _ROOT / "static" / "vendor" / "fonts"
_PICTURES = ("data:image/png;base64,", "data:image/jpeg;base64,")
_FORBIDDEN = ("socket.", "subprocess.", "os.exec", "os.posix_spawn", "os.system", "os.fork", "http.client.", "ftplib.")
_READING_DPI = 120
_QUIET_MODULES = 4
_MASK = 2  # choosing the best of eight costs more than all the rest of the drawing; the read-back checks this one
_FACES = {
    "SourceSerifPro-Regular.ttf": ("Voucher Serif", "normal", 400),
    "SourceSerifPro-It.ttf": ("Voucher Serif", "italic", 400),
    "SourceSerifPro-Semibold.ttf": ("Voucher Serif", "normal", 600),
    "IBMPlexMono-Medium.ttf": ("Voucher Mono", "normal", 500),
}
_OTHER_SCRIPTS = ("NotoEmoji.ttf", "NotoSans*.ttf", "DejaVuSans.ttf")  # in this order, each a family of its own
_SYSTEM = ("Liberation Serif", "DejaVu Serif")
_HOW_TO_INSTALL = (
    "The PDF renderer needs Pango: apt install libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 "
    "(macOS: brew install pango), then run `make setup` for the fonts."
)


class Renderer:
    """WeasyPrint with everything that can be made once made once. Raises DocumentFailed(renderer_missing)."""

    def __init__(self) -> None:
        self._weasyprint = _import_weasyprint()
        self._fetcher = _locked_fetcher(self._weasyprint)
        self._fonts = self._weasyprint.text.fonts.FontConfiguration()
        self._styles: dict[str, Any] = {}

    def print(self, order: dict[str, Any]) -> bytes:
        """The PDF of the fields of a `VoucherDocument`."""
        template = _templates().get_template(f"{order['layout']}/voucher.html")
        page = template.render(
            order,
            words=_words(order["layout"])[order["locale"]],
            qr=_qr_drawing(order["link"]),
            **document_sizes.of(order),
        )
        return self.render(page, layout=order["layout"], identifier=order["identifier"])

    def render(self, page: str, *, layout: str, identifier: str) -> bytes:
        """The PDF of a whole HTML page in the dress of `layout`."""
        source = self._weasyprint.HTML(string=page, url_fetcher=self._fetcher)
        document = source.render(font_config=self._fonts, stylesheets=[self._style(layout)])
        if len(document.pages) > MOST_PAGES:
            raise DocumentFailed("too_many_pages", f"{len(document.pages)} pages, at most {MOST_PAGES}.")
        return bytes(document.write_pdf(pdf_variant="pdf/ua-1", pdf_identifier=identifier.encode()))

    def _style(self, layout: str) -> Any:
        if layout not in self._styles:
            faces, families = _font_faces()
            rules = (_LAYOUTS / layout / "style.css").read_text("utf-8")
            self._styles[layout] = self._weasyprint.CSS(
                string=faces + rules.replace("FONTS-SERIF", families["serif"]).replace("FONTS-MONO", families["mono"]),
                font_config=self._fonts,
                url_fetcher=self._fetcher,
            )
        return self._styles[layout]


def read_back(pdf: bytes) -> ReadBack:
    """What a reader finds in `pdf`: text in order, QR codes as a camera sees them on the picture of each page."""
    import pypdfium2
    import zxingcpp

    texts, payloads = [], []
    with contextlib.closing(pypdfium2.PdfDocument(pdf)) as document:
        for page in document:
            with contextlib.closing(page.get_textpage()) as text_page:
                texts.append(text_page.get_text_bounded())
            picture = page.render(scale=_READING_DPI / 72, grayscale=True)
            pixels = memoryview(picture.buffer).cast("B", (picture.height, picture.stride))
            codes = zxingcpp.read_barcodes(
                pixels,
                formats=zxingcpp.BarcodeFormats([zxingcpp.BarcodeFormat.QRCode]),
                try_rotate=False,
                try_invert=False,
            )
            payloads += [code.text for code in codes]
            picture.close()
        return ReadBack("\n".join(texts), tuple(payloads), len(document))


def serve() -> None:
    """Answer orders from standard input until it closes or the starter is gone."""
    orders, answers = _private_streams()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        renderer = Renderer()
        _warm_up(renderer)
    except DocumentFailed as failure:
        _send(answers, {"code": failure.code, "detail": failure.detail})
        return
    _close_the_doors()
    _send(answers, {"ready": True})
    while True:
        order = orders.get()
        _allow_cpu()
        _send(answers, *_answer(renderer, json.loads(order)))


def _answer(renderer: Renderer, order: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    try:
        pdf = renderer.print(order)
        found = read_back(pdf)
    except DocumentFailed as failure:
        return {"code": failure.code, "detail": failure.detail}, b""
    except MemoryError:
        os._exit(3)  # whatever it left behind is not to be trusted with the next page
    except Exception as error:  # the starter must always hear something
        return {"code": "render_error", "detail": f"{type(error).__name__}: {error}"[:400]}, b""
    return {"text": found.text, "qr_payloads": found.qr_payloads, "pages": found.pages}, pdf


def _private_streams() -> tuple["queue.SimpleQueue[bytes]", IO[bytes]]:
    """Orders and answers on descriptors of their own, so that no library prints into an answer."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    orders: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(orders, int(sys.argv[1])), daemon=True).start()
    return orders, answers


def _listen(orders: "queue.SimpleQueue[bytes]", starter: int) -> None:
    """Pass on orders; end the whole process, even in mid-page, as soon as nobody waits for the answer."""
    while True:
        ready, _, _ = select.select([0], [], [], 2.0)
        if os.getppid() != starter:
            os._exit(0)
        if ready:
            orders.put(_take(int.from_bytes(_take(4), "big")))


def _take(count: int) -> bytes:
    parts = []
    while count:
        part = os.read(0, count)
        if not part:
            os._exit(0)
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _send(answers: IO[bytes], head: dict[str, Any], pdf: bytes = b"") -> None:
    frame = json.dumps(head | {"size": len(pdf)}).encode()
    answers.write(len(frame).to_bytes(4, "big") + frame + pdf)
    answers.flush()


def _allow_cpu() -> None:
    used = time.process_time()
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used) + CPU_SECONDS, hard))


def _close_the_doors() -> None:
    """From here on no code in this process can open a connection or start a program."""

    def refuse(event: str, _arguments: tuple[Any, ...]) -> None:
        if event.startswith(_FORBIDDEN):
            raise PermissionError(f"the renderer may not do {event}")

    sys.addaudithook(refuse)


def _import_weasyprint() -> Any:
    try:
        native.preload()
        with warnings.catch_warnings(record=True) as complaints:
            warnings.simplefilter("always")
            import weasyprint
    except OSError as error:
        raise DocumentFailed("renderer_missing", f"{_HOW_TO_INSTALL} ({error})"[:600]) from error
    without_system_fonts = any("FontConfig" in str(complaint.message) for complaint in complaints)
    if without_system_fonts and not _bundled_faces():
        raise DocumentFailed("renderer_missing", f"There is no font at all. {_HOW_TO_INSTALL}")
    weasyprint.LOGGER.setLevel("CRITICAL")
    return weasyprint


def _locked_fetcher(weasyprint: Any) -> Any:
    """The only door to the outside: pictures that are already in the page, and our fonts by name."""
    from weasyprint.urls import URLFetcher, URLFetcherResponse

    class LockedFetcher(URLFetcher):  # type: ignore[misc]
        def fetch(self, url: str, headers: dict[str, str] | None = None) -> Any:
            if url.startswith(_PICTURES):
                response = DataHandler().data_open(Request(url))  # noqa: S310 - holds its data
                return URLFetcherResponse(url, response.read(), {"Content-Type": url[5 : url.index(";")]})
            name = url.removeprefix("font:")
            if name != url and name in _bundled_faces():
                return URLFetcherResponse(url, (_FONTS / name).read_bytes(), {"Content-Type": "font/ttf"})
            raise ValueError("nothing is loaded from there")

    return LockedFetcher(allowed_protocols=("data", "font"), allow_redirects=False)


@cache
def _bundled_faces() -> dict[str, tuple[str, str, int]]:
    """File → (family, style, weight) of the fonts that set-up has put in place."""
    others = [path for pattern in _OTHER_SCRIPTS for path in sorted(_FONTS.glob(pattern))]
    faces = _FACES | {path.name: (f"Voucher {path.stem}", "normal", 400) for path in others}
    return {name: face for name, face in faces.items() if (_FONTS / name).is_file()}


def _font_faces() -> tuple[str, dict[str, str]]:
    """The @font-face rules, and the families by name: never a generic one, that crashes Pango."""
    faces = _bundled_faces()
    rules = "".join(
        f"@font-face{{font-family:'{family}';font-style:{style};font-weight:{weight};src:url(font:{name})}}"
        for name, (family, style, weight) in faces.items()
    )
    others = [family for name, (family, _, _) in faces.items() if name not in _FACES] + list(_SYSTEM)
    return rules, {
        kind: ",".join(f"'{family}'" for family in (first, *others))
        for kind, first in (("serif", "Voucher Serif"), ("mono", "Voucher Mono"))
    }


@cache
def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_LAYOUTS), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )


@cache
def _words(layout: str) -> dict[str, dict[str, Any]]:
    words: dict[str, dict[str, Any]] = json.loads((_LAYOUTS / layout / "words.json").read_text("utf-8"))
    return words


def _qr_drawing(link: str) -> tuple[int, str]:
    """Modules per side with 4 of quiet zone around, and the path of the dark ones in an SVG of that size."""
    code = segno.make(link, error="m", mask=_MASK, micro=False, boost_error=False)
    runs = (
        f"M{run.start() + _QUIET_MODULES} {row}h{len(run[0])}v1h-{len(run[0])}z"
        for row, modules in enumerate(code.matrix, start=_QUIET_MODULES)
        for run in re.finditer(b"\1+", bytes(modules))
    )
    return len(code.matrix) + 2 * _QUIET_MODULES, "".join(runs)


def _warm_up(renderer: Renderer) -> None:
    """A first page loads the fonts and the readers, so that the first buyer does not wait for them."""
    sample = VoucherDocument(
        issuer_name="Vouchsafe", code="0000-0000-0000-0000", link="https://example.org/v/0", identifier="0",
        value_text="50,00 €", recipient_name="Anna", sender_name="Lukas", message="Äöüß", valid_until_text="1.1.2030",
    )  # fmt: skip
    read_back(renderer.print(asdict(sample)))


if __name__ == "__main__":
    serve()
