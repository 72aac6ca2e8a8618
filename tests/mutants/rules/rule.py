"""What a rule is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """`rule` stands in `file` exactly once; `without` replaces it. `tests` are pytest's arguments."""

    id: str
    name: str
    file: str
    rule: str
    without: str
    tests: tuple[str, ...]


def tests_of(file: str, words: str = "", *, engine: str = "") -> tuple[str, ...]:
    """The tests of a file whose names hold `words` (as pytest's -k understands them), on one engine if named."""
    chosen = " and ".join(f"({part})" for part in (words, engine) if part)
    return (file, "-k", chosen) if chosen else (file,)
