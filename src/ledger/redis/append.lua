-- ARGV[3] the number of facts expected; ARGV[4] the next fact; ARGV[5] for how many milliseconds, where there is no
-- record yet
if (redis.call('HGET', KEYS[2], 'n') or '0') ~= ARGV[3] then
    return {'lost', seq, redis.call('HGETALL', KEYS[2])}
end
local number = redis.call('HINCRBY', KEYS[2], 'n', 1)
redis.call('HSET', KEYS[2], number, ARGV[4])
if redis.call('PTTL', KEYS[2]) < 0 then
    redis.call('PEXPIRE', KEYS[2], ARGV[5])
end
return {'done', redis.call('HINCRBY', KEYS[1], 'seq', 1), redis.call('HGETALL', KEYS[2])}
