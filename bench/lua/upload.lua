-- 1 MiB with every request.
local prepared

function init(args)
  prepared = wrk.format("POST", "/upload", { ["Host"] = "www.example.com", ["Content-Type"] = "application/octet-stream" },
    string.rep("0123456789abcdef", 65536))
end

function request()
  return prepared
end
