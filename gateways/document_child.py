"""The renderer as seen from the process that starts it: one question, one answer, or a DocumentFailed in time."""

import contextlib
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any, cast

_ROOT = Path(__file__).resolve().parent.parent


class DocumentFailed(Exception):
    """No file was made.

    `code` is one of renderer_missing (needs an installation, `detail` says which), renderer_crashed and
    renderer_timeout (worth another try), too_many_pages, render_error (the same input fails again).
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class Child:
    """The process, and the one question at a time that it answers.

    Frames, both ways: four bytes length, a JSON head, and after an answer's head the bytes of the file.
    """

    def __init__(self, wall_seconds: float) -> None:
        self.prints = 0
        self._wall_seconds = wall_seconds
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gateways.document_press", str(os.getpid())],
            cwd=_ROOT,
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
        )
        self._to_child = cast("IO[bytes]", self._process.stdin)
        self._from_child = cast("IO[bytes]", self._process.stdout)
        self._is_greeted = False

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def ask(self, order: bytes) -> tuple[dict[str, Any], bytes]:
        """The answer to `order` and the file. Raises DocumentFailed when the child dies, hangs or cannot start."""
        if not self._is_greeted:
            self._greet()
        self.prints += 1
        try:
            self._to_child.write(len(order).to_bytes(4, "big") + order)
            self._to_child.flush()
        except OSError:
            raise self._crashed() from None
        return self._answer(time.monotonic() + self._wall_seconds)

    def end(self) -> None:
        """Kill it, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        for stream in (self._from_child, self._complaints):
            stream.close()
        with contextlib.suppress(OSError):  # it may still hold an order for a child that is gone
            self._to_child.close()

    def _greet(self) -> None:
        greeting, _ = self._answer(time.monotonic() + self._wall_seconds)
        if "code" in greeting:
            raise DocumentFailed(str(greeting["code"]), str(greeting["detail"]))
        self._is_greeted = True

    def _answer(self, deadline: float) -> tuple[dict[str, Any], bytes]:
        length = int.from_bytes(self._read(4, deadline), "big")
        head = json.loads(self._read(length, deadline))
        return head, self._read(int(head["size"]), deadline)

    def _read(self, count: int, deadline: float) -> bytes:
        parts = []
        with selectors.DefaultSelector() as selector:
            selector.register(self._from_child, selectors.EVENT_READ)
            while count:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise DocumentFailed("renderer_timeout", f"No page after {self._wall_seconds:g} s.")
                part = os.read(self._from_child.fileno(), min(count, 1 << 16))
                if not part:
                    raise self._crashed()
                parts.append(part)
                count -= len(part)
        return b"".join(parts)

    def _crashed(self) -> DocumentFailed:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        ending = self._process.poll()
        self._complaints.seek(0)
        last_words = self._complaints.read().decode(errors="replace").strip()[-400:]
        return DocumentFailed("renderer_crashed", f"The renderer ended with {ending}. {last_words}".strip())


def _environment() -> dict[str, str]:
    """Only what a renderer needs: none of the shop's secrets. A fixed hash seed keeps the bytes the same."""
    kept = ("PATH", "LD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH", "HOME", "TMPDIR", "SYSTEMROOT", "FONTCONFIG_FILE")
    return {name: os.environ[name] for name in kept if name in os.environ} | {
        "PYTHONHASHSEED": "0",
        "PYTHONUTF8": "1",
        "LC_ALL": "C.UTF-8",
    }
