"""Lua scripts: what Redis does in one step."""

TAG_OF = """
local function tag_of(message)
  return string.match(string.sub(message, -200), '"delivery_tag"%s*:%s*"([^"\\\\]+)"%s*}%s*}$')
end
"""
"""Lua: the delivery tag of a message that kombu has sent, whose last it is; nil of other messages."""

FETCH = """
local late, acks = {}, tonumber(ARGV[3])
if acks > 0 then
  local own = {}
  for number = 1, acks do
    local tag = ARGV[4 + number]
    if redis.call('HDEL', KEYS[3], tag) == 1 then own[#own + 1] = tag else late[#late + 1] = tag end
  end
  if #own > 0 then
    redis.call('ZREM', KEYS[2], unpack(own))
    redis.call('HDEL', KEYS[1], unpack(own))
  end
end
local room = tonumber(ARGV[2])
if room == 0 then return {late, 0} end
local answer, values, scores, held, lists, previous = {late, 1}, {}, {}, {}, {}, ''
for number = 7, #KEYS do lists[#lists + 1] = KEYS[number] end
local not_empty = redis.call('EXISTS', unpack(lists))
if not_empty > 0 and not redis.call('ZSCORE', KEYS[4], ARGV[4]) then return {late, -1} end
local function next_mark(name)
  local mark = redis.call('LINDEX', KEYS[5] .. name, 0)
  if mark then return string.sub(mark, 29), string.sub(mark, 2, 27) end
  local since = string.match(redis.call('HGET', KEYS[6], name) or '', '"covered": ([%d.]+)')
  return false, string.format('%013.0f%013.0f', tonumber(since or 0) * 1000, tonumber(ARGV[1]) * 1000)
end
for number = 7, #KEYS do
  if not_empty == 0 or room == 0 then break end
  local messages
  if room == 1 then
    messages = {redis.call('RPOP', KEYS[number]) or nil}
  else
    messages = redis.call('LRANGE', KEYS[number], -room, -1)
    if #messages > 0 then redis.call('LTRIM', KEYS[number], 0, -1 - #messages) end
  end
  if #messages > 0 then
    local is_empty, marked, sent = #messages < room, next_mark(KEYS[number])
    if is_empty then not_empty = not_empty - 1 end
    room = room - #messages
    for index = #messages, 1, -1 do
      local message = messages[index]
      local tag = string.match(string.sub(message, -200), '"delivery_tag"%s*:%s*"([^"\\\\]+)"%s*}%s*}$')
      if tag then
        values[#values + 1] = tag
        values[#values + 1] = '[' .. message .. ARGV[acks + number - 2]
        scores[#scores + 1] = ARGV[1]
        scores[#scores + 1] = tag
        held[#held + 1] = tag
        held[#held + 1] = string.format('%.6f', tonumber(ARGV[1]) + (#held - 1) / 2000000) .. sent .. ' ' .. KEYS[number]
      end
      answer[#answer + 1] = number - 7
      answer[#answer + 1] = tag and sent ~= previous and tag .. '\\n' .. string.sub(sent, 14) or tag or false
      answer[#answer + 1] = message
      if tag then previous = sent end
      if tag and tag == marked then
        redis.call('LPOP', KEYS[5] .. KEYS[number])
        marked, sent = next_mark(KEYS[number])
      end
    end
    if is_empty and marked then redis.call('DEL', KEYS[5] .. KEYS[number]) end
  end
end
if #values > 0 then
  redis.call('HSET', KEYS[1], unpack(values))
  redis.call('ZADD', KEYS[2], unpack(scores))
  redis.call('HSET', KEYS[3], unpack(held))
end
if not_empty > 0 then answer[2] = 0 end
return answer
"""
"""Acknowledges what has ended, and takes the next messages: moves them from their lists to the unacknowledged ones.

A message is acknowledged only if this holder still has it. A message is written down as kombu does (QoS.append), but for the
routing: by the queue that it came from, so that kombu, too, gives it back there. The delivery tag is the last of a message that
kombu has sent; of other messages the script does not know it, and the worker writes them down. The first write takes messages off
their lists: a Redis that is full refuses a script at its first write that needs memory, and this one needs none. A holder whose
lease others have taken gets nothing: a command may arrive long after it was sent, and nobody would look for what it took.

As it takes messages it passes the marks of their list (`ages`), and writes down with each message when it was sent.
Marks that are left when the list is empty are those of messages that other consumers took.

KEYS: unacked, unacked_index, held, workers, what the names of the lists of marks begin with, ages, the lists in their order.
ARGV: Redis's time, most messages to take, number of acknowledgements, the holder, the tags to acknowledge, for each list the end
of what is written down.
Returns: the tags that are not this holder's, whether the lists are empty now (1), are not known to be (0), or the lease was taken
(-1), and for each message the number of its list, the tag that it is written down with (nil if it is not), and the message. After
a tag may come a line's end, and the time (milliseconds since 1970) after which the message and those behind it were not sent.
"""

FIRST = "redis.call('ZREM', KEYS[1], '')\n"
"""Lets a script write although Redis is full, which refuses a script at its first write if that may need memory. Without this,
a worker of a full broker would lose its lease, and stop working off what the broker is full of."""

ENTER = f"{FIRST}redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])"
"""Gives a holder its lease. KEYS: workers; ARGV: the holder, Redis's time at which the lease ends."""

RENEW = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local lease = {KEYS[1], 'XX', 'CH', now + tonumber(ARGV[2]), ARGV[1]}
local renewed = redis.pcall('ZADD', unpack(lease))
if type(renewed) == 'table' then
  redis.call('ZREM', KEYS[1], '')
  renewed = redis.call('ZADD', unpack(lease))
end
local scores = {}
for number = 3, renewed == 1 and #ARGV or 0 do
  scores[#scores + 1] = now
  scores[#scores + 1] = ARGV[number]
end
if #scores > 0 then redis.call('ZADD', KEYS[2], 'XX', unpack(scores)) end
return {renewed, time[1], time[2]}
"""
"""Renews the lease of a holder, by Redis's own clock: a machine that was paused does not know what time it is.

KEYS: workers, unacked_index; ARGV: the holder, its lease in seconds, 1000 at most of the tags that it has. Returns whether it had
its lease still (1 or 0), and Redis's time in seconds and microseconds. If Redis is full and refuses the first write, see FIRST.
"""

RING = f"{FIRST}redis.call('ZADD', KEYS[1], 1, 'token')"
"""Rings a bell although Redis is full. KEYS: bell."""

TAKE_OVER = (
    FIRST
    + """
local listener = redis.call('GET', KEYS[2])
if listener and listener ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[3])
return 1
"""
)
"""Makes a worker the listener, if nobody else has become it. KEYS: workers, listener; ARGV: the holder, the listener that says
nothing any more (empty: there was none), milliseconds after which Redis forgets it."""

SAY = f"{FIRST}redis.call('ZADD', KEYS[1], 'XX', unpack(ARGV))"
"""Says of more messages that their worker has them. KEYS: unacked_index; ARGV: for each message Redis's time, and its tag."""

CLAIM = (
    FIRST
    + """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local dead = {}
local function claim(holder)
  redis.call('ZREM', KEYS[1], holder)
  redis.call('ZADD', KEYS[2], now, holder)
  dead[#dead + 1] = holder
end
for number = 3, #ARGV do
  if redis.call('ZSCORE', KEYS[1], ARGV[number]) then claim(ARGV[number]) end
end
local ended = string.format('(%.6f', math.min(now, tonumber(ARGV[1])))
for _, holder in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ended)) do claim(holder) end
for _, holder in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now - tonumber(ARGV[2]))) do
  redis.call('ZADD', KEYS[2], now, holder)
  dead[#dead + 1] = holder
end
return dead
"""
)
"""Takes their lease from holders: from those that are named, and from those that have not renewed it.

KEYS: workers, swept; ARGV: the time as the caller knows it (0: only those that are named), seconds after which a sweep that was
cut off is begun again, holders. Returns the holders whose messages are to be given back. If Redis's clock has been set forward
since the caller asked it, the caller's time decides: all leases seem to have ended until they are renewed.
"""

CLAIM_SILENT = (
    FIRST
    + """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local dead = {}
for number = 1, #ARGV, 2 do
  local holder, score = ARGV[number], redis.call('ZSCORE', KEYS[1], ARGV[number])
  if score and tonumber(score) == tonumber(ARGV[number + 1]) then
    redis.call('ZREM', KEYS[1], holder)
    redis.call('ZADD', KEYS[2], now, holder)
    dead[#dead + 1] = holder
  end
end
return dead
"""
)
"""Takes their lease from holders that have not renewed it since the caller looked.

KEYS: workers, swept; ARGV: for each holder its name, and the end of its lease as the caller knows it. Returns those from whom it
was taken.
"""

WRITE_DOWN = (
    FIRST
    + """
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
redis.call('HSET', KEYS[3], ARGV[1], ARGV[4])
"""
)
"""Writes one message down.

KEYS: unacked_index, unacked, held; ARGV: its tag, what is written down, Redis's time, the entry of held.
"""

PUT_ASIDE = f"{FIRST}redis.call('RPUSH', KEYS[2], ARGV[1])"
"""Keeps a message that cannot be read. KEYS: unacked_index, unreadable; ARGV: the message."""

GIVE_BACK = (
    FIRST
    + TAG_OF
    + """
local done, refusal, time = 0, false, redis.call('TIME')
local function mark_unmarked(name)
  local newest, mark = redis.call('LINDEX', name, 0), redis.call('LINDEX', KEYS[4] .. name, -1)
  if not newest or (mark and string.sub(mark, 29) == tag_of(newest)) then return true end
  if not tag_of(newest) then return false end
  local since = string.match(redis.call('HGET', KEYS[5], name) or '', '"covered": ([%d.]+)')
  local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  mark = string.format('m%013.0f%013.0f ', tonumber(since or 0) * 1000, now)
  redis.call('RPUSH', KEYS[4] .. name, mark .. tag_of(newest))
  return true
end
for number = 2, #ARGV, 4 do
  local tag, answer = ARGV[number], 0
  if redis.call('HEXISTS', KEYS[3], tag) == 1 then
    if ARGV[number + 2] ~= '' and redis.call('HEXISTS', KEYS[2], tag) == 1 then
      local name, kind = ARGV[number + 1], redis.call('TYPE', ARGV[number + 1]).ok
      local has_tag = tag_of(ARGV[number + 2]) == tag and (kind == 'list' or kind == 'none')
      local is_marked = has_tag and (ARGV[1] == 'RPUSH' or mark_unmarked(name))
      answer = redis.pcall(ARGV[1], name, ARGV[number + 2])
      done = done + 1
      if is_marked and type(answer) ~= 'table' then
        redis.call(ARGV[1] == 'RPUSH' and 'LPUSH' or 'RPUSH', KEYS[4] .. name, 'b' .. ARGV[number + 3] .. ' ' .. tag)
      end
    end
    if type(answer) == 'table' then
      done, refusal = done - 1, answer.err
    else
      redis.call('HDEL', KEYS[3], tag)
      redis.call('HDEL', KEYS[2], tag)
      redis.call('ZREM', KEYS[1], tag)
    end
  end
end
return {done, refusal}
"""
)
"""Puts messages of a holder back into their lists, each once, whoever else tries. Each gets a mark of its own, which says when it
was sent; if it is to be the last, what is before it and not marked yet gets one, too.

KEYS: unacked_index, unacked, held, what the names of the lists of marks begin with, ages. ARGV: RPUSH (to be the next) or LPUSH
(to be the last), and for each message its tag, its list, the message, and when it was sent (see `ages`). Returns how many, and
why Redis did not put others there (nil if it did): they stay where they are.
"""

GIVE_BACK_OTHERS = (
    TAG_OF
    + """
local score = redis.call('ZSCORE', KEYS[2], ARGV[1])
if not score or tonumber(score) ~= tonumber(ARGV[2]) then return 0 end
redis.call('ZREM', KEYS[2], ARGV[1])
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
for number = 5, #ARGV do
  redis.call('RPUSH', ARGV[number], ARGV[3])
  if tag_of(ARGV[3]) == ARGV[1] then redis.call('LPUSH', KEYS[3] .. ARGV[number], 'b' .. ARGV[4] .. ' ' .. ARGV[1]) end
end
return 1
"""
)
"""Puts a message back that a consumer has which is no worker of the fleet, if it has not said anything since.

KEYS: unacked, unacked_index, what the names of the lists of marks begin with; ARGV: its tag, its score, the message, when it was
sent, its lists. Returns 1 if it did.
"""
