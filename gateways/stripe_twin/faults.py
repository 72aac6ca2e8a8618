"""What can be made to go wrong on purpose."""

from enum import StrEnum


class Fault(StrEnum):
    """A switch of the twin; the value that it is switched to is given behind the dash."""

    LOSE_EVENTS = "lose_events"  # True – events are recorded and never sent
    DUPLICATE_EVENTS = "duplicate_events"  # int – each event is sent so often
    SLOW = "slow"  # seconds – the answer comes so much after the work was done
    ERROR_AFTER_WORK = "error_after_work"  # True – 500 although the work was done; its key remembers the 500
    RATE_LIMIT = "rate_limit"  # True – 429
    DOWN = "down"  # True – 503; `Twin` also stops listening
    MISMATCH = "mismatch"  # dict – fields of sessions that are answered with other values
