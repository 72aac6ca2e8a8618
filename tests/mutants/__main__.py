"""`python -m tests.mutants [id …]`: take a rule out of a copy of the product and see its test fail.

Prints a line for each: `caught`, `SURVIVED` (the test passes without the rule) or `STALE` (the rule's text is gone).
Exit code 1 unless every one was caught.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.mutants.rules import RULES, Rule

ROOT = Path(__file__).resolve().parents[2]
# Shared with the copy: they are large and nobody writes there.
LINKED = (".venv", "static/vendor")
NOTHING_RAN = 5


def main() -> None:
    """Run the chosen rules, or all."""
    options = _options()
    chosen = [rule for rule in RULES if not options.ids or rule.id in options.ids or rule.name in options.ids]
    if not chosen:
        sys.exit("no rule has this id")
    with tempfile.TemporaryDirectory(prefix="vouchsafe-mutants-") as folder:
        house = Path(folder, "house")
        _copy(house)
        outcomes = [_run(rule, house) for rule in chosen]
    caught = outcomes.count("caught")
    print(f"{caught} of {len(outcomes)} caught")
    sys.exit(0 if caught == len(outcomes) else 1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("ids", nargs="*", help="ids (F38) or names of rules; all without one")
    return parser.parse_args()


def _copy(house: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.split("\n"):
        if name and (ROOT / name).is_file():
            (house / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, house / name)
    for compiled in ROOT.glob("translations/*/LC_MESSAGES/*.mo"):
        shutil.copy2(compiled, house / compiled.relative_to(ROOT))
    for name in LINKED:
        (house / name).symlink_to(ROOT / name, target_is_directory=True)


def _run(rule: Rule, house: Path) -> str:
    path = house / rule.file
    sound = path.read_text()
    if sound.count(rule.rule) != 1:
        outcome, seconds = "STALE", 0.0
    else:
        path.write_text(sound.replace(rule.rule, rule.without))
        began = time.monotonic()
        outcome, seconds = _outcome(rule, house), time.monotonic() - began
        path.write_text(sound)
    print(f"{outcome:9} {rule.id:5} {rule.name} ({seconds:.0f} s)", flush=True)
    return outcome


def _outcome(rule: Rule, house: Path) -> str:
    command = [str(house / ".venv/bin/python"), "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *rule.tests]
    environment = {name: value for name, value in os.environ.items() if name != "REQUIRE_ALL"}
    ran = subprocess.run(command, cwd=house, env=environment, capture_output=True, text=True)
    if ran.returncode == NOTHING_RAN:
        return "STALE"
    return "SURVIVED" if ran.returncode == 0 else "caught"


if __name__ == "__main__":
    main()
