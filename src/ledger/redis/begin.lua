-- Takes part in the life of the ledger, or begins a new one where this one is not what the caller knew.
-- It writes each time, so that a store that takes no writes is found out.
--
-- KEYS[1] the life: `epoch`, 16 hexadecimal digits that grow from life to life, and `seq`, which counts writes
-- ARGV[1] the caller's epoch, or nothing; ARGV[2] the least `seq` it may find; ARGV[3] an epoch above its own
--
-- Gone: emptied. An older epoch, or fewer writes than were answered: an older copy took its place (a replica, a
-- snapshot), whose records are not to be believed. A new epoch hides them, since it is part of their names.
local life = redis.call('HMGET', KEYS[1], 'epoch', 'seq')
local epoch, seq = life[1], tonumber(life[2] or '0')
if not epoch or epoch < ARGV[1] or (epoch == ARGV[1] and seq < tonumber(ARGV[2])) then
    epoch = ARGV[3]
    redis.call('HSET', KEYS[1], 'epoch', epoch, 'seq', 0)
end
return {epoch, redis.call('HINCRBY', KEYS[1], 'seq', 1)}
