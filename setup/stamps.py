"""Small files that remember what a step was done for, so that it is done again only when that changes."""

import hashlib
from pathlib import Path


def digest(*parts: str | bytes) -> str:
    """SHA-256 of the parts, in hexadecimal; the order counts."""
    whole = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        whole.update(len(data).to_bytes(8, "big") + data)
    return whole.hexdigest()


def is_current(stamp: Path, wanted: str) -> bool:
    """Whether the step that wrote this stamp was done for exactly this digest."""
    return stamp.is_file() and stamp.read_text() == wanted


def write(stamp: Path, wanted: str) -> None:
    """Remember the digest; written last, so that a step that was cut off is done again."""
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(wanted)
