-- ARGV[3] the state that is published
if redis.call('HGET', KEYS[2], 'v') == ARGV[3] then
    redis.call('HSET', KEYS[2], 'p', 1)
    seq = redis.call('HINCRBY', KEYS[1], 'seq', 1)
end
return {'done', seq, {}}
