"""What a person with a printout and a scanner sees of a PDF: its text, and what its QR code holds."""

import re

import pypdfium2
import zxingcpp

_CODE = re.compile(r"\b([0-9A-HJKMNP-TV-Z]{4}(?:-[0-9A-HJKMNP-TV-Z]{4}){3})\b")


def text_of(pdf: bytes) -> str:
    """All text of all pages."""
    document = pypdfium2.PdfDocument(pdf)
    try:
        return "\n".join(page.get_textpage().get_text_bounded() for page in document)
    finally:
        document.close()


def code_of(pdf: bytes) -> str:
    """The printed voucher code, in groups."""
    found = _CODE.search(text_of(pdf))
    assert found, "no code is printed"
    return found.group(1)


def qr_of(pdf: bytes, *, dpi: int = 150) -> str:
    """What a scanner reads from the first page."""
    document = pypdfium2.PdfDocument(pdf)
    try:
        picture = document[0].render(scale=dpi / 72).to_pil().convert("L")
    finally:
        document.close()
    (code,) = zxingcpp.read_barcodes(picture)
    return str(code.text)
