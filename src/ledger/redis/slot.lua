-- Takes the next slot that all of some lanes have, on each of them or on none (GCRA, in microseconds of this server's
-- clock: whole numbers below 2^53). Workers' clocks differ; this one is the same for all.
--
-- KEYS[2] and on: lanes. `tat`: when all that went would have gone, had it gone at the lane's pace; `at`: when that
-- was written
-- ARGV[3] the slot has to come before so many microseconds are over; ARGV[4] when, by this clock, the asker has
-- stopped listening, 0 where it can't tell; then four for each lane: its period (0: nothing limits it), its tolerance,
-- and the `tat` and `at` that the asker heard last
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function whole(number)
    return string.format('%.0f', number)
end
-- A clock that went back, or another server's, takes what it lost off the lane: else that stood still for as long.
local function standing(tat, at)
    return tonumber(tat or '0') - math.max(0, tonumber(at or '0') - now)
end
-- What was frozen and goes on would spend slots for all who gave up meanwhile.
if tonumber(ARGV[4]) > 0 and now > tonumber(ARGV[4]) then
    return {'unheard', seq, {'now', whole(now)}}
end
local lanes, slot = {}, now
for i = 2, #KEYS do
    local first = 5 + 4 * (i - 2)
    local held = redis.call('HMGET', KEYS[i], 'tat', 'at')
    local lane = {key = KEYS[i], period = tonumber(ARGV[first]), tolerance = tonumber(ARGV[first + 1])}
    -- What is gone, or came back as it once was, stands where those who asked before know it.
    lane.is_off = tonumber(held[2] or '0') > now
    lane.tat = math.max(standing(held[1], held[2]), standing(ARGV[first + 2], ARGV[first + 3]))
    slot = math.max(slot, lane.tat - lane.tolerance)
    lanes[i - 1] = lane
end
local is_granted = slot - now < tonumber(ARGV[3])
local answer = {'now', whole(now), 'slot', whole(slot - now)}
for i, lane in ipairs(lanes) do
    local is_spent = is_granted and lane.period > 0
    if is_spent then
        lane.tat = math.max(lane.tat, slot) + lane.period
    end
    if is_spent or lane.is_off then
        redis.call('HSET', lane.key, 'tat', whole(lane.tat), 'at', whole(now))
        -- Once its time has come, a lane is as free as one that nobody knows.
        redis.call('PEXPIRE', lane.key, whole(math.ceil((lane.tat - now) / 1000)))
    end
    for name, value in pairs({tat = lane.tat, next = math.max(0, lane.tat - lane.tolerance - now)}) do
        answer[#answer + 1] = name .. i
        answer[#answer + 1] = whole(value)
    end
end
-- `seq` stays: with a lost slot no record is lost.
return {is_granted and 'done' or 'too_late', seq, answer}
