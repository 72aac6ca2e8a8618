"""Holds over HTTP: captured once, free again when their time is over."""

from datetime import timedelta

from domain import clock
from tests import till as tills
from tests.till import Scene


def test_a_hold_is_captured_once_and_never_beyond_itself(scene: Scene) -> None:
    hold = scene.till.hold(scene.code, 3000).json["hold"]
    above = scene.till.capture(hold["id"], amount_minor=3001)
    assert tills.refusal(above) == (409, "insufficient_balance")
    assert (above.json["available_minor"], above.json["display"]["en"]) == (3000, "Only €30.00 is held.")
    assert scene.till.capture(hold["id"]).status_code == 201
    for again in (scene.till.capture(hold["id"]), scene.till.call("release", hold_id=hold["id"])):
        assert tills.refusal(again) == (409, "hold_closed")
        assert again.json["display"]["en"] == "This hold is closed already."
    extended = scene.till.call("extend", {"ttl_seconds": 60}, hold_id=hold["id"])
    assert tills.refusal(extended) == (409, "hold_closed")
    assert tills.balance(scene.voucher) == 2000


def test_a_hold_whose_time_is_over_is_free_again_and_says_so(scene: Scene) -> None:
    hold = scene.till.hold(scene.code, 5000).json["hold"]
    assert scene.till.validate(scene.code).json["error"] == "voucher_depleted"
    clock.move(timedelta(minutes=15))
    assert scene.till.validate(scene.code).json["voucher"]["available_minor"] == 5000
    for name, body in (("capture", {}), ("extend", {"ttl_seconds": 60})):
        refused = scene.till.call(name, body, hold_id=hold["id"])
        assert tills.refusal(refused) == (409, "hold_expired")
        assert refused.json["display"]["en"] == "The hold has expired. Redeem again."
    assert scene.till.redeem(scene.code, 5000).status_code == 201
    assert tills.refusal(scene.till.capture(hold["id"])) == (409, "hold_expired")
    released = scene.till.call("release", hold_id=hold["id"])
    assert released.json["hold"]["state"] == "expired"


def test_a_hold_lives_for_a_day_at_most_extensions_included(scene: Scene) -> None:
    for seconds, code in ((0, "too_small"), (-1, "too_small"), (86_401, "too_large")):
        assert tills.errors_of(scene.till.hold(scene.code, ttl_seconds=seconds)) == [("ttl_seconds", code)]
    hold = scene.till.hold(scene.code, ttl_seconds=86_400).json["hold"]
    clock.move(timedelta(hours=1))
    refused = scene.till.call("extend", {"ttl_seconds": 86_400}, hold_id=hold["id"])
    assert tills.errors_of(refused) == [("ttl_seconds", "too_large")]
