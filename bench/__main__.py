"""`python -m bench [name …] [--quick]`: measure the promises and print a line for each."""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import figures, paper, sale, scale, till

PROMISES: dict[str, Callable[[scale.Scale, Path], Iterator[figures.Line]]] = {
    "redeem": till.measure,
    "webhook": sale.measure_webhooks,
    "pdf": paper.measure,
    "mail": sale.measure_mail,
}


def main() -> None:
    """Run what was named, or everything."""
    options = _options()
    print(figures.Line(*figures.HEADINGS))
    for name in options.names or PROMISES:
        with tempfile.TemporaryDirectory(prefix="vouchsafe-bench-") as folder:
            for line in PROMISES[name](scale.QUICK if options.quick else scale.WHOLE, Path(folder)):
                print(line, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"one of {', '.join(PROMISES)}; all without a name")
    parser.add_argument("--quick", action="store_true", help="a look in less than a minute")
    options = parser.parse_args()
    unknown = set(options.names) - set(PROMISES)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: choose from {', '.join(PROMISES)}")
    return options


if __name__ == "__main__":
    main()
