"""What the tests of set-up build and run: wheels of a few bytes, and Python at the top of a small checkout."""

import base64
import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path


def make_wheel(shelf: Path, name: str, files: dict[str, bytes], *, version: str = "1.0") -> str:
    """Put a wheel on the shelf and return its SHA-256."""
    info = f"{name}-{version}.dist-info"
    contents = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = [f"{path},sha256={_row_hash(data)},{len(data)}" for path, data in contents.items()]
    path = shelf / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for inside, data in contents.items():
            wheel.writestr(inside, data)
        wheel.writestr(f"{info}/RECORD", "\n".join([*rows, f"{info}/RECORD,,", ""]))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run_python(checkout: Path, *arguments: str, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    """Run Python at the top of that checkout."""
    return subprocess.run(
        (python, *arguments), cwd=checkout, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def _row_hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
