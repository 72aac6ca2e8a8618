"""The conformance kit before real processes: our server keeps the contract; broken ones and careless tills do not."""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import flask
import pytest
import requests

import config
from conformance import grading, recorder
from domain import api_keys, audit
from domain.api_keys import Scope
from models import Merchant, Voucher
from tests import processes

TILL = (Scope.POS_VALIDATE, Scope.POS_REDEEM)
# What is asked of the kit alone; which database stands behind the server makes no difference to it.
only_sqlite = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)


@dataclass(frozen=True)
class Shop:
    """The product behind its web server, and what opens it."""

    url: str
    environment: dict[str, str]
    merchant: Merchant

    def key(self, *scopes: Scope, is_test: bool = True) -> str:
        return api_keys.create(self.merchant, name="Kit", scopes=scopes or tuple(Scope), is_test=is_test)[1]

    def kit(self, *arguments: str, key: str, url: str = "") -> subprocess.CompletedProcess[str]:
        """`flask conformance run` as a till's programmer types it."""
        command = [sys.executable, "-m", "flask", "conformance", "run", "--url", url or self.url, *arguments]
        environment = self.environment | {"CONFORMANCE_KEY": key}
        return subprocess.run(command, env=environment, cwd=config.ROOT, capture_output=True, text=True, timeout=110)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def shop(app: flask.Flask, settings: config.Settings, merchant: Merchant) -> Iterator[Shop]:
    """Café Alba's server as operators start it, on the test's own database."""
    port = free_port()
    command = [
        *(sys.executable, "-m", "granian", "app:create_app", "--factory", "--interface", "wsgi"),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", "1", "--blocking-threads", "8"),
        *("--log-level", "error", "--no-ws", "--workers-kill-timeout", "5"),
    ]
    environment = processes.environment(settings)
    web = subprocess.Popen(command, env=environment, cwd=config.ROOT, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        processes.wait_until(lambda: web.poll() is not None or is_there(url), what="the web server")
        yield Shop(url, environment, merchant)
    finally:
        web.terminate()
        web.wait(timeout=30)


def is_there(url: str) -> bool:
    try:
        return requests.get(f"{url}/healthz", timeout=2).ok
    except requests.RequestException:
        return False


def failed(done: subprocess.CompletedProcess[str]) -> set[str]:
    """The names of the checks that a run with --json found broken."""
    return {check["name"] for check in json.loads(done.stdout)["checks"] if check["result"] == "fail"}


def test_our_server_keeps_every_promise_of_the_contract(shop: Shop) -> None:
    done = shop.kit(key=shop.key())
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [line[0] for line in lines[:-1]].count("✓") == len(grading.CHECKS) - 1
    assert lines[-1] == f"{len(grading.CHECKS) - 1} ✓, 0 ✗, 1 –"
    assert audit.is_clean(audit.run())
    assert not Voucher.select().where(~Voucher.is_test).exists()


@only_sqlite
def test_a_tills_key_skips_the_office_and_says_so(shop: Shop) -> None:
    done = shop.kit(key=shop.key(*TILL))
    assert done.returncode == 0, done.stdout + done.stderr
    skipped = [line for line in done.stdout.splitlines() if line.startswith("–")]
    assert {line.split()[1] for line in skipped} == {check.name for check in grading.office.CHECKS}
    assert all("skipped: the key may not" in line for line in skipped)


@only_sqlite
def test_a_key_that_only_validates_skips_what_books(shop: Shop) -> None:
    done = shop.kit("--json", key=shop.key(Scope.POS_VALIDATE))
    report = json.loads(done.stdout)
    assert (done.returncode, report["counts"]["fail"]) == (0, 0)
    assert report["counts"]["pass"] > 20
    assert "replay" in {check["name"] for check in report["checks"] if check["result"] == "skip"}


@only_sqlite
def test_what_cannot_be_asked_exits_with_two_and_says_what_to_do(shop: Shop) -> None:
    live, unknown = shop.key(is_test=False), "gv_test_000000000000_" + "A" * 43
    nowhere = f"http://127.0.0.1:{free_port()}"
    for key, url, sentence in (
        (live, "", "never a live one"),
        ("", "", "CONFORMANCE_KEY"),
        (unknown, "", "does not know this key"),
        (shop.key(), nowhere, "is the server running?"),
        (shop.key(), f"{shop.url}/s/cafe-alba", "no Vouchers API"),
    ):
        done = shop.kit(key=key, url=url)
        assert done.returncode == 2, (sentence, done.stdout)
        assert sentence in done.stderr
        assert not key or key not in done.stdout + done.stderr
    assert not Voucher.select().where(~Voucher.is_test).exists()


# --- broken servers -------------------------------------------------------------------------------------------------


class Spoiled(BaseHTTPRequestHandler):
    """A server that is ours but for one mistake."""

    protocol_version = "HTTP/1.1"
    upstream: str
    key: str

    def do_GET(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        headers = {name: text for name, text in self.headers.items() if name not in ("Host", "Content-Length")}
        answer = self.spoil(raw, headers | {"Accept-Encoding": "identity"})
        self.send_response_only(answer[0])
        for name, text in answer[1].items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, text)
        self.send_header("Content-Length", str(len(answer[2])))
        self.end_headers()
        self.wfile.write(answer[2])

    do_POST = do_PATCH = do_DELETE = do_GET

    def log_message(self, *arguments: object) -> None: ...

    def spoil(self, raw: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        return self.pass_on(raw, headers)

    def pass_on(self, raw: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        answer = requests.request(
            self.command,
            self.upstream + self.path,
            data=raw or None,
            headers=headers,
            timeout=20,
            auth=lambda sent: sent,
        )
        return answer.status_code, dict(answer.headers), answer.content


class OtherReplay(Spoiled):
    """Renders a replay anew."""

    def spoil(self, raw: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        status, told, content = self.pass_on(raw, headers)
        return status, told, content + b" " if "idempotent-replayed" in map(str.lower, told) else content


class NoReplay(Spoiled):
    """Forgets every Idempotency-Key."""

    def spoil(self, raw: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        return self.pass_on(
            raw, headers | ({"Idempotency-Key": uuid.uuid4().hex} if "Idempotency-Key" in headers else {})
        )


class NoReversal(Spoiled):
    """Says that it took back, and did not."""

    def spoil(self, raw: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        if self.path.endswith("/reverse") and raw.startswith(b'{"idempotency_key": "conf'):
            return 200, {"Content-Type": "application/json", "X-Request-Id": "1"}, b'{"outcome": "reversed"}'
        return self.pass_on(raw, headers)


class FallsOver(Spoiled):
    """Answers 500 to what it cannot read."""

    def spoil(self, raw: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        status, told, content = self.pass_on(raw, headers)
        return (500, told, b"Internal Server Error") if status == 400 else (status, told, content)


class OpenDoor(Spoiled):
    """Lets everybody in."""

    def spoil(self, raw: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        return self.pass_on(raw, {"Authorization": f"Bearer {self.key}"} | headers)


class Chatty(Spoiled):
    """Tells the code of a voucher that was validated."""

    def spoil(self, raw: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        status, told, content = self.pass_on(raw, headers)
        is_told = self.path.endswith("/validate") and status == 200
        return (
            status,
            told,
            json.dumps(json.loads(content) | {"asked": json.loads(raw)}).encode() if is_told else content,
        )


@contextmanager
def spoiled(shop: Shop, handler: type[Spoiled], key: str) -> Iterator[str]:
    handler.upstream, handler.key = shop.url, key
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


BROKEN = {
    OtherReplay: {"replay", "replay-refusal", "hold", "hold-capture"},
    NoReversal: {"reverse", "reverse-unseen"},
    FallsOver: {"garbage", "key-required"},
    OpenDoor: {"no-key"},
    Chatty: {"validate-good"},
    NoReplay: {
        *("replay", "replay-refusal", "key-conflict", "at-once", "lost-answer", "story", "reverse", "reverse-unseen"),
        *("hold", "hold-capture", "create", "key-required"),
    },
}  # fmt: skip


@only_sqlite
@pytest.mark.timeout(300)
def test_a_broken_server_is_told_what_is_broken_and_nothing_else(shop: Shop) -> None:
    key = shop.key()

    def run(handler: type[Spoiled]) -> subprocess.CompletedProcess[str]:
        with spoiled(shop, handler, key) as url:
            return shop.kit("--json", key=key, url=url)

    with ThreadPoolExecutor(3) as pool:
        runs = dict(zip(BROKEN, pool.map(run, BROKEN), strict=True))
    assert {handler: failed(done) for handler, done in runs.items()} == BROKEN
    assert {done.returncode for done in runs.values()} == {1}
    for check in json.loads(runs[FallsOver].stdout)["checks"]:
        assert check["result"] != "fail" or (check["expected"] and check["came"].startswith("500"))


# --- tills ----------------------------------------------------------------------------------------------------------


class Till:
    """The program of a till as it should be."""

    def __init__(self, url: str, key: str) -> None:
        self.url, self.key = f"{url}/api/v1", key

    def call(self, path: str, body: dict[str, object], key: str = "") -> requests.Response:
        headers = {"Authorization": f"Bearer {self.key}"} | ({"Idempotency-Key": key} if key else {})
        return requests.post(self.url + path, json=body, headers=headers, timeout=10)

    def pay(self, code: str, amount_minor: int) -> tuple[str, Any]:
        """Redeem; the Idempotency-Key and the answer."""
        key, body = uuid.uuid4().hex, {"code": code, "amount_minor": amount_minor, "currency": "EUR"}
        for _ in range(6):
            try:
                answer = self.call("/vouchers/redeem", body, key)
            except requests.ConnectionError:
                key = self.key_after(key)
                continue
            if answer.status_code not in (429, 503):
                break
            self.wait(int(answer.headers["Retry-After"]))
        return key, answer.json()

    def key_after(self, key: str) -> str:
        """The key for a repetition."""
        return key

    def wait(self, seconds: int) -> None:
        time.sleep(seconds)

    def rest(self, answer: Any, bill_minor: int) -> int:
        """What is still to pay after a redemption."""
        return int(answer["calculation"]["remaining_order_amount_minor"])

    def cancel(self, key: str) -> None:
        self.call("/redemptions/reverse", {"idempotency_key": key})

    def refused(self, code: str) -> None:
        """What happens after a refusal: nothing."""

    def work(self, ending: str) -> None:
        """The six scenarios, one after the other."""
        self.pay(f"TEST-VALID-5000-{ending}a", 1200)
        _, answer = self.pay(f"TEST-VALID-2000-{ending}b", 3500)
        self.pay(f"TEST-VALID-5000-{ending}c", self.rest(answer, 3500))
        self.pay(f"TEST-VALID-5000-{ending}d", 800)
        key, _ = self.pay(f"TEST-VALID-5000-{ending}e", 1000)
        self.cancel(key)
        self.pay(f" test-expired-3000-{ending}f ", 1000)
        self.refused(f"TEST-EXPIRED-3000-{ending}f")
        self.pay(f"TEST-VALID-5000-{ending}g", 900)


class RestaurantTill(Till):
    """Holds first, and captures when the guest has finished."""

    def pay(self, code: str, amount_minor: int) -> tuple[str, Any]:
        body: dict[str, object] = {"code": code, "amount_minor": amount_minor, "currency": "EUR"}
        held = self.call("/vouchers/hold", body, uuid.uuid4().hex)
        if held.status_code != 201 or code.endswith("e"):
            return held.json().get("hold", {}).get("id", ""), held.json()
        key, path = uuid.uuid4().hex, f"/holds/{held.json()['hold']['id']}/capture"
        for _ in range(6):
            try:
                answer = self.call(path, {}, key)
            except requests.ConnectionError:
                continue
            if answer.status_code not in (429, 503):
                break
            self.wait(int(answer.headers["Retry-After"]))
        return key, held.json() | answer.json()

    def cancel(self, key: str) -> None:
        self.call(f"/holds/{key}/release", {})


class FreshKeyTill(Till):
    """Makes a new key for a repetition."""

    def key_after(self, key: str) -> str:
        return uuid.uuid4().hex


class WholeBillTill(Till):
    """Does not look at what remains."""

    def rest(self, answer: Any, bill_minor: int) -> int:
        return bill_minor


class KeepsTheMoneyTill(Till):
    """Never reverses."""

    def cancel(self, key: str) -> None: ...


class WrongReversalTill(Till):
    """Reverses a key that it made up."""

    def cancel(self, key: str) -> None:
        super().cancel(uuid.uuid4().hex)


class StubbornTill(Till):
    """Tries again what was refused."""

    def refused(self, code: str) -> None:
        self.pay(code, 1000)


class ImpatientTill(Till):
    """Has no time for Retry-After."""

    def wait(self, seconds: int) -> None:
        time.sleep(0.2)


@dataclass(frozen=True)
class Watched:
    """What the kit said about a till."""

    returncode: int
    results: dict[str, dict[str, Any]]
    told: str

    @property
    def failed(self) -> set[str]:
        return {name for name, result in self.results.items() if result["result"] == "fail"}


def watched(shop: Shop, till: type[Till], key: str, *, is_cut_short: bool = False) -> Watched:
    """Let a till work in front of `flask conformance watch`; `is_cut_short` is Ctrl-C after the first scenario."""
    ending = uuid.uuid4().hex[:10]
    command = [sys.executable, "-m", "flask", "conformance", "watch", "--url", shop.url, "--port", "0", "--json"]
    command += ["--ending", ending, "--patience", "6", "--settle", "0.4"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=shop.environment, cwd=config.ROOT, stdout=pipe, stderr=pipe, text=True) as kit:
        assert kit.stderr is not None
        first = kit.stderr.readline()
        found = re.search(r"http://127.0.0.1:\d+", first)
        assert found, first + kit.stderr.read()
        if is_cut_short:
            till(found[0], key).pay(f"TEST-VALID-5000-{ending}a", 1200)
            while "2/6" not in first:
                first += kit.stderr.readline()
            kit.send_signal(signal.SIGINT)
        else:
            till(found[0], key).work(ending)
        out, told = kit.communicate(timeout=60)
    assert key not in out + told
    results = {result["name"]: result for result in json.loads(out)["scenarios"]}
    return Watched(kit.returncode, results, first + told)


def test_a_good_till_passes_every_scenario(shop: Shop) -> None:
    for till in (Till, RestaurantTill):
        seen = watched(shop, till, shop.key(*TILL))
        assert {result["result"] for result in seen.results.values()} == {"pass"}, (till, seen.results)
        assert (seen.returncode, len(seen.results)) == (0, 6)
    assert audit.is_clean(audit.run())


CARELESS = [
    (FreshKeyTill, "lost-answer", "the guest pays twice", 2),
    (WholeBillTill, "remaining-amount", "took 3500", 2),
    (KeepsTheMoneyTill, "cancelled-bill", "no reversal", 1),
    (WrongReversalTill, "cancelled-bill", "never redeemed with", 2),
    (StubbornTill, "refused", "new key after 422 voucher_expired", 2),
    (ImpatientTill, "retry-after", "though Retry-After said 2", 2),
]


@only_sqlite
@pytest.mark.timeout(300)
def test_a_careless_till_is_told_its_mistake_with_the_calls_that_prove_it(shop: Shop) -> None:
    keys = [shop.key(*TILL) for _ in CARELESS]
    with ThreadPoolExecutor(3) as pool:
        runs = list(pool.map(lambda each, key: watched(shop, each[0], key), CARELESS, keys))
    for seen, (till, name, reason, calls) in zip(runs, CARELESS, strict=True):
        assert (till, seen.returncode, seen.failed) == (till, 1, {name}), seen.results
        assert reason in seen.results[name]["reason"]
        proof = seen.results[name]["proof"]
        assert len(proof) == calls
        assert all(re.match(r"#\d+ POST /", line) for line in proof)


@only_sqlite
def test_ctrl_c_ends_the_watch_and_names_what_was_not_seen(shop: Shop) -> None:
    seen = watched(shop, Till, shop.key(*TILL), is_cut_short=True)
    assert seen.returncode == 1
    assert [result["result"] for result in seen.results.values()] == ["pass"] + ["skip"] * 5


@only_sqlite
def test_a_watch_that_cannot_listen_exits_with_two(shop: Shop) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for url, sentence in (
            (shop.url, "--port"),
            (f"{shop.url}/s", "no Vouchers API"),
            ("http://127.0.0.1:9", "running"),
        ):
            command = [sys.executable, "-m", "flask", "conformance", "watch", "--url", url, "--port", port]
            done = subprocess.run(command, env=shop.environment, cwd=config.ROOT, capture_output=True, text=True)
            assert (done.returncode, sentence in done.stderr) == (2, True), done.stderr


@only_sqlite
def test_the_proxy_lets_no_live_key_through(shop: Shop) -> None:
    live = shop.key(is_test=False)
    heard: list[recorder.Heard] = []

    def come(call: recorder.Heard) -> recorder.Act:
        heard.append(call)
        return recorder.PASS

    with recorder.listening(shop.url, port=0, ear=recorder.Ear(come, lambda call: None)) as port:
        headers = {"Authorization": f"Bearer {live}"}
        address = f"http://127.0.0.1:{port}/api/v1/vouchers/lookup"
        answer = requests.post(address, json={"code": "X"}, headers=headers, timeout=10)
    assert (answer.status_code, heard) == (403, [])
    assert "test key" in answer.json()["detail"]
