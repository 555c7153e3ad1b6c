-- KEYS[2] a handle; ARGV[3] the challenge that it stands for; ARGV[4] for how many milliseconds at least
local left = redis.call('PTTL', KEYS[2])
redis.call('SET', KEYS[2], ARGV[3], 'PX', string.format('%.0f', math.max(left, tonumber(ARGV[4]))))
return {'done', redis.call('HINCRBY', KEYS[1], 'seq', 1), {}}
