-- Keeps by whom outcomes are found, and the bytes of interim ones. The same again changes nothing but times to live.
--
-- KEYS[2] the challenges that were spoken of last; then for each outcome: the interims of its challenge, the challenges
-- of its session, and those of its user, KEYS[2] where there is none
-- ARGV[3] for how many milliseconds; ARGV[4] how many challenges KEYS[2] holds, ARGV[5] how many a session or user,
-- ARGV[6] how many interims a challenge; then for each outcome: its challenge, its time, its id and its bytes, the last
-- two empty where it is final: its record has them
for n = 0, (#KEYS - 2) / 3 - 1 do
    local interims = KEYS[n * 3 + 3]
    local challenge, at, id, bytes = ARGV[n * 4 + 7], ARGV[n * 4 + 8], ARGV[n * 4 + 9], ARGV[n * 4 + 10]
    if id ~= '' then
        if redis.call('HLEN', interims) < tonumber(ARGV[6]) then
            redis.call('HSET', interims, id, bytes)
        end
        redis.call('PEXPIRE', interims, ARGV[3])
    end
    for k = 4, 5 do
        local of_whom = KEYS[n * 3 + k]
        if of_whom ~= KEYS[2] then
            redis.call('ZADD', of_whom, at, challenge)
            redis.call('ZREMRANGEBYRANK', of_whom, 0, -1 - tonumber(ARGV[5]))
            redis.call('PEXPIRE', of_whom, ARGV[3])
        end
    end
    redis.call('ZADD', KEYS[2], at, challenge)
end
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -1 - tonumber(ARGV[4]))
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return {'done', redis.call('HINCRBY', KEYS[1], 'seq', 1), {}}
