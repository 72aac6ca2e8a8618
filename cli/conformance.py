"""`flask conformance run` grades a server of the Vouchers API, `flask conformance watch` the program of a till."""

import contextlib
import json
from dataclasses import asdict

import click

from conformance import grading, paper, watch
from conformance.desk import Desk

_CANNOT_RUN = 2
_LONGEST_ENDING = 12


@click.group("conformance", help="Grade a server of the Vouchers API, or a till's program.")
def group() -> None: ...


@group.command("run")
@click.option("--url", required=True, help="Where the server is, without /api/v1.")
@click.option("--key", envvar="CONFORMANCE_KEY", default="", help="A test key; better from CONFORMANCE_KEY.")
@click.option("--json", "is_json", is_flag=True, help="One JSON document instead of lines.")
def run(url: str, key: str, is_json: bool) -> None:
    """Check a server against the contract. Exits 0 when it conforms, 1 when not, 2 when it cannot be asked."""
    grades = []
    try:
        with contextlib.closing(Desk(url, key.strip())) as desk:
            for grade in grading.grade(desk):
                grades.append(grade)
                if not is_json:
                    click.echo("\n".join(paper.lines_of(grade)))
    except (grading.CannotRun, ValueError) as error:
        click.echo(f"cannot run: {error}", err=True)
        raise SystemExit(_CANNOT_RUN) from error
    click.echo(json.dumps(grading.report(grades), indent=2, ensure_ascii=False) if is_json else paper.total(grades))
    raise SystemExit(any(grade.result == "fail" for grade in grades))


@group.command("watch")
@click.option("--url", required=True, help="Where the server is, without /api/v1.")
@click.option("--port", default=9100, show_default=True, type=click.IntRange(0, 65535), help="Where the kit listens.")
@click.option("--ending", default=None, help="Ending of the test codes, at most 12 letters and digits; else made up.")
@click.option("--patience", default=60.0, show_default=True, help="Seconds that the till may take for its next call.")
@click.option("--settle", default=3.0, show_default=True, help="Seconds of silence after which the till is done.")
@click.option("--json", "is_json", is_flag=True, help="One JSON document at the end; the tasks go to stderr.")
def watch_till(url: str, port: int, ending: str | None, patience: float, settle: float, is_json: bool) -> None:
    """Lead a till's programmer through six scenarios and judge its calls. Exits 0, 1 (a ✗, or not seen) or 2."""
    if ending is not None and not (ending.isascii() and ending.isalnum() and len(ending) <= _LONGEST_ENDING):
        raise click.BadParameter(f"--ending: at most {_LONGEST_ENDING} letters and digits")
    results: list[watch.Result] = []

    def keep(result: watch.Result) -> None:
        results.append(result)
        click.echo("\n".join(paper.lines_of_result(result)), err=is_json)

    try:
        watch.watch(
            url,
            port=port,
            ending=ending or watch.new_ending(),
            patience=patience,
            settle=settle,
            tell=lambda sentence: click.echo(sentence, err=is_json),
            keep=keep,
        )
    except grading.CannotRun as error:
        click.echo(f"cannot run: {error}", err=True)
        raise SystemExit(_CANNOT_RUN) from error
    except KeyboardInterrupt:
        for result in watch.unseen([each.name for each in results]):
            keep(result)
    is_good = all(each.result == "pass" for each in results)
    report = {"conforms": is_good, "scenarios": [asdict(each) for each in results]}
    click.echo(json.dumps(report, indent=2, ensure_ascii=False) if is_json else paper.total(results))
    raise SystemExit(not is_good)


COMMANDS = [group]
