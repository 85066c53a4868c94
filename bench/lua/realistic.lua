-- Twelve fields as a browser sends them; path and cookies vary from request to request. 512 requests are made beforehand.
local prepared, n = {}, 0

function init(args)
  local sections = { "products", "articles", "account/orders", "search", "img/icons", "api/v2/items", "help", "checkout" }
  for i = 1, 512 do
    local path = string.format("/%s/%d/view.html?page=%d&ref=%s", sections[i % #sections + 1], i * 7919 % 10007, i % 13, i % 3 == 0 and "home" or "mail")
    local cookie = string.format("session=%08x%08x; theme=dark; consent=1; seen=%d", i * 2654435761 % 4294967296, i * 40503 % 65536, i)
    prepared[i] = wrk.format("GET", path, browser(cookie))
  end
end

function request()
  n = n % 512 + 1
  return prepared[n]
end
