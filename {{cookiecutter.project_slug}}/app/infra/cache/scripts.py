"""What Redis runs in one piece, each script on keys of one slot."""

# The clock is never behind the time: what counts up would begin anew if Redis evicted it.
# KEYS: the clock and the generation. ARGV: a new generation. Both outlive every entry, and end when
# nobody asks any more.
BEGIN = """
local clock = tonumber(redis.call('GET', KEYS[1]))
if not clock then
    local now = redis.call('TIME')
    clock = now[1] * 1000000 + now[2]
    redis.call('SET', KEYS[1], string.format('%.0f', clock))
end
redis.call('SET', KEYS[2], ARGV[1], 'NX')
for _, key in ipairs(KEYS) do
    if redis.call('TTL', key) < 5 * 86400 then
        redis.call('EXPIRE', key, 7 * 86400)
    end
end
return {redis.call('GET', KEYS[2]), string.format('%.0f', clock)}
"""
# KEYS: the clock and tags, of which nothing is left. What began before is not kept.
FORGET = """
local now = redis.call('TIME')
local clock = tonumber(redis.call('GET', KEYS[1])) or 0
clock = math.max(now[1] * 1000000 + now[2], clock + 1)
redis.call('SET', KEYS[1], string.format('%.0f', clock))
for index = 2, #KEYS do
    redis.call('DEL', KEYS[index])
end
"""
# KEYS: the clock and tags. ARGV: what the clock was, what makes a token unique, its time to live.
# A token begins with the clock of the moment in which it was made. Who makes one now cannot know
# whether there was another, if anything was forgotten since, and makes it for who loads next. Kept
# for twice as long as it has to be, so that not every load has to prolong it.
DEPEND = """
local clock, ttl = ARGV[1], tonumber(ARGV[3])
local now = redis.call('GET', KEYS[1])
local valid, tokens = true, {}
for index = 2, #KEYS do
    local token = redis.call('GET', KEYS[index])
    local since = token and tonumber(string.match(token, '^%d+'))
    if since and since <= tonumber(clock) then
        if redis.call('PTTL', KEYS[index]) < ttl then
            redis.call('PEXPIRE', KEYS[index], 2 * ttl)
        end
    elseif now and (now == clock or not since) then
        token = now .. '.' .. ARGV[2]
        redis.call('SET', KEYS[index], token, 'PX', 2 * ttl)
        valid = valid and now == clock
    else
        valid = false
    end
    tokens[index - 1] = token
end
return valid and tokens
"""
# KEYS: an entry and its lock, which are in the same slot.
KEEP = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then
    return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[2])
return 1
"""
RENEW = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
"""
RELEASE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return 0
end
redis.call('DEL', KEYS[1])
return 1
"""
