"""The scripts that Redis runs for a fleet, each as one step that nothing interrupts.

They use only commands that the in-process store of docket has too.
"""

from typing import Final

# KEYS: the status of the PBX, its snapshot, the stream, meta, pbxes.
# ARGV: the PBX, what `pbxes` must have of it, the version that was read, the new version, the
# snapshot or "" if it is unchanged, the number of fields of the status, their names and values, and
# the kinds and texts of the events. With "0" for a PBX that was removed, its keys are deleted.
# Returns 1; 0 if another cycle came first; -1 if `pbxes` has something else.
WRITE: Final = """
if redis.call('hget', KEYS[5], ARGV[1]) ~= ARGV[2] then return -1 end
local version = redis.call('hget', KEYS[1], 'version')
if not version or not string.match(version, '^[1-9]%d*$') or #version >= 20 then version = '0' end
if version ~= ARGV[3] then return 0 end
if ARGV[5] ~= '' then redis.call('set', KEYS[2], ARGV[5]) end
local at = 7
for _ = 1, tonumber(ARGV[6]) do
  redis.call('hset', KEYS[1], ARGV[at], ARGV[at + 1])
  at = at + 2
end
local n = redis.call('hget', KEYS[4], 'n')
if not n or not string.match(n, '^%d+$') or #n >= 16 then
  n = '0'
  redis.call('hset', KEYS[4], 'n', n)
end
while at < #ARGV do
  n = redis.call('hincrby', KEYS[4], 'n', 1)
  local id = redis.call('xadd', KEYS[3], '*', 'n', n, 'pbx', ARGV[1], 'kind', ARGV[at],
    'event', ARGV[at + 1])
  redis.call('hset', KEYS[4], 'last', id)
  at = at + 2
end
redis.call('hset', KEYS[1], 'version', ARGV[4])
redis.call('hset', KEYS[1], 'n', n)
if ARGV[2] == '0' then redis.call('del', KEYS[1], KEYS[2]) end
return 1
"""
# Adds PBXes that were never in the fleet. KEYS: pbxes. ARGV: the PBXes.
SEED: Final = """
for i = 1, #ARGV do
  if redis.call('hexists', KEYS[1], ARGV[i]) == 0 then redis.call('hset', KEYS[1], ARGV[i], '1') end
end
return 0
"""
# Acknowledges an event. A consumer that was paused can't set its group back, and a group that Redis
# has lost stays lost.
# KEYS: groups, the stream. ARGV: the group, the number and the id of the event.
ACKNOWLEDGE: Final = """
local n = redis.call('hget', KEYS[1], ARGV[1])
if n and (tonumber(n) or 0) < tonumber(ARGV[2]) then
  redis.call('hset', KEYS[1], ARGV[1], ARGV[2])
end
return redis.call('xack', KEYS[2], ARGV[1], ARGV[3])
"""
