-- The atomic step of a publish: next generation, new head, and the word to every node.
--
-- KEYS[1]  the room's head            KEYS[2]  the record of the idempotency key, if one was given
-- ARGV[1]  the epoch to begin if Redis holds no head for the room
-- ARGV[2]  how long to keep the head, ms
-- ARGV[3]  how long to keep the idempotency record, ms
-- ARGV[4]  the channel                ARGV[5]  PUBLISH, or SPUBLISH in a cluster
-- ARGV[6]  the publishing node
-- ARGV[7]  the publication as a JSON object that lacks its position, its time and the closing brace
-- ARGV[8]  how long the answer may take, ms
--
-- Returns { 1 if it was published now and 0 if it had been before, the publication, microseconds on Redis' clock,
-- milliseconds until the first call has its answer }.

local time = redis.call('TIME')
local now = time[1] .. string.format('%06d', time[2])

if KEYS[2] then
  local first = redis.call('HGET', KEYS[2], 'publication')
  if first then
    local answer_by = tonumber(redis.call('HGET', KEYS[2], 'answer_by') or 0)
    return { 0, first, now, math.max(0, answer_by - math.floor(tonumber(now) / 1000)) }
  end
end

local epoch = redis.call('HGET', KEYS[1], 'epoch') or ARGV[1]
local generation = redis.call('HINCRBY', KEYS[1], 'generation', 1)
local position = string.format('%s-%.0f', epoch, generation)
local publication = ARGV[7] .. ',"position":"' .. position .. '","published_at":' .. now .. '}'

redis.call('HSET', KEYS[1], 'epoch', epoch, 'publication', publication)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
if KEYS[2] then
  local answer_by = string.format('%.0f', math.floor(tonumber(now) / 1000) + ARGV[8])
  redis.call('HSET', KEYS[2], 'publication', publication, 'answer_by', answer_by)
  redis.call('PEXPIRE', KEYS[2], ARGV[3])
end
redis.call(ARGV[5], ARGV[4], '{"type":"publication","publisher":"' .. ARGV[6] .. '","publication":' .. publication .. '}')
return { 1, publication, now, 0 }
