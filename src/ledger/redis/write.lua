-- ARGV[3] the state expected, or nothing; ARGV[4] the number of facts expected; ARGV[5] the new state; ARGV[6] what
-- it stores; ARGV[7] for how many milliseconds
local held = redis.call('HMGET', KEYS[2], 'v', 'n')
if (held[1] or '') ~= ARGV[3] or (held[2] or '0') ~= ARGV[4] then
    return {'lost', seq, redis.call('HGETALL', KEYS[2])}
end
redis.call('HSET', KEYS[2], 'v', ARGV[5], 'b', ARGV[6])
redis.call('HDEL', KEYS[2], 'p')
redis.call('PEXPIRE', KEYS[2], ARGV[7])
return {'done', redis.call('HINCRBY', KEYS[1], 'seq', 1), {}}
