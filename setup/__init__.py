"""Everything a fresh machine needs before the shop can run: packages, browser files, fonts, catalogues, Pango.

Each step is a script of its own (`python3 -m setup.assets`) and `python3 -m setup` runs them in order. Nothing outside
the standard library is imported before the step that installs it; a step with nothing to do costs milliseconds.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"


def say(line: str) -> None:
    """One line of progress for the person at the terminal."""
    print(f"· {line}", flush=True)
