-- KEYS[2] challenges by the time of what was said of them; ARGV[3] how many. The newest, each with that time.
return {'done', seq, redis.call('ZREVRANGE', KEYS[2], 0, tonumber(ARGV[3]) - 1, 'WITHSCORES')}
