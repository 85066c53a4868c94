-- Twelve fields as a browser sends them, for what takes the origin longer than the proxy.
local prepared

function init(args)
  prepared = wrk.format("GET", "/slow", browser("session=1; theme=dark"))
end

function request()
  return prepared
end
