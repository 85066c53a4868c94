-- One of a thousand hosts in every request, in no order that helps a cache; nine further fields.
local prepared, n = {}, 0

function init(args)
  for i = 0, 999 do
    local host = i * 617 % 1000
    prepared[i] = wrk.format("GET", string.format("/item/%d?page=%d", i * 7919 % 10007, i % 13), {
      ["Host"] = string.format("shop%d.example.com", host),
      ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
      ["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
      ["Accept-Language"] = "en-US,en;q=0.7,de;q=0.3",
      ["Accept-Encoding"] = "gzip, deflate, br, zstd",
      ["Cookie"] = string.format("session=%08x%08x; theme=dark; seen=%d", i * 2654435761 % 4294967296, i * 40503 % 65536, i),
      ["Upgrade-Insecure-Requests"] = "1",
      ["Sec-Fetch-Dest"] = "document",
      ["Sec-Fetch-Mode"] = "navigate",
      ["Priority"] = "u=0, i",
    })
  end
end

function request()
  n = (n + 1) % 1000
  return prepared[n]
end
