-- What scripts of `sidecar.extensions.filters.http.lua.v1.Lua` may require besides Envoy's API: one module each,
-- `require("sidecar.json")` and so on.  It gets Python's functions and package.preload.
local py, preload = ...
local error, type, tostring, next, pairs, setmetatable = error, type, tostring, next, pairs, setmetatable
local format, gsub, byte, concat, floor, huge = string.format, string.gsub, string.byte, table.concat, math.floor, math.huge
local select = select

local function text(value, position, name)
  if type(value) == "string" then return value end
  if type(value) == "number" then return tostring(value) end
  error("bad argument #" .. position .. " to '" .. name .. "' (string expected, got "
    .. (value == nil and "no value" or type(value)) .. ")", 3)
end
-- What Python gives: the value, or nothing and a text.
local function checked(problem, ...)
  if problem then error(problem, 3) end
  return ...
end
local function module(name, functions)
  preload["sidecar." .. name] = function() return functions end
end

-- JSON.  `null` stands for null in tables; an empty table is an object, `empty_array` an empty list.
local json = {null = setmetatable({}, {__tostring = function() return "null" end}), empty_array = {}}
local ESCAPES = {['"'] = '\\"', ["\\"] = "\\\\", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t"}
local function quoted(value)
  return '"' .. gsub(value, '[%c"\\\127]', function(char) return ESCAPES[char] or format("\\u%04x", byte(char)) end) .. '"'
end
local encode
local function encode_table(value, out, depth)
  if value == json.null then out[#out + 1] = "null" return end
  if value == json.empty_array then out[#out + 1] = "[]" return end
  if depth > 100 then error("json: tables are nested too deeply", 0) end
  local count, size = 0, #value
  for key in next, value do count = count + 1 end
  if size > 0 and size == count then
    out[#out + 1] = "["
    for i = 1, size do
      if i > 1 then out[#out + 1] = "," end
      encode(value[i], out, depth + 1)
    end
    out[#out + 1] = "]"
    return
  end
  local keys = {}
  for key in next, value do
    if type(key) ~= "string" then error("json: an object's key is a " .. type(key), 0) end
    keys[#keys + 1] = key
  end
  table.sort(keys)
  out[#out + 1] = "{"
  for i = 1, #keys do
    if i > 1 then out[#out + 1] = "," end
    out[#out + 1] = quoted(keys[i])
    out[#out + 1] = ":"
    encode(value[keys[i]], out, depth + 1)
  end
  out[#out + 1] = "}"
end
function encode(value, out, depth)
  local kind = type(value)
  if kind == "string" then out[#out + 1] = quoted(value)
  elseif kind == "number" then
    if value ~= value or value == huge or value == -huge then error("json: a number is not finite", 0) end
    out[#out + 1] = value == floor(value) and value < 1e15 and value > -1e15 and format("%d", value) or format("%.17g", value)
  elseif kind == "boolean" then out[#out + 1] = tostring(value)
  elseif kind == "nil" then out[#out + 1] = "null"
  elseif kind == "table" then encode_table(value, out, depth)
  else error("json: a " .. kind .. " cannot be written", 0) end
end
function json.encode(value)
  local out = {}
  encode(value, out, 0)
  return concat(out)
end
-- The value, or nil and what is wrong.
function json.decode(source)
  return py.m_json_decode(text(source, 1, "decode"), json.null, json.empty_array)
end
module("json", json)

module("base64", {
  encode = function(data) return py.base64(text(data, 1, "encode")) end,
  decode = function(data) return py.base64_decode(text(data, 1, "decode")) end,
})
module("base64url", {
  encode = function(data) return py.m_base64url(text(data, 1, "encode")) end,
  decode = function(data) return py.m_base64url_decode(text(data, 1, "decode")) end,
})
local function digest(name)
  return function(data) return py.m_digest(name, text(data, 1, name)) end
end
local function hex(data)
  return (gsub(text(data, 1, "hex"), ".", function(char) return format("%02x", byte(char)) end))
end
module("sha256", {digest = digest("sha256"), hex = function(data) return hex(py.m_digest("sha256", text(data, 1, "hex"))) end})
local hmac = {equals = function(a, b) return py.m_equals(text(a, 1, "equals"), text(b, 2, "equals")) end, hex = hex}
for _, name in next, {"sha1", "sha256", "sha384", "sha512"} do
  hmac[name] = function(key, data) return py.m_hmac(name, text(key, 1, name), text(data, 2, name)) end
end
module("hmac", hmac)
-- The claims, or nil and why the token is not good.
module("jwt", {
  verify = function(token, provider) return py.m_jwt(text(token, 1, "verify"), text(provider, 2, "verify")) end,
})
module("url", {
  escape = function(value) return py.m_url_escape(text(value, 1, "escape")) end,
  unescape = function(value) return py.m_url_unescape(text(value, 1, "unescape")) end,
  parse = function(value) return py.m_url_parse(text(value, 1, "parse")) end,
  parse_query = function(value) return py.m_url_parse_query(text(value, 1, "parse_query")) end,
  build_query = function(values)
    if type(values) ~= "table" then error("bad argument #1 to 'build_query' (table expected)", 2) end
    local parts = {}
    local function add(key, value)
      parts[#parts + 1] = py.m_url_escape(key) .. "=" .. py.m_url_escape(tostring(value))
    end
    local keys = {}
    for key in next, values do keys[#keys + 1] = tostring(key) end
    table.sort(keys)
    for _, key in next, keys do
      local value = values[key]
      if type(value) == "table" then for i = 1, #value do add(key, value[i]) end else add(key, value) end
    end
    return concat(parts, "&")
  end,
})
module("uuid", {v4 = function() return py.m_uuid4() end})
-- RE2: find gives start and end, match the captures (or the whole), gsub the text and how often.
module("re", {
  find = function(value, pattern, init)
    return checked(py.m_re_find(text(value, 1, "find"), text(pattern, 2, "find"), init or 1))
  end,
  match = function(value, pattern)
    return checked(py.m_re_match(text(value, 1, "match"), text(pattern, 2, "match")))
  end,
  gsub = function(value, pattern, with)
    return checked(py.m_re_gsub(text(value, 1, "gsub"), text(pattern, 2, "gsub"), text(with, 3, "gsub")))
  end,
})
-- Dictionaries that all streams share, by the names that the configuration gives.
local function of_dictionary(name)
  return function(dictionary, key, ...)
    return checked(py.m_shared(name, text(dictionary, 1, name), text(key, 2, name), ...))
  end
end
module("shared", {get = of_dictionary("get"), set = of_dictionary("set"), add = of_dictionary("add"),
  incr = of_dictionary("incr"), delete = of_dictionary("delete")})
