-- Before every other script. Answers are {word, seq, record as a flat list}.
--
-- KEYS[1] the life; KEYS[2] a handle, a lane, or a record: `v` its owner's state, `b` what that stores, `p` whether
-- that is published, `n` how many facts there are, `1` to `n` the facts
-- ARGV[1] the caller's epoch; ARGV[2] the least `seq` it may find
local life = redis.call('HMGET', KEYS[1], 'epoch', 'seq')
local seq = tonumber(life[2] or '0')
if life[1] ~= ARGV[1] or seq < tonumber(ARGV[2]) then
    return {'life', 0, {}}
end
