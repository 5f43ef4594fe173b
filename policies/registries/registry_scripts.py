"""What the registry has the store do in one step, audited: what serves, and the rollout beside it.

Scripts are sent whole: changes are rare, and a server that was restarted knows none of them.
"""

# KEYS: policy, set of versions, audit. ARGV: version, audit length, then files and contents.
PUBLISH = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
for i = 3, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('SADD', KEYS[2], ARGV[1])
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[2], '*', 'what', 'publish', 'version', ARGV[1])
return 1
"""

# A rollout that ends goes to the list of the past ones as it is, since Lua would round its numbers:
# `ending` is the JSON of an EndedRollout after its rollout and outcome.
_END = """
local function finish(rollout, past, audit, outcome, ending, by, note, past_length, audit_length)
  local current = redis.call('GET', rollout)
  if not current then return false end
  local ended = '{"rollout":' .. current .. ',"outcome":"' .. outcome .. '",' .. ending
  redis.call('DEL', rollout)
  redis.call('LPUSH', past, ended)
  redis.call('LTRIM', past, 0, past_length - 1)
  redis.call('XADD', audit, 'MAXLEN', '~', audit_length, '*', 'what', 'end-rollout',
    'version', cjson.decode(current)['version'], 'outcome', outcome, 'by', by, 'note', note)
  return ended
end
"""

# KEYS: policy, activations, generation, audit, rollout, past rollouts. ARGV: version, rollout, who,
# why, audit length, past length, ending, stage, share, the rollout and the active version that the
# caller has seen ('' for none).
# Answers 'unknown', 'changed' or 'begun'.
ROLL_OUT = (
    _END
    + """
if redis.call('EXISTS', KEYS[1]) == 0 then return 'unknown' end
local active = redis.call('LINDEX', KEYS[2], -1)
local incumbent = active and cjson.decode(active)['version'] or ''
local current = redis.call('GET', KEYS[5]) or ''
if current ~= ARGV[10] or incumbent ~= ARGV[11] then return 'changed' end
if current ~= '' and cjson.decode(current)['version'] ~= ARGV[1] then
  finish(KEYS[5], KEYS[6], KEYS[4], 'replaced', ARGV[7], ARGV[3], ARGV[4], ARGV[6], ARGV[5])
end
redis.call('SET', KEYS[5], ARGV[2])
redis.call('INCR', KEYS[3])
redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[5], '*', 'what', ARGV[8], 'version', ARGV[1],
  'share', ARGV[9], 'by', ARGV[3], 'note', ARGV[4])
return 'begun'
"""
)

# KEYS: rollout, past rollouts, generation, audit. ARGV: who, why, audit length, past length,
# ending, the rollout that the caller has seen.
# Answers false where it isn't the present one, else the ended rollout.
END_ROLLOUT = (
    _END
    + """
if redis.call('GET', KEYS[1]) ~= ARGV[6] then return false end
redis.call('INCR', KEYS[3])
return finish(KEYS[1], KEYS[2], KEYS[4], 'rolled_back', ARGV[5], ARGV[1], ARGV[2], ARGV[4], ARGV[3])
"""
)

# KEYS: lease. ARGV: owner, milliseconds.
HOLD_WATCH = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

# KEYS: lease, report. ARGV: owner, milliseconds, report.
REPORT_WATCH = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('SET', KEYS[2], ARGV[3])
return 1
"""

# KEYS: policy, activations, generation, audit, rollout, past rollouts. ARGV: version, activation,
# who, why, audit length, past length, ending, and where that matters the version that must be
# active ('' for none), with no rollout beside it.
# Answers false for a version that isn't stored, else 'changed' or the active activation.
ACTIVATE = (
    _END
    + """
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
local active = redis.call('LINDEX', KEYS[2], -1)
if ARGV[8] then
  local stands = active and cjson.decode(active)['version'] or ''
  if stands ~= ARGV[8] or redis.call('EXISTS', KEYS[5]) == 1 then return 'changed' end
end
if active and cjson.decode(active)['version'] == ARGV[1] then return active end
redis.call('RPUSH', KEYS[2], ARGV[2])
redis.call('INCR', KEYS[3])
redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[5], '*', 'what', 'activate', 'version', ARGV[1],
  'by', ARGV[3], 'note', ARGV[4])
local rollout = redis.call('GET', KEYS[5])
if rollout then
  local promoted = cjson.decode(rollout)['version'] == ARGV[1]
  finish(KEYS[5], KEYS[6], KEYS[4], promoted and 'promoted' or 'replaced', ARGV[7], ARGV[3],
    ARGV[4], ARGV[6], ARGV[5])
end
return ARGV[2]
"""
)

# KEYS: activations, generation, audit, rollout, past rollouts. ARGV: who, why, audit length, past
# length, ending.
# Answers false where nothing is active, else what is active now, an empty string for the rules.
ROLLBACK = (
    _END
    + """
if finish(KEYS[4], KEYS[5], KEYS[3], 'rolled_back', ARGV[5], ARGV[1], ARGV[2], ARGV[4], ARGV[3])
then
  redis.call('INCR', KEYS[2])
  return redis.call('LINDEX', KEYS[1], -1) or ''
end
local taken = redis.call('RPOP', KEYS[1])
if not taken then return false end
redis.call('INCR', KEYS[2])
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[3], '*', 'what', 'rollback',
  'version', cjson.decode(taken)['version'], 'by', ARGV[1], 'note', ARGV[2])
return redis.call('LINDEX', KEYS[1], -1) or ''
"""
)


# KEYS: looks, audit. ARGV: look, incumbent, audit length. Answers the look's number.
RECORD_LOOK = """
local number = redis.call('HGET', KEYS[1], ARGV[1])
if number then return tonumber(number) end
number = redis.call('HLEN', KEYS[1]) + 1
redis.call('HSET', KEYS[1], ARGV[1], number)
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*', 'what', 'look', 'incumbent', ARGV[2],
  'look', ARGV[1], 'number', number)
return number
"""
