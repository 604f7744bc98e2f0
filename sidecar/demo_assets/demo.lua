-- Behind the Wasm filter on the way to the application, before it on the way back.

function envoy_on_request(handle)
  local headers = handle:headers()
  if headers:get(":path") == "/lua" then
    handle:respond({[":status"] = "200", ["content-type"] = "text/plain"}, "Lua answers this path by itself\n")
    return
  end
  headers:add("x-sidecar-lua", "after " .. headers:get("x-sidecar-wasm"))
end

function envoy_on_response(handle)
  handle:headers():add("x-lua-filter", "edited")
end
