-- Keeps a lane still. It goes on at its pace, without a burst: its provider has just had too much.
--
-- KEYS[2] the lane, as slot.lua has it; ARGV[3] for how many microseconds; ARGV[4] its tolerance
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local held = redis.call('HMGET', KEYS[2], 'tat', 'at')
local tat = tonumber(held[1] or '0') - math.max(0, tonumber(held[2] or '0') - now)
tat = math.max(tat, now + tonumber(ARGV[3]) + tonumber(ARGV[4]))
redis.call('HSET', KEYS[2], 'tat', string.format('%.0f', tat), 'at', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[2], string.format('%.0f', math.ceil((tat - now) / 1000)))
return {'done', seq, {}}
