"""The programs of the documentation, run as a reader runs them: against a real server, over a line that loses answers.

curl comes with the machine, Python is this one, Node with the browser tests. PHP is run where there is one.
"""

import contextlib
import http.client
import http.server
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import playwright
import pytest

import config
from blueprints.docs import samples
from domain import api_keys
from domain.api_keys import Scope
from models import Entry, Merchant, Voucher
from tests import cast, webserver

NODE = Path(playwright.__file__).parent / "driver" / "node"
RUNNERS = {"sh": ["sh"], "py": [sys.executable], "mjs": [str(NODE)], "php": ["php"]}
LANGUAGES = ["sh", "py", "mjs", *(["php"] if shutil.which("php") else [])]


class Program:
    """The samples of one language, with the address and the key of a till in their environment."""

    def __init__(self, language: str, port: int, secret: str) -> None:
        self.language = language
        self.environment = os.environ | {"VOUCHSAFE_URL": f"http://127.0.0.1:{port}", "VOUCHSAFE_KEY": secret}

    def run(self, name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [*RUNNERS[self.language], str(samples.FOLDER / f"{name}.{self.language}"), *arguments]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, encoding="utf-8", timeout=60
        )

    def says(self, name: str, *arguments: str) -> str:
        """What a program prints that does its work."""
        done = self.run(name, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


class LossyLine(http.server.ThreadingHTTPServer):
    """A line to the server that carries every request there, and loses the answers to the next `losses` bookings."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Carrier)
        self.server_side, self.losses, self.carried = port, 0, []

    carried: list[tuple[str, str | None]]


class _Carrier(http.server.BaseHTTPRequestHandler):
    server: LossyLine

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.carried.append((self.path, self.headers["Idempotency-Key"]))
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.server_side, timeout=30)
        upstream.request("POST", self.path, body=body, headers=dict(self.headers))
        answer = upstream.getresponse()
        content = answer.read()
        upstream.close()
        if self.server.losses:
            self.server.losses -= 1
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name in ("Content-Type", "Retry-After", "Idempotent-Replayed"):
            if answer.headers[name]:
                self.send_header(name, answer.headers[name])
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


class _Server(webserver.Server):
    def _is_up(self) -> bool:
        with contextlib.closing(webserver.Line(self.port)) as line:
            try:
                return line.send("GET", "/healthz", {}).status == 200
            except OSError:
                return False


@contextlib.contextmanager
def _running(settings: config.Settings) -> Iterator[_Server]:
    server = _Server(settings)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def line(settings: config.Settings, merchant: Merchant) -> Iterator[LossyLine]:
    with _running(settings) as server, LossyLine(server.port) as line:
        thread = threading.Thread(target=line.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield line
        line.shutdown()
        thread.join()


@pytest.fixture
def programs(line: LossyLine, merchant: Merchant) -> list[Program]:
    """The samples of each language that can be run here."""
    if not shutil.which("curl"):
        pytest.skip("there is no curl")
    scopes = (Scope.POS_VALIDATE, Scope.POS_REDEEM)
    _, secret = api_keys.create(merchant, name="Bar", scopes=scopes, is_test=True)
    return [Program(language, line.server_port, secret) for language in LANGUAGES]


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
@pytest.mark.timeout(300)
@pytest.mark.req("S2-18", "S2-19", "S2-20")
def test_the_samples_do_what_a_good_till_does(programs: list[Program], line: LossyLine, merchant: Merchant) -> None:
    for program in programs:
        assert "Covers €30.00. €20.00 stays on the voucher." in program.says("first_validate")
        voucher, code = cast.issue(merchant, value_minor=5000)
        bills = [f"bill-{program.language}-{number}" for number in range(5)]

        line.carried.clear()
        line.losses = 1
        assert "€30.00 redeemed. €20.00 stays on the voucher." in program.says("redeem", code, "3000", bills[0])
        assert line.carried == [("/api/v1/vouchers/redeem", bills[0])] * 2, "the retry carries the same key"
        assert _kinds(voucher) == ["issue", "redeem"], "one bill, one booking"
        assert Entry.get(Entry.voucher == voucher, Entry.kind == "redeem").reference == bills[0]

        more = program.says("redeem", code, "6000", bills[1])
        assert "€20.00 redeemed, which is all there is. The guest pays €40.00." in more
        assert "by card: 40.00" in more or '"remaining_order_amount_minor": 4000' in more
        assert Voucher.get_by_id(voucher.id).balance_minor == 0

        line.carried.clear()
        refused = program.run("redeem", code, "100", bills[2])
        assert "Used up on" in refused.stdout + refused.stderr
        assert refused.returncode != 0
        assert len(line.carried) == 1, "a refusal is not tried again"

        line.losses = 1
        assert "Reversed: €20.00 is back on the voucher." in program.says("reverse", bills[1])
        assert "Reversed: €20.00 is back on the voucher." in program.says("reverse", bills[1])
        assert _kinds(voucher) == ["issue", "redeem", "redeem", "reverse"]

        assert "Nothing had been booked." in program.says("reverse", bills[3])
        late = program.run("redeem", code, "100", bills[3])
        assert "reversed" in late.stdout + late.stderr
        assert Voucher.get_by_id(voucher.id).balance_minor == 2000


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
@pytest.mark.timeout(300)
def test_the_sample_of_a_hold_takes_the_bill_and_frees_the_rest(
    programs: list[Program], line: LossyLine, merchant: Merchant
) -> None:
    for program in programs:
        voucher, code = cast.issue(merchant, value_minor=5000)
        small, large = f"table-7-{program.language}", f"table-8-{program.language}"
        line.losses = 1
        assert "€24.00 redeemed. €26.00 stays on the voucher." in program.says("hold", code, "3000", "2400", small)
        assert _kinds(voucher) == ["issue", "redeem"]
        rest = Voucher.get_by_id(voucher.id)
        assert (rest.balance_minor, rest.available_minor) == (2600, 2600)

        program.says("hold", code, "4000", "4500", large)
        assert Voucher.get_by_id(voucher.id).balance_minor == 0
        assert "Reversed: €24.00" in program.says("reverse", small)


def test_every_sample_exists_in_every_language_and_names_no_key_of_its_own() -> None:
    names = {"till", "first_validate", "redeem", "reverse", "hold"}
    found = {path.name for path in samples.FOLDER.iterdir() if path.is_file()}
    assert found == {f"{name}.{language.ending}" for name in names for language in samples.LANGUAGES}
    for path in samples.FOLDER.iterdir():
        if path.is_file():
            assert "gv_" not in path.read_text(encoding="utf-8")


def _kinds(voucher: Voucher) -> list[str]:
    return [str(entry.kind) for entry in Entry.select().where(Entry.voucher == voucher).order_by(Entry.seq)]
