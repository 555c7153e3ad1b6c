-- KEYS[2] a handle. The challenge that it stands for comes as `id`.
local id = redis.call('GET', KEYS[2])
return {'done', seq, id and {'id', id} or {}}
