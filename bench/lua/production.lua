-- As realistic.lua, for the production configuration: three backends, rewrites, most clients with a cookie of persistence.
local prepared, n = {}, 0

function init(args)
  local sections = { "shop/products", "articles", "api/v2/items", "shop/account", "img/icons", "shop/search", "checkout", "css/main" }
  for i = 1, 512 do
    local path = string.format("/%s/%d/view?page=%d&ref=%s", sections[i % #sections + 1], i * 7919 % 10007, i % 13, i % 3 == 0 and "home" or "mail")
    local cookie = string.format("session=%08x%08x; theme=dark; seen=%d", i * 2654435761 % 4294967296, i * 40503 % 65536, i)
    if i % 4 ~= 0 then
      cookie = cookie .. "; SRV=app" .. (i % 4)
    end
    prepared[i] = wrk.format("GET", path, {
      ["Host"] = "www.example.com",
      ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
      ["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
      ["Accept-Language"] = "en-US,en;q=0.7,de;q=0.3",
      ["Accept-Encoding"] = "gzip, deflate, br, zstd",
      ["Referer"] = "https://www.example.com/start?from=newsletter",
      ["Cookie"] = cookie,
      ["Upgrade-Insecure-Requests"] = "1",
      ["Sec-Fetch-Dest"] = "document",
      ["Sec-Fetch-Mode"] = "navigate",
      ["Sec-Fetch-Site"] = "same-origin",
      ["Priority"] = "u=0, i",
    })
  end
end

function request()
  n = n % 512 + 1
  return prepared[n]
end
