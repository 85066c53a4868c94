-- A key among ENTRIES, by chance, in every request; five further fields.
local first, rest

function init(args)
  math.randomseed(ENTRIES)
  local whole = wrk.format("GET", "/small?id=@", {
    ["Host"] = "www.example.com",
    ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    ["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    ["Accept-Language"] = "en-US,en;q=0.7,de;q=0.3",
    ["Accept-Encoding"] = "gzip, deflate, br, zstd",
    ["Cookie"] = "session=0123456789abcdef; theme=dark; seen=17",
  })
  local at = string.find(whole, "@", 1, true)
  first, rest = string.sub(whole, 1, at - 1) .. "k", string.sub(whole, at + 1)
end

function request()
  return first .. math.random(0, ENTRIES - 1) .. rest
end
