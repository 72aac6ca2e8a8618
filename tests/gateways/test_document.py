"""The voucher as paper: what stands on it, that it can be proved, and that nobody can break or abuse the renderer.

Files are read again here by this test itself, not by the product's own read-back.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pypdfium2
import pytest
import zxingcpp

from gateways.document import (
    DocumentFailed,
    Press,
    Printed,
    ReadBack,
    VoucherDocument,
    differences,
    printable,
)

ROOT = Path(__file__).resolve().parent.parent.parent
MM = 72 / 25.4
VOUCHER = VoucherDocument(
    issuer_name="Café Alba",
    issuer_lines=("Alba Gastronomie GmbH", "Lindengasse 12", "1070 Wien"),
    issuer_contact=("+43 1 555 01 23", "hallo@cafe-alba.example"),
    value_text="50,00\u00a0€",
    recipient_name="Anna Berger",
    sender_name="Lukas",
    message="Liebe Anna,\nalles Gute zum Geburtstag!",
    code="7KQ4-M2XD-9PVT-3HAF",
    link="https://gutscheine.example.org/v/Jm8sT0qXw4nZk2VbR7yLd9cHpF3uEa",
    purchased_on_text="24.11.2026",
    valid_until_text="31.12.2029",
    terms_lines=("Einlösbar im Café Alba. Keine Barablöse.",),
    identifier="vou_1",
)
MARKER = "M4RK3R-of-a-secret-file"


@dataclass(frozen=True)
class Paper:
    """A PDF as somebody else's reader sees it."""

    text: str
    codes: tuple[str, ...]
    code_side_mm: float
    pages: int
    letters: tuple[tuple[str, float, float, float, float], ...]
    size_mm: tuple[int, int]


@pytest.fixture(scope="module")
def press() -> Iterator[Press]:
    with Press() as running:
        try:
            running.print(VOUCHER)
        except DocumentFailed as failure:
            if failure.code == "renderer_missing":
                pytest.skip(failure.detail)
            raise
        yield running


def printed(press: Press, **changes: object) -> Printed:
    document = dataclasses.replace(VOUCHER, **changes)  # type: ignore[arg-type]
    result = press.print(document)
    assert differences(document, result.read_back) == ()
    return result


@pytest.mark.req("S1-14", "S1-15", "S1-16", "S1-17", "S1-18")
def test_everything_stands_on_one_sheet(press: Press) -> None:
    paper = _read(printed(press).pdf)
    assert (paper.pages, paper.size_mm) == (1, (210, 297))
    for said in (
        "Café Alba", "Gutschein", "Anna Berger", "50,00 €", "Liebe Anna,", "alles Gute zum Geburtstag!", "Lukas",
        "7KQ4-M2XD-9PVT-3HAF", "31.12.2029", "24.11.2026", "Lindengasse 12", "1070 Wien", "hallo@cafe-alba.example",
        "Keine Barablöse.", "So wird der Gutschein eingelöst",
    ):  # fmt: skip
        assert said in paper.text
    assert paper.codes == (VOUCHER.link,)
    assert paper.code_side_mm >= 28


def test_an_english_voucher_speaks_english(press: Press) -> None:
    paper = _read(printed(press, locale="en", value_text="€50.00", valid_until_text="31 December 2029").pdf)
    assert "How to use this voucher" in paper.text
    assert "Gutschein" not in paper.text.replace("gutscheine", "")


def test_the_file_is_tagged_and_names_its_language_and_title(press: Press) -> None:
    pdf = printed(press).pdf
    inside = _unpacked(pdf)
    assert b"/Lang (de)" in inside
    assert b"/MarkInfo" in inside
    assert b"pdfuaid" in inside
    with contextlib.closing(pypdfium2.PdfDocument(pdf)) as document:
        assert document.get_metadata_value("Title") == "Gutschein Café Alba"
        assert document.is_tagged()


@pytest.mark.req("S1-20", "F31")
def test_the_same_voucher_gives_the_same_bytes_in_any_process(press: Press) -> None:
    first, second = printed(press), printed(press)
    with Press() as other:
        third = other.print(VOUCHER)
    assert first.pdf == second.pdf == third.pdf
    assert first.sha256 == hashlib.sha256(first.pdf).hexdigest()
    assert printed(press, identifier="vou_2").pdf != first.pdf


def test_a_test_voucher_cannot_be_taken_for_money(press: Press) -> None:
    paper = _read(printed(press, is_test=True).pdf)
    assert "TEST" in paper.text
    assert "Nur Testkassen nehmen ihn an" in paper.text
    assert paper.codes == (VOUCHER.link,)
    assert "TEST" not in _read(printed(press).pdf).text


def test_a_hidden_value_is_not_on_the_paper(press: Press) -> None:
    paper = _read(printed(press, value_text="", title="Abendessen für zwei").pdf)
    assert "Abendessen für zwei" in paper.text
    assert "€" not in paper.text


def test_a_voucher_without_end_says_so(press: Press) -> None:
    assert "unbefristet gültig" in _read(printed(press, valid_until_text="").pdf).text


LONG = {
    "names": {
        "recipient_name": "Univ.-Prof. Dr. Maximiliane Theresia von Hohenberg-Schwarzenfels und Familie",
        "sender_name": "Die Kolleginnen und Kollegen der Abteilung für Rechnungswesen und Steuern",
        "issuer_name": "Gasthaus & Weingut Familie Oberhauser-Steinbrecher, Gumpoldskirchen",
        "value_text": "12.345.678,00\u00a0CHF",
        "message": "",
    },
    "message": {"message": ("Dreißig Jahre Geduld, Humor und sehr viel Kaffee. " * 7)[:300]},
    "longest message": {"message": ("Dreißig Jahre Geduld, Humor und sehr viel Kaffee. " * 10)[:500]},
    "poem": {"message": "\n".join(f"Zeile {number} von mir" for number in range(28))},
    "one word": {"message": "W" * 300},
    "emoji": {"message": "🎂🎉" * 60, "recipient_name": "Zoë 🎂"},
    "endless": {
        "recipient_name": "N" * 500,
        "sender_name": "S" * 500,
        "issuer_name": "I" * 500,
        "title": "T" * 500,
        "message": "W" * 500,
        "terms_lines": ("wort " * 99,) * 8,
    },
}


@pytest.mark.req("F33")
@pytest.mark.parametrize("case", LONG)
def test_nothing_is_cut_or_runs_over_whatever_people_write(press: Press, case: str) -> None:
    paper = _read(printed(press, **LONG[case]).pdf)
    assert paper.pages == 1 or case == "endless"
    right, top = 200.2 * MM, 287.2 * MM
    for letter, left, low, end, high in paper.letters:
        assert left >= 9.8 * MM and end <= right and low >= 9.8 * MM and high <= top, letter
    written = Counter(re.sub(r"\s", "", "".join(value for value in LONG[case].values() if isinstance(value, str))))
    assert not {letter for letter in written - Counter(paper.text) if letter.isascii()}


def test_a_message_shrinks_but_stays_readable(press: Press) -> None:
    sizes = []
    for length in (20, 120, 300, 500):
        document = dataclasses.replace(VOUCHER, message=("ßum Wohl " * 60)[:length])
        sizes.append(_size_of_letter("ß", press.print(document).pdf))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == pytest.approx(18, abs=0.2)
    assert sizes[-1] >= 10.9


@pytest.mark.req("F33")
def test_names_and_messages_of_all_scripts_print(press: Press) -> None:
    for text in (
        "Ελληνικά", "Русский", "Українська", "Հայերեն", "ქართული", "עברית", "العربية", "فارسی", "हिन्दी", "বাংলা",
        "தமிழ்", "తెలుగు", "ಕನ್ನಡ", "മലയാളം", "සිංහල", "ไทย", "ລາວ", "ខ្មែរ", "မြန်မာ", "አማርኛ", "中文", "日本語",
        "한국어", "Tiếng Việt", "Türkçe", "👨‍👩‍👧‍👦🏳️‍🌈", "Z̷̢͎a̵l̶͓g̴̨o" + "\u0301" * 300, "ﬁ ﬂ Ǆ ½ ™",
    ):  # fmt: skip
        printed(press, recipient_name=text, message=f"{text}\n{text}", sender_name=text)


def test_a_shop_of_any_script_can_be_proved(press: Press) -> None:
    for name in ("Café-Restaurant »Zum Fluß« & Söhne", "Καφενείο Αθηνά", "Кафе Алба", "Office & Flair No. 1"):
        printed(press, issuer_name=name)


@pytest.mark.req("S1-07", "F34")
@pytest.mark.parametrize(
    ("found", "wrong"),
    [
        ({"text": "500,00 €"}, ("value",)),
        ({"text": "150,00 €"}, ("value",)),
        ({"text": "1 50,00 €"}, ("value",)),
        ({"text": "-50,00 €"}, ("value",)),
        ({"text": "50,00 $"}, ("value",)),
        ({"text": ""}, ("value",)),
        ({"text": "50,00\u202f€"}, ()),
        ({"text": "50,00\r\n€"}, ()),
        ({"code": "7KQ4-M2XD-9PVT-3HAE"}, ("code",)),
        ({"code": "7KQ4-M2XD-9PVT-3HAFX"}, ("code",)),
        ({"code": "7KQ4-M2XD-\ufffe9PVT-3HAF".replace("-\ufffe", "\ufffe")}, ()),
        ({"until": "31.12.2028"}, ("valid_until",)),
        ({"until": "31.12.20291"}, ("valid_until",)),
        ({"issuer": "Café Albe"}, ("issuer",)),
        ({"issuer": "CAFÉ\nALBA"}, ()),
        ({"qr": ()}, ("link",)),
        ({"qr": ("https://evil.example/v/1",)}, ("link",)),
        ({"qr": (VOUCHER.link, "https://evil.example/v/1")}, ("link",)),
        (
            {"text": "", "code": "", "until": "", "issuer": "", "qr": ()},
            ("value", "code", "valid_until", "issuer", "link"),
        ),
    ],
)
def test_a_difference_on_the_paper_is_found(found: dict[str, object], wrong: tuple[str, ...]) -> None:
    seen = {"text": "50,00 €", "code": VOUCHER.code, "until": "31.12.2029", "issuer": "Café Alba"} | found
    text = f"{seen['issuer']}\nfür Anna 2026\n{seen['text']}\nCode {seen['code']}\ngültig bis {seen['until']}."
    codes = found.get("qr", (VOUCHER.link,))
    assert differences(VOUCHER, ReadBack(text, codes, 1)) == wrong  # type: ignore[arg-type]


@pytest.mark.req("S1-07")
def test_a_value_in_the_message_proves_nothing() -> None:
    document = dataclasses.replace(VOUCHER, message="50,00 € für dich, Code 7KQ4-M2XD-9PVT-3HAF, bis 31.12.2029")
    text = f"Café Alba\n5,00 €\n{document.message}\nAAAA-M2XD-9PVT-3HAF\ngültig bis 31.12.2028"
    assert differences(document, ReadBack(text, (VOUCHER.link,), 1)) == ("value", "code", "valid_until")
    right = text + "\n50,00 €\n7KQ4-M2XD-9PVT-3HAF\n31.12.2029"
    assert differences(document, ReadBack(right, (VOUCHER.link,), 1)) == ()


def test_only_fields_of_the_right_form_become_a_document() -> None:
    for bad in (
        {"accent": "red"}, {"accent": "#8a2c4b;}"}, {"layout": "../classic"}, {"locale": "fr"},
        {"message": "x" * 501}, {"recipient_name": "x" * 501}, {"terms_lines": ("x",) * 41},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=next(iter(bad))):
            dataclasses.replace(VOUCHER, **bad)  # type: ignore[arg-type]


def test_what_cannot_be_printed_is_taken_out() -> None:
    assert printable("a\x00b\x1b[0m\u202ec\ud800\ufffe\u200bd\ue000") == "ab[0mcd"
    assert printable("a\r\nb\rc\u2028d\n\n\n\ne") == "a\nb\nc\nd\n\ne"
    assert printable("👨\u200d👩\u200d👧") == "👨\u200d👩\u200d👧"
    assert len(printable("o" + "\u0301" * 100_000)) < 10
    assert dataclasses.replace(VOUCHER, recipient_name="Anna\nBerger\x07").recipient_name == "Anna Berger"


HOSTILE = {
    "link attachment": '<link rel=attachment href="{file}">',
    "a attachment": '<a rel=attachment href="{file}">x</a>',
    "img": '<img src="{http}"><img src="{file}">',
    "redirect": '<img src="{http}redirect">',
    "import": "<style>@import url({http}a.css);@import url({file});</style>",
    "url": '<p style="background:url({http})">x</p>',
    "content": "<style>p::before{{content:url({http})}}</style><p>x</p>",
    "font-face": "<style>@font-face{{font-family:x;src:url({http}a.ttf),url({file})}}p{{font:9px x}}</style><p>x</p>",
    "svg image": '<svg xmlns="http://www.w3.org/2000/svg"><image href="{http}"/><image href="{file}"/></svg>',
    "object": '<object data="{http}"></object><object data="{file}" type="text/plain"></object>',
    "embed": '<embed src="{http}"><embed src="{file}">',
    "stylesheet": '<link rel=stylesheet href="{http}a.css"><link rel=stylesheet href="{file}">',
    "base": '<base href="{http}"><img src="a.png"><link rel=stylesheet href="b.css">',
    "data svg": "<img src=\"data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg'><image href='{http}'/></svg>\">",
    "font by path": "<style>@font-face{{font-family:x;src:url(font:../../../app.css)}}p{{font:9px x}}</style><p>x</p>",
    "eps": '<img src="data:image/png;base64,JSFQUy1BZG9iZS0zLjAgRVBTRi0zLjAK">',
}


@pytest.fixture(scope="module")
def trap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, str], list[str]]]:
    """Where hostile pages point to: a secret file, and a listener that counts whoever calls."""
    secret = tmp_path_factory.mktemp("secret") / "secret.txt"
    secret.write_text(MARKER)
    callers: list[str] = []
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=_listen, args=(listener, callers), daemon=True)
        thread.start()
        yield {"file": secret.as_uri(), "http": f"http://127.0.0.1:{listener.getsockname()[1]}/"}, callers
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@pytest.mark.req("T10", "S1-17")
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_printed_as_text(press: Press, trap: tuple[dict[str, str], list[str]], name: str) -> None:
    places, callers = trap
    payload = HOSTILE[name].format(**places)
    pdf = printed(press, message=payload, recipient_name=payload[:100], sender_name="{{7*7}}", title="%(x)s").pdf
    assert MARKER.encode() not in _unpacked(pdf)
    text = re.sub(r"\s", "", _read(pdf).text)
    assert re.sub(r"[\s-]", "", payload[:60]) in text.replace("-", "")
    assert "{{7*7}}" in text
    assert callers == []


@pytest.mark.req("T10")
def test_even_a_hostile_page_reaches_no_file_and_no_network(
    press: Press, trap: tuple[dict[str, str], list[str]]
) -> None:
    places, callers = trap
    pages = [f"<html lang=de><title>x</title><body>{page.format(**places)}" for page in HOSTILE.values()]
    results = _rendered(pages)
    assert [result["outcome"] for result in results] == ["printed"] * len(pages)
    assert callers == []
    for result in results:
        assert MARKER.encode() not in _unpacked(bytes.fromhex(result["pdf"]))


@pytest.mark.req("T11", "F32")
def test_a_page_without_end_is_refused(press: Press) -> None:
    tiny, deep = _rendered(
        ["<style>@page{size:1mm 1mm;margin:0}</style>" + "x " * 300, "<div>" * 3000 + "x"]
    )  # fmt: skip
    assert tiny["outcome"] == "DocumentFailed too_many_pages"
    assert deep["outcome"] in ("RecursionError", "printed")


@pytest.mark.req("F32", "T11")
def test_the_renderer_lives_within_limits_and_without_secrets(press: Press, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIPE_KEY", "sk_live_secret")
    with Press() as fresh:
        fresh.print(VOUCHER)
        process = Path(f"/proc/{fresh.pid}")
        limits = {line[:26].strip(): line[26:].split() for line in (process / "limits").read_text().splitlines()}
        assert int(limits["Max address space"][0]) <= 1 << 30
        assert int(limits["Max cpu time"][0]) <= 60
        assert b"sk_live_secret" not in (process / "environ").read_bytes()
        memory = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        assert int(memory["VmHWM"].split()[0]) < 200 * 1024


def test_the_renderer_never_loads_into_the_shop(press: Press) -> None:
    code = (
        "import sys; from gateways.document import *; from tests.gateways.test_document import VOUCHER\n"
        "with Press() as press: press.print(VOUCHER)\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('weasyprint', 'fontTools', 'pydyf')])"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert run.stdout.strip() == "[]", run.stderr


@pytest.mark.req("F32")
def test_a_dead_renderer_is_replaced(press: Press) -> None:
    before = press.pid
    assert before
    os.kill(before, signal.SIGKILL)
    assert printed(press).pdf
    assert press.pid != before


@pytest.mark.req("F32")
def test_a_renderer_that_dies_at_work_gets_one_more_chance(press: Press) -> None:
    expected = printed(press).sha256
    first = press.pid
    assert first
    os.kill(first, signal.SIGSTOP)
    killer = threading.Timer(0.5, os.kill, (first, signal.SIGKILL))
    killer.start()
    assert printed(press).sha256 == expected
    killer.join()
    assert press.pid != first


@pytest.mark.req("F32")
def test_a_renderer_that_hangs_is_given_up_in_time() -> None:
    with Press(wall_seconds=20) as hanging:
        hanging.print(VOUCHER)
        pid = hanging.pid
        assert pid
    with Press(wall_seconds=0.01) as hurried:
        begun = time.monotonic()
        with pytest.raises(DocumentFailed) as caught:
            hurried.print(VOUCHER)
        assert caught.value.code == "renderer_timeout"
        assert time.monotonic() - begun < 5
    assert not _is_running(pid)


def test_a_renderer_is_replaced_after_so_many_prints(press: Press) -> None:
    with Press(prints_per_child=2) as changing:
        pids = []
        for _ in range(4):
            changing.warm()
            pids.append(changing.pid)
            changing.print(VOUCHER)
    assert len(set(pids)) == 2
    assert not any(_is_running(pid) for pid in pids if pid)


@pytest.mark.req("F32")
def test_the_renderer_ends_with_the_process_that_started_it() -> None:
    code = (
        "import os, signal; from gateways.document import Press\n"
        "press = Press(); press.warm(); print(press.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    pid = int(run.stdout)
    deadline = time.monotonic() + 10
    while _is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _is_running(pid)


def test_many_threads_share_one_press(press: Press) -> None:
    numbers = [f"7KQ4-M2XD-9PVT-{number:04d}" for number in range(12)]
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda code: printed(press, code=code, identifier=code), numbers))
    for code, result in zip(numbers, results, strict=True):
        assert code in _read(result.pdf).text


def _read(pdf: bytes) -> Paper:
    texts, codes, letters, sides = [], [], [], [0.0]
    with contextlib.closing(pypdfium2.PdfDocument(pdf)) as document:
        for page in document:
            text = page.get_textpage()
            texts.append(text.get_text_range())
            letters += [
                (text.get_text_range(index, 1), *text.get_charbox(index)) for index in range(text.count_chars())
            ]
            size = tuple(round(side / MM) for side in page.get_size())
            scale = 200 / 72
            picture = page.render(scale=scale).to_pil()
            for code in zxingcpp.read_barcodes(picture):
                codes.append(code.text)
                sides.append((code.position.top_right.x - code.position.top_left.x) / scale / MM)
            text.close()
        count = len(document)
    visible = tuple(letter for letter in letters if letter[0].strip() and letter[1:] != (0, 0, 0, 0))
    plain = re.sub("[\x02\ufffe]", "-", "\n".join(texts).replace("\r\n", "\n").replace("\u00a0", " "))
    return Paper(plain, tuple(codes), max(sides), count, visible, size)  # type: ignore[arg-type]


def _size_of_letter(letter: str, pdf: bytes) -> float:
    """The size in points in which `letter` first stands on the page."""
    with contextlib.closing(pypdfium2.PdfDocument(pdf)) as document:
        text = document[0].get_textpage()
        index = text.get_text_range().index(letter)
        size = float(pypdfium2.raw.FPDFText_GetFontSize(text.raw, index))
        text.close()
    return size * 0.75  # the page is drawn in CSS pixels


def _unpacked(pdf: bytes) -> bytes:
    """The file with all its streams unpacked behind it."""
    parts = [pdf]
    for stream in re.finditer(rb"stream\r?\n(.*?)\r?\nendstream", pdf, flags=re.S):
        with contextlib.suppress(zlib.error):
            parts.append(zlib.decompress(stream[1]))
    return b"\n".join(parts)


def _rendered(pages: list[str]) -> list[dict[str, str]]:
    """Whole pages through the renderer's own fetcher and limits, in a process of their own."""
    code = (
        "import json, sys\n"
        "from gateways.document_press import Renderer\n"
        "renderer, results = Renderer(), []\n"
        "for page in json.load(sys.stdin):\n"
        "    try:\n"
        "        pdf = renderer.render(page, layout='classic', identifier='x')\n"
        "        results.append({'outcome': 'printed', 'pdf': pdf.hex()})\n"
        "    except Exception as error:\n"
        "        outcome = ' '.join([type(error).__name__, getattr(error, 'code', '')]).strip()\n"
        "        results.append({'outcome': outcome, 'pdf': ''})\n"
        "json.dump(results, sys.stdout)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, input=json.dumps(pages), capture_output=True, text=True, timeout=100
    )
    assert run.returncode == 0, run.stderr[-2000:]
    results: list[dict[str, str]] = json.loads(run.stdout)
    return results


def _listen(listener: socket.socket, callers: list[str]) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, address = listener.accept()
            callers.append(str(address))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            connection.close()


def _is_running(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
