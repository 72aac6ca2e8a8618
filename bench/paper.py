"""`PDF ms`: a realistic voucher in the warm renderer, printed and read back, beside the print alone."""

import time
from collections.abc import Iterator
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

from bench.figures import Line, median, percentile
from bench.scale import Scale
from gateways.document import Press, VoucherDocument

VOUCHER = VoucherDocument(
    issuer_name="Café Messwert",
    code="7KQ4-M2XD-9PVT-3HAF",
    link="https://shop.example/v/abcdefghijklmnopqrstuvwxyz234567",
    identifier="vch_bench",
    value_text="50,00 €",
    title="Wertgutschein",
    recipient_name="Anna Leitner",
    sender_name="Lukas Moser",
    message="Alles Liebe zum Geburtstag!\nGenieß den Kuchen, und nimm auch die Äpfel.",
    issuer_lines=("Lindengasse 12", "1070 Wien"),
    issuer_contact=("+43 1 555 01 20", "hallo@shop.example", "shop.example"),
    purchased_on_text="22.11.2026",
    valid_until_text="22.11.2056",
    terms_lines=("Im Café vorzeigen, vor dem Bezahlen.", "Auch in Teilen einlösbar, der Rest bleibt gutgeschrieben."),
)


def measure(scale: Scale, folder: Path) -> Iterator[Line]:
    """One line, in milliseconds. What the press prints is what the worker mails, read back in the same breath."""
    with get_context("spawn").Pool(1) as pool:
        alone = pool.apply(_print_alone, (scale.prints,))
    whole = print_milliseconds(scale.prints)
    yield Line(
        "PDF ms, warm",
        f"with read-back {median(whole):.0f} ms, p95 {percentile(whole, 0.95):.0f} ms",
        f"print alone {median(alone):.0f} ms",
        f"{median(whole) / median(alone):.1f} ×",
        "≤ 60 ms to print, ≤ 120 ms with read-back",
    )


def print_milliseconds(count: int) -> list[float]:
    """How long each of `count` prints with read-back took, after a first that is not counted."""
    with Press() as press:
        press.print(VOUCHER)
        return [_timed(lambda: press.print(VOUCHER)) for _ in range(count)]


def _print_alone(count: int) -> list[float]:
    # In a child of its own: the renderer's library belongs into no other process.
    from gateways.document_press import Renderer

    renderer, order = Renderer(), asdict(VOUCHER)
    renderer.print(order)
    return [_timed(lambda: renderer.print(order)) for _ in range(count)]


def _timed(call) -> float:  # type: ignore[no-untyped-def]
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000
