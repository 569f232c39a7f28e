"""Lua scripts: what Redis does in one step for beat.

The first write of a script must be one that a full Redis does not refuse: deleting a field that is not there.
"""

ASK = """
redis.call('HDEL', KEYS[2], '')
local leader = redis.call('GET', KEYS[1])
if not leader or leader == ARGV[1] or leader == ARGV[2] then
  leader = ARGV[1]
  redis.call('SET', KEYS[1], leader, 'PX', ARGV[3])
end
local now = redis.call('TIME')
redis.call('HSET', KEYS[2], ARGV[4], string.format('[%.3f, %s]', now[1] + now[2] / 1000000, ARGV[5]))
return leader
"""
"""Takes the lock if nobody has it, and says how this process is. Returns who has the lock now.

KEYS: lock, signs. ARGV: this process's token; the token of a leader that is known to be dead, or nothing; milliseconds that the
lock lasts; this process's node; its sign as JSON.
"""

RENEW = """
redis.call('HDEL', KEYS[2], '')
local leader = redis.call('GET', KEYS[1])
if leader ~= ARGV[1] then return leader or '' end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local now = redis.call('TIME')
redis.call('HSET', KEYS[2], ARGV[3], string.format('[%.3f, %s]', now[1] + now[2] / 1000000, ARGV[4]))
local signs = redis.call('HGETALL', KEYS[2])
for number = 2, #signs, 2 do
  local at = tonumber(string.match(signs[number], '^%[([%d.]+)'))
  if not at or at < now[1] - 86400 then redis.call('HDEL', KEYS[2], signs[number - 1]) end
end
return leader
"""
"""Renews the lock of its leader. Returns who has the lock; nothing if nobody does. Signs of a day ago go.

KEYS: lock, signs. ARGV: the leader's token, milliseconds, its node, its sign as JSON.
"""

LEAVE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
redis.call('HDEL', KEYS[2], ARGV[2])
"""
"""Gives the lock back, if it is this process's. KEYS: lock, signs. ARGV: its token, its node."""

SEND = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
if ARGV[2] ~= '' and redis.call('HGET', KEYS[2], ARGV[2]) == ARGV[3] then return 0 end
for number = 3, #KEYS do
  redis.call(ARGV[2 * number - 2], KEYS[number], ARGV[2 * number - 1])
end
if ARGV[2] ~= '' then redis.call('HSET', KEYS[2], ARGV[2], ARGV[3]) end
return 1
"""
"""Sends a message, and writes down the run of its entry. A message that is sent again because no answer came is sent once.

KEYS: lock, runs, and one for each command. ARGV: the leader's token; the entry, or nothing; its run as JSON; then for each
command its name and its argument. Returns 1; 0 if the run is written down already; -1 if the lock is not this leader's.
"""

WRITE_RUNS = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
for number = 2, #ARGV, 2 do
  if ARGV[number + 1] == '' then
    redis.call('HDEL', KEYS[2], ARGV[number])
  else
    redis.call('HSET', KEYS[2], ARGV[number], ARGV[number + 1])
  end
end
return 1
"""
"""Writes runs down without sending anything.

KEYS: lock, runs. ARGV: the leader's token, then for each entry its name, and its run as JSON, or nothing if the entry is gone.
Returns -1 if the lock is not this leader's.
"""
