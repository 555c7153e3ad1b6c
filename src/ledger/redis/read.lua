return {'done', seq, redis.call('HGETALL', KEYS[2])}
