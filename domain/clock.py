"""The two clocks of the product. Tests move them; nothing else reads the time of day."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

_shift = {"by": timedelta()}


def now() -> datetime:
    """This moment, aware, in UTC."""
    return datetime.now(UTC) + _shift["by"]


def today(time_zone: str) -> date:
    """The calendar day in the merchant's time zone (an IANA name)."""
    return now().astimezone(zone(time_zone)).date()


def end_of_day(day: date, time_zone: str) -> datetime:
    """The last moment of a calendar day in `time_zone`, in UTC."""
    midnight_after = datetime.combine(day + timedelta(days=1), time(), zone(time_zone))
    # Subtracted in UTC: where clocks go back at midnight, the last hour of the day comes twice.
    return midnight_after.astimezone(UTC) - timedelta(microseconds=1)


def zone(name: str) -> ZoneInfo:
    """The time zone behind an IANA name."""
    return ZoneInfo(name)


def move(by: timedelta) -> None:
    """Shift the clock: for tests and drills only."""
    _shift["by"] += by


def reset() -> None:
    """Undo every `move`."""
    _shift["by"] = timedelta()
