-- The records of the live nodes; renews one of them, and drops those not renewed in time. One clock judges: Redis'.
--
-- KEYS[1]  the records
-- ARGV[1]  how long a record lives, ms
-- ARGV[2]  the node to renew (optional)    ARGV[3]  its record
--
-- Returns { microseconds on Redis' clock, record, record, ... }.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

if ARGV[2] then
  redis.call('HSET', KEYS[1], ARGV[2], string.format('%.0f %s', now, ARGV[3]))
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end

local live = { time[1] .. string.format('%06d', time[2]) }
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local stamp, record = string.match(all[i + 1], '^(%d+) (.*)$')
  if stamp and now - tonumber(stamp) < tonumber(ARGV[1]) then
    live[#live + 1] = record
  else
    redis.call('HDEL', KEYS[1], all[i])
  end
end
return live
