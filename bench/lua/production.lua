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
    prepared[i] = wrk.format("GET", path, browser(cookie))
  end
end

function request()
  n = n % 512 + 1
  return prepared[n]
end
