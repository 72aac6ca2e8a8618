"""The two clocks of the product. Tests move them; nothing else reads the time of day.

On PostgreSQL every process follows the database's clock, so that two hosts never disagree about a lease.
"""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

_shift = {"by": timedelta(), "to_database": timedelta()}
# Below this the measurement is as wrong as the clock, and jumps would do more harm than the difference.
_WORTH_FOLLOWING = timedelta(milliseconds=500)


def now() -> datetime:
    """This moment, aware, in UTC."""
    return wall() + _shift["to_database"] + _shift["by"]


def wall() -> datetime:
    """What the clock of this host says, right or wrong: only for measuring it against another one."""
    return datetime.now(UTC)


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


def follow(offset: timedelta) -> None:
    """Go by another clock: `offset` is that clock minus this host's. Differences of a moment are left alone."""
    if abs(offset - _shift["to_database"]) >= _WORTH_FOLLOWING:
        _shift["to_database"] = offset if abs(offset) >= _WORTH_FOLLOWING else timedelta()


def move(by: timedelta) -> None:
    """Shift the clock: for tests and drills only."""
    _shift["by"] += by


def reset() -> None:
    """Undo every `move`."""
    _shift["by"] = timedelta()
