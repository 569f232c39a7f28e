"""How long the oldest message of each list waits, although producers say nothing of it. The listener's part.

While messages wait, the listener marks the newest of each list once a second, with the times between which it and those before
it came: since everything there was marked the last time, and not later than now. Workers pass the marks as they take messages
(FETCH), so that the next mark of a list is always one of the oldest message. What comes back gets a mark of its own, with the
times that the worker had written down as it took it (HELD).

A mark is text: "m" (or "b": its message came back), two times in 13 digits of milliseconds each, a space, the delivery tag.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from redis import Redis
from redis.exceptions import ResponseError

from fleet_node.delivery.holdings import Holdings, uptime
from fleet_node.delivery.scripts import FIRST, TAG_OF
from fleet_node.sent import HEADERS, PROPERTIES

EVERY = 1.0
"""Seconds between two marks of a list."""
REFUSED = 10.0
"""Seconds until the next attempt if Redis refuses it."""
ON_THE_WAY = 0.1
"""Seconds, at most, that a notification takes from Redis to the listener."""
MOST_MARKS = 3600
"""Marks of one list. If there are more, every second one is left out, and the next one's times reach further."""
LOOKED_AT = 20
"""Messages of a list that are looked at, at most, to find one that is due."""
SHORT, PAGE, PAGE_BYTES = 100, 20, 1_000_000
"""A list of so many messages is looked through for its next mark, which may have been taken by a consumer that passes none: by so
many messages at once, and no further after so many bytes."""

SKEW = 1.0
"""Seconds by which the clock of a producer may differ from Redis's."""

STAMPS = ", ".join(f"'{name.replace('-', '%-')}'" for name in dict.fromkeys((*HEADERS, *PROPERTIES)))
"""The names of stamps as Lua's patterns."""

MARK = (
    FIRST
    + TAG_OF
    + f"""
local MOST_MARKS, LOOKED_AT, SHORT, PAGE, PAGE_BYTES = {MOST_MARKS}, {LOOKED_AT}, {SHORT}, {PAGE}, {PAGE_BYTES}
local SKEW = {1000 * SKEW:.0f}
local STAMPS = {{{STAMPS}}}
"""
    + """
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local before, entries = {}, redis.call('HGETALL', KEYS[2])
for index = 1, #entries, 2 do before[entries[index]] = entries[index + 1] end

local function stamp_of(message)
  for _, name in ipairs(STAMPS) do
    local at = tonumber(string.match(message, '"' .. name .. '"%s*:%s*"?(%d+%.?%d*)') or 0)
    if at > 1e9 and at < 1e11 then return at * 1000 end
    if at > 1e12 and at < 1e14 then return at end
  end
end

local function eta_of(message)
  local year, month, day, hour, minute, second, zone =
    string.match(message, '"eta"%s*:%s*"(%d+)-(%d+)-(%d+)T(%d+):(%d+):(%d+%.?%d*)([^"]*)"')
  if not year then return 0 end
  local early = math.floor((14 - month) / 12)
  local years, months = year + 4800 - early, month + 12 * early - 3
  local days = day + math.floor((153 * months + 2) / 5) + 365 * years + math.floor(years / 4) - math.floor(years / 100)
    + math.floor(years / 400) - 2472633
  local sign, hours, minutes = string.match(zone, '([+-])(%d%d):?(%d%d)')
  local east = sign and (hours * 60 + minutes) * (sign == '-' and -1 or 1) or 0
  return (((days * 24 + hour) * 60 + minute - east) * 60 + second) * 1000
end

local function drop_passed(name, marks, length)
  local surplus = redis.call('LLEN', marks) - length
  if surplus > 0 then redis.call('LTRIM', marks, surplus, -1) end
  local mark = length <= SHORT and redis.call('LINDEX', marks, 0)
  if not mark then return end
  local there, bytes = {}, 0
  for first = 0, length - 1, PAGE do
    for _, message in ipairs(redis.call('LRANGE', name, -first - PAGE, -first - 1)) do
      bytes = bytes + #message
      there[tag_of(message) or ''] = true
    end
    if there[string.sub(mark, 29)] or bytes > PAGE_BYTES then return end
  end
  while mark and not there[string.sub(mark, 29)] do
    redis.call('LPOP', marks)
    mark = redis.call('LINDEX', marks, 0)
  end
end

local function thin(marks)
  local all, kept = redis.call('LRANGE', marks, 0, -1), {}
  redis.call('DEL', marks)
  for index = 1, #all do
    local mark, last = all[index], all[index - 1]
    if index % 2 == 0 and string.sub(mark, 1, 1) == 'm' and string.sub(last, 1, 1) == 'm' then
      kept[#kept] = string.sub(last, 1, 14) .. string.sub(mark, 15)
    else
      kept[#kept + 1] = mark
    end
  end
  for first = 1, #kept, 1000 do redis.call('RPUSH', marks, unpack(kept, first, math.min(first + 999, #kept))) end
end

local function oldest_of(name, marks, length, covered)
  local passed, mark = 0, redis.call('LINDEX', marks, 0)
  local message
  for number = 1, math.min(LOOKED_AT, length) do
    message = redis.call('LINDEX', name, -number)
    local ends = string.sub(message, -10000)
    if eta_of(ends) <= now then
      message = ends
      break
    end
    if mark and tag_of(message) == string.sub(mark, 29) then
      passed = passed + 1
      mark = redis.call('LINDEX', marks, passed)
    end
    message = nil
  end
  if not message and length <= LOOKED_AT then return nil, nil, 'eta' end
  local kind, earliest, latest = 'm', covered, now
  if mark then kind, earliest, latest = string.match(mark, '^(%a)(%d%d%d%d%d%d%d%d%d%d%d%d%d)(%d+)') end
  earliest, latest = tonumber(earliest), tonumber(latest)
  local stamp = message and stamp_of(message)
  if stamp and stamp > earliest - SKEW and stamp < latest + SKEW then
    stamp = math.min(math.max(stamp, earliest), latest)
    return stamp, stamp, 'stamp'
  end
  return earliest, latest, kind == 'b' and 'back' or earliest > 0 and 'mark' or 'unknown'
end

local function seconds(at) return at and string.format('%.3f', at / 1000) or 'null' end

local ages, empty, waiting = {}, {}, 0
for number = 4, #KEYS do
  local name, marks, entry = KEYS[number], KEYS[3] .. KEYS[number], before[KEYS[number]]
  before[name] = nil
  local length = redis.pcall('LLEN', name)
  if type(length) == 'table' then length = 0 end
  local covered, earliest, latest, known = now, nil, nil, 'empty'
  if length == 0 then
    empty[#empty + 1] = marks
  else
    waiting = waiting + 1
    drop_passed(name, marks, length)
    local since = tonumber(string.match(entry or '', '"covered": ([%d.]+)') or 0) * 1000
    since = math.min(now, since == 0 and 0 or math.max(since, tonumber(ARGV[number - 3])))
    local newest = tag_of(redis.call('LINDEX', name, 0))
    if not newest then
      covered = since
    elseif string.sub(redis.call('LINDEX', marks, -1) or '', 29) ~= newest then
      redis.call('RPUSH', marks, string.format('m%013.0f%013.0f ', since, now) .. newest)
      if redis.call('LLEN', marks) > MOST_MARKS then thin(marks) end
    end
    earliest, latest, known = oldest_of(name, marks, length, since)
  end
  ages[#ages + 1] = name
  ages[#ages + 1] = string.format(
    '{"at": %s, "length": %d, "covered": %s, "earliest": %s, "latest": %s, "known": "%s"}',
    seconds(now), length, seconds(covered), seconds(earliest), seconds(latest), known
  )
end
for first = 1, #ages, 1000 do redis.call('HSET', KEYS[2], unpack(ages, first, math.min(first + 999, #ages))) end
for first = 1, #empty, 1000 do redis.call('DEL', unpack(empty, first, math.min(first + 999, #empty))) end
for name in pairs(before) do
  local length = redis.pcall('LLEN', name)
  if type(length) == 'table' or length == 0 then
    redis.call('HDEL', KEYS[2], name)
    redis.call('DEL', KEYS[3] .. name)
  end
end
return {waiting, now}
"""
)
"""Marks the newest message of each list, and writes down when its oldest was sent.

Of each list only messages at its ends are read. Marks are left out if there are more than messages. The oldest message is the
next one whose ETA is not in the future; a stamp that its producer gave it counts if it does not contradict the marks. Of
lists that nobody consumes any more what is known is kept as long as they are not empty.

KEYS: workers, ages, what the names of the lists of marks begin with, the lists. ARGV: for each list a time (milliseconds since
1970) after which all came that is not marked, as the listener knows it; 0 if it does not.
Returns: how many lists are not empty, Redis's time in milliseconds.
"""


class Ages:
    """When the listener marks: while messages wait, and not if none does."""

    def __init__(self, client: Redis, holdings: Holdings) -> None:
        self._holdings = holdings
        self._mark = client.register_script(MARK)
        self._lists: tuple[str, ...] = ()
        self.due = float("inf")
        """Seconds since the machine's start at which to mark again."""
        self._marked_at = float("-inf")
        self._offset = 0.0
        """Redis's time at the last mark, less that of this machine."""
        self._hears_all = False
        """Whether all is heard that has come since the last mark."""
        self._heard_at = self._empty_at = float("-inf")
        """When all was heard that Redis had said, and when all lists were empty."""
        self._since: dict[str, float] = {}
        """List → when nothing had come into it yet since the last mark."""
        self._refusal = ""

    def consumed(self, lists: Iterable[str]) -> None:
        """Workers consume these lists."""
        lists = tuple(lists)
        if lists != self._lists:
            self._lists, self._empty_at = lists, float("-inf")
            self.due = uptime()

    def notified(self) -> None:
        """Redis has been heard to notify."""
        if not self._hears_all:
            self.due = uptime()

    def heard(self, name: str) -> None:
        """Something has come into a list."""
        self._since.setdefault(name, self._heard_at)
        self.wait()

    def heard_all(self) -> None:
        """There is nothing more to hear now."""
        self._heard_at = uptime() - ON_THE_WAY

    def empty(self, at: float) -> None:
        """All lists were empty then."""
        self._empty_at = at

    def wait(self) -> None:
        """Messages wait."""
        self.due = min(self.due, max(uptime(), self._marked_at + EVERY))

    def do(self, notified: bool) -> None:
        """Mark, if it is time. notified: whether Redis notifies of all that comes. Raises what redis raises, but for refusals."""
        if uptime() < self.due:
            return
        if not self._lists:
            self.due = float("inf")
            return
        keys, begun = self._holdings.keys, uptime()
        since = [self._after(name) for name in self._lists]
        self._since.clear()
        try:
            waiting, now = self._mark((keys.workers, keys.ages, keys.marks, *self._lists), since)
        except ResponseError as error:
            self.due, self._hears_all = uptime() + REFUSED, False
            if str(error) != self._refusal:
                self._holdings.remark(logging.WARNING, f"how long tasks wait is not written down: {error}")
            self._refusal = str(error)
            return
        self._refusal, self._marked_at, self._hears_all = "", begun, notified
        self._offset = now / 1000 - uptime()
        self.due = begun + EVERY if waiting else float("inf")

    def _after(self, name: str) -> int:
        """Milliseconds of Redis's time after which all came into a list that is not marked; 0 if that is not known."""
        since = max(self._since.get(name, float("-inf")) if self._hears_all else float("-inf"), self._empty_at)
        return max(0, int((since + self._offset) * 1000)) if since >= self._marked_at > 0 else 0
