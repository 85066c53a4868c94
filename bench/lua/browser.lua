-- The twelve fields that a browser sends; in front of the scripts that want them.
function browser(cookie)
  return {
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
  }
end
