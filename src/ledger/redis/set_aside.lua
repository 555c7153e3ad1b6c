-- KEYS[3] where it goes; ARGV[3] its state and ARGV[4] its number of facts, each as it was found
local held = redis.call('HMGET', KEYS[2], 'v', 'n')
if (held[1] or '') == ARGV[3] and (held[2] or '0') == ARGV[4] then
    redis.call('RENAME', KEYS[2], KEYS[3])
    seq = redis.call('HINCRBY', KEYS[1], 'seq', 1)
end
return {'done', seq, {}}
