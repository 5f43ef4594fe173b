-- wrk's side of http_load.py: sends the bodies in a file in turn, and reports as one line of JSON.
--    wrk -s http_load.lua http://HOST:PORT -- PATH FILE

local requests, at = {}, 0

function init(arguments)
  local headers = { ["Content-Type"] = "application/json", ["Host"] = wrk.host }
  for body in io.lines(arguments[2]) do
    requests[#requests + 1] = wrk.format("POST", arguments[1], headers, body)
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency)
  local failed = summary.errors
  local all = failed.connect + failed.read + failed.write + failed.timeout + failed.status
  io.write(string.format(
    '\n{"answered": %d, "failed": %d, "seconds": %.6f, "p50_ms": %.4f, "p99_ms": %.4f, "max_ms": %.4f}\n',
    summary.requests - failed.status, all, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3
  ))
end
