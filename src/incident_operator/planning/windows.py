"""Freeze windows: when a policy wants a person to say yes to what otherwise runs by itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MIDNIGHT = time(0)


@dataclasses.dataclass(frozen=True, slots=True)
class Window:
    """Either once, from ``start`` to ``end``, or each week on ``days`` from ``opens`` to ``closes``.

    A weekly window that closes at or before it opens ends on the next day.
    """

    name: str
    start: datetime | None = None
    end: datetime | None = None
    days: Sequence[str] = ()
    opens: time = MIDNIGHT
    closes: time = MIDNIGHT
    zone: str = "UTC"
    except_severities: Sequence[str] = ()

    def until(self, now: datetime) -> datetime | None:
        """When it ends, if it is open now; None if it is not."""
        if self.start is not None and self.end is not None:
            return self.end if self.start <= now < self.end else None
        zone = ZoneInfo(self.zone)
        local = now.astimezone(zone)
        for back in (0, 1):
            day = local.date() - timedelta(days=back)
            if DAYS[day.weekday()] not in self.days:
                continue
            opens = datetime.combine(day, self.opens, zone)
            closes = datetime.combine(day, self.closes, zone)
            if closes <= opens:
                closes = datetime.combine(day + timedelta(days=1), self.closes, zone)
            if opens <= local < closes:
                return closes
        return None
