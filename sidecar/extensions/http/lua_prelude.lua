-- The Lua half of the Lua filter: the objects that scripts see, and how a script is run.
--
-- It is loaded into a new state before the user's script.  It gets what fetches Python's functions
-- by name (sidecar.extensions.http.lua_script.Script) and returns the entry points that Python
-- calls.  Argument checks, scope checks and iterators live here, because Lua code costs nothing
-- beside a call into Python, and because only here ``error(text, 2)`` knows the script's line.
--
-- Envoy's objects are userdata, these are tables; ``type(handle)`` tells the difference.  An object is valid
-- while its invocation runs and until that invocation next waits (Envoy's markDead): objects point to their
-- handle in ``h``, and ``h ~= current`` is the whole check.
--
-- Every invocation runs in a coroutine that is taken from a pool and goes back to it, so that a script
-- which never waits makes no coroutine.
local fetch, shared, soft_kib = ...
local error, type, tostring, next, pcall, select = error, type, tostring, next, pcall, select
local gcinfo, sub, raw_xpcall, traceback = gcinfo, string.sub, xpcall, debug.traceback
local setmetatable, getmetatable, rawpairs, rawipairs = setmetatable, getmetatable, pairs, ipairs
local create, resume_thread, yield = coroutine.create, coroutine.resume, coroutine.yield
local floor, match, lower, find, unpack = math.floor, string.match, string.lower, string.find, unpack

-- What Envoy's LuaJIT has on top of ours (it is built with the 5.2 compatibility switched on).
function pairs(t)
  local meta = getmetatable(t)
  local hook = type(meta) == "table" and meta.__pairs
  if hook then return hook(t) end
  return rawpairs(t)
end
function ipairs(t)
  local meta = getmetatable(t)
  local hook = type(meta) == "table" and meta.__ipairs
  if hook then return hook(t) end
  return rawipairs(t)
end
table.pack = table.pack or function(...) return {n = select("#", ...), ...} end
table.unpack = table.unpack or unpack
EnvoyTimestampResolution = {MILLISECOND = 0, MICROSECOND = 1}

-- Python's functions.  What they return is allocated where no error may be raised (docs/adr/0012), so there has
-- to be room for it.
-- Each is asked for when it is first called: a script uses few of them, and a state for each script has to be small.
local edit_count, flush = 0, nil
local py = setmetatable({}, {__index = function(self, name)
  if gcinfo() > soft_kib then shared.check_memory() end
  local call = fetch(name)
  local function checked(...)
    if gcinfo() > soft_kib then shared.check_memory() end
    if edit_count > 0 then flush() end
    return call(...)
  end
  self[name] = checked
  return checked
end})

shared.py = py
-- The sandbox's, once it is there.
local give, begin_step, end_step

-- A call into Python costs more than all that a usual script does in Lua.  So edits of a message that cannot fail
-- are gathered (what to do, name, value, one after another), and are what the step gives when it is over; whatever
-- calls Python before has them done first.  `editable` says of a name what may be done so: 2 anything, 1 all but
-- adding (some names may stand once only), false nothing.
local ADD, REPLACE, REMOVE, SET_BODY, READ_BODY = 1, 2, 3, 4, 5
local MOST_EDITS, MOST_LENGTH = 60, 4096
local BAD = "[%z\1-\8\10-\31\127]"
local edits, editable = {}, {}
local edit_now
function flush()
  local count, size = edit_count, 0
  edit_count = 0
  for i = 1, count, 3 do size = size + #edits[i + 1] + #edits[i + 2] + 64 end
  give(size)  -- what is left at a step's end is little: there are so few of them, and they are short
  edit_now = edit_now or fetch("edit")
  edit_now(unpack(edits, 1, count))
end
local function edit(what, name, value)
  if edit_count >= MOST_EDITS then flush() end
  local n = edit_count
  edits[n + 1], edits[n + 2], edits[n + 3] = what, name, value
  edit_count = n + 3
end
local function look_at(name)
  local level, is_kept = py.editable(name)
  if is_kept then editable[name] = level end
  return level
end
local current              -- the handle of the running invocation
local DONE, BODY, CHUNK, TRAILERS, RESPONDED, CALL = {}, {}, {}, {}, {}, {}
shared.waits = {[BODY] = true, [CHUNK] = true, [TRAILERS] = true, [RESPONDED] = true, [CALL] = true}
local idle, idle_count = {}, 0

local function kind_of(count, value)
  if count == 0 then return "no value" end
  return type(value)
end

-- Checks; `level` is that of the caller in the script.
local classes = {}
local function out_of_scope(self, name, level)
  if type(self) ~= "table" or not classes[getmetatable(self)] then
    error("bad argument #1 to '" .. name .. "' (object expected, got " .. kind_of(self == nil and 0 or 1, self)
      .. ")", level + 1)
  end
  error("object used outside of proper scope", level + 1)
end

local function bad_argument(position, name, expected, level, count, value)
  error("bad argument #" .. position .. " to '" .. name .. "' (" .. expected .. " expected, got "
    .. kind_of(count, value) .. ")", level + 1)
end

local function text(value, position, name, count, level)
  if type(value) == "number" then return tostring(value) end
  bad_argument(position, name, "string", (level or 2) + 1, count, value)
end

-- Logging: on every object.
local LEVELS = {logTrace = 5, logDebug = 10, logInfo = 20, logWarn = 30, logErr = 40, logCritical = 50}
local logs = {}
local logged = {__index = logs}
for name, number in rawpairs(LEVELS) do
  logs[name] = function(self, ...)
    local message = ...
    if self == nil or self.h ~= current and not self.is_lasting then out_of_scope(self, name, 2) end
    if type(message) ~= "string" then message = text(message, 1, name, select("#", ...)) end
    give(#message + 64)
    py.log(number, message)
  end
end
local function with_logging(class)
  class.__index = class
  classes[class] = true
  return setmetatable(class, logged)
end

-- Header maps.
-- `prefix` is that of the names of Python's functions.
local function header_class(prefix)
  local H = {}
  local is_head = prefix == ""
  local get, values, add, replace = prefix .. "get", prefix .. "values", prefix .. "add", prefix .. "replace"
  -- `w` of an object is the running handle while it may be changed; what else it is, the slow way says.
  local function check_modifiable(self, name)
    if self == nil or self.h ~= current then out_of_scope(self, name, 3) end
    if self.iterating then error("header map cannot be modified while iterating", 3) end
    if self.window and current.continued then
      error("header map can no longer be modified", 3)
    end
  end
  function H.get(self, key, ...)
    if self == nil or self.h ~= current then out_of_scope(self, "get", 2) end
    if type(key) ~= "string" then key = text(key, 1, "get", key == nil and select("#", ...) or 1) end
    local value = py[get](key)
    if value then return value end
  end
  function H.getAtIndex(self, key, index)
    if self == nil or self.h ~= current then out_of_scope(self, "getAtIndex", 2) end
    if type(key) ~= "string" then key = text(key, 1, "getAtIndex", key == nil and 0 or 1) end
    if type(index) ~= "number" then bad_argument(2, "getAtIndex", "number", 2, index == nil and 0 or 1, index) end
    if index < 0 then return end
    local value = py[values](key, floor(index))
    if value then return value end
  end
  function H.getNumValues(self, key)
    if self == nil or self.h ~= current then out_of_scope(self, "getNumValues", 2) end
    if type(key) ~= "string" then key = text(key, 1, "getNumValues", key == nil and 0 or 1) end
    return py[values](key, -1)
  end
  function H.add(self, key, ...)
    local value = ...
    if self == nil or self.w ~= current then check_modifiable(self, "add") end
    if type(key) ~= "string" then key = text(key, 1, "add", 1) end
    if type(value) ~= "string" then value = text(value, 2, "add", select("#", ...)) end
    if is_head and #value < MOST_LENGTH and not find(value, BAD) then
      local level = editable[key]
      if level == nil then level = look_at(key) end
      if level == 2 then return edit(ADD, key, value) end
    end
    give(#key + #value + 64)
    local problem = py[add](key, value)
    if problem then error(problem, 2) end
  end
  function H.replace(self, key, ...)
    local value = ...
    if self == nil or self.w ~= current then check_modifiable(self, "replace") end
    if type(key) ~= "string" then key = text(key, 1, "replace", 1) end
    if type(value) ~= "string" then value = text(value, 2, "replace", select("#", ...)) end
    if is_head and #value < MOST_LENGTH and not find(value, BAD) then
      local level = editable[key]
      if level == nil then level = look_at(key) end
      if level then return edit(REPLACE, key, value) end
    end
    give(#key + #value + 64)
    local problem = py[replace](key, value)
    if problem then error(problem, 2) end
  end
  function H.remove(self, ...)
    local key = ...
    if self == nil or self.w ~= current then check_modifiable(self, "remove") end
    if type(key) ~= "string" then key = text(key, 1, "remove", select("#", ...)) end
    if is_head then
      local level = editable[key]
      if level == nil then level = look_at(key) end
      if level then return edit(REMOVE, key, "") end
    end
    py[prefix .. "remove"](key)
  end
  function H.setHttp1ReasonPhrase(self, ...)
    local phrase = ...
    if self == nil or self.h ~= current then out_of_scope(self, "setHttp1ReasonPhrase", 2) end
    if type(phrase) ~= "string" then phrase = text(phrase, 1, "setHttp1ReasonPhrase", select("#", ...)) end
    if prefix == "" then
      local problem = py.reason(phrase)
      if problem then error(problem, 2) end
    end
  end
  -- pairs() calls it in its place, so the script is the caller.
  function H.__pairs(self)
    if self.h ~= current then out_of_scope(self, "pairs", 2) end
    if self.iterating then error("cannot create a second iterator before completing the first", 2) end
    self.iterating, self.w = true, false
    local flat, position = py[prefix .. "all"](), -1
    return function()
      if self.h ~= current then out_of_scope(self, "pairs", 2) end
      position = position + 2
      local key = flat[position]
      if key == nil then
        self.iterating = nil
        self.w = not (self.window and current.continued) and current
        return nil
      end
      return key, flat[position + 1]
    end
  end
  return with_logging(H)
end

local Headers = header_class("")
-- Made when a script first asks for one.
local RequestHeaders, Trailers

-- Bodies.
local Buffer = {}
function Buffer.length(self)
  if self == nil or self.h ~= current then out_of_scope(self, "length", 2) end
  return #self.data
end
function Buffer.getBytes(self, index, length)
  if self == nil or self.h ~= current then out_of_scope(self, "getBytes", 2) end
  local data = self.data
  if index == 0 and length == #data then return data end
  local from, size = tonumber(index), tonumber(length)
  if not from then bad_argument(1, "getBytes", "number", 2, index == nil and 0 or 1, index) end
  if not size then bad_argument(2, "getBytes", "number", 2, length == nil and 0 or 1, length) end
  index, length = floor(from), floor(size)
  if index < 0 or length < 0 or index + length > #self.data then
    error("index/length must be >= 0 and (index + length) must be <= buffer size", 2)
  end
  return sub(self.data, index + 1, index + length)
end
function Buffer.setBytes(self, ...)
  local bytes = ...
  if self == nil or self.h ~= current then out_of_scope(self, "setBytes", 2) end
  if type(bytes) ~= "string" then bytes = text(bytes, 1, "setBytes", select("#", ...)) end
  self.data = bytes
  if self.whole then
    current.data = bytes
    if #bytes > MOST_LENGTH then
      py.set_body(bytes)
    elseif edit_count >= 3 and edits[edit_count - 2] == READ_BODY then
      edits[edit_count - 2], edits[edit_count] = SET_BODY, bytes  -- set without having been read by anybody else
    else
      edit(SET_BODY, "", bytes)
    end
  else
    current.changed = bytes
  end
  return #bytes
end
with_logging(Buffer)

-- Metadata, filter context: a table that was converted when the object was made.
local Map = {}
function Map.get(self, ...)
  local key = ...
  if self == nil or self.h ~= current then out_of_scope(self, "get", 2) end
  if type(key) ~= "string" then key = text(key, 1, "get", select("#", ...)) end
  local value = self.map[key]
  if value ~= nil then return value end
end
local function map_iterator(self, map)
  if self.h ~= current then out_of_scope(self, "pairs", 3) end
  if self.iterating then error("cannot create a second iterator before completing the first", 3) end
  self.iterating = true
  local key
  return function()
    if self.h ~= current then out_of_scope(self, "pairs", 2) end
    local value
    key, value = next(map, key)
    if key == nil then self.iterating = nil end
    return key, value
  end
end
function Map.__pairs(self) return (map_iterator(self, self.map)) end
with_logging(Map)

local DynamicMetadata = {}
function DynamicMetadata.get(self, ...)
  local name = ...
  if self == nil or self.h ~= current then out_of_scope(self, "get", 2) end
  if type(name) ~= "string" then name = text(name, 1, "get", select("#", ...)) end
  local value = py.metadata_get(name)
  if value ~= nil then return value end
end
function DynamicMetadata.set(self, ...)
  local name, key, value = ...
  local count = select("#", ...)
  if self == nil or self.h ~= current then out_of_scope(self, "set", 2) end
  if self.iterating then error("dynamic metadata map cannot be modified while iterating", 2) end
  if type(name) ~= "string" then name = text(name, 1, "set", count) end
  if type(key) ~= "string" then key = text(key, 2, "set", count > 1 and 1 or 0) end
  if type(value) == "table" and classes[getmetatable(value)] then
    error("unexpected type 'userdata' in dynamicMetadata", 2)
  end
  give(#name + #key + 128)
  local problem, size = py.metadata_set(name, key, value)
  if problem then error(problem, 2) end
  give(size)
end
function DynamicMetadata.__pairs(self)
  return (map_iterator(self, py.metadata_all()))
end
with_logging(DynamicMetadata)
local ConnectionMetadata = {}
function ConnectionMetadata.get(self, ...)
  local name = ...
  if self == nil or self.h ~= current then out_of_scope(self, "get", 2) end
  if type(name) ~= "string" then name = text(name, 1, "get", select("#", ...)) end
  local value = py.connection_metadata(name)
  if value ~= nil then return value end
end
function ConnectionMetadata.__pairs(self)
  return (map_iterator(self, py.connection_metadata()))
end
with_logging(ConnectionMetadata)

local FilterState = {}
function FilterState.get(self, ...)
  local name = ...
  if self == nil or self.h ~= current then out_of_scope(self, "get", 2) end
  if type(name) ~= "string" then name = text(name, 1, "get", select("#", ...)) end
  local field = select(2, ...)
  if field ~= nil and type(field) ~= "string" then field = text(field, 2, "get", 1) end
  local value = py.filter_state_get(name, field)
  if value ~= nil then return value end
end
function FilterState.set(self, ...)
  local name, factory, value = ...
  local count = select("#", ...)
  if self == nil or self.h ~= current then out_of_scope(self, "set", 2) end
  if type(name) ~= "string" then name = text(name, 1, "set", count) end
  if type(factory) ~= "string" then factory = text(factory, 2, "set", count > 1 and 1 or 0) end
  if type(value) ~= "string" then value = text(value, 3, "set", count > 2 and 1 or 0) end
  give(#name + #value + 128)
  local problem = py.filter_state_set(name, factory, value)
  if problem then error(problem, 2) end
end
with_logging(FilterState)

-- TLS, stream info, connection, route.
local function tls_class(names)
  local class = {}
  for _, name in rawipairs(names) do
    class[name] = function(self)
      if self == nil or self.h ~= current then out_of_scope(self, name, 2) end
      return py.tls(name)
    end
  end
  return class
end
-- Made when a script first asks for it.
local Ssl
local function ssl_object()
  if not Ssl then
    local ParsedName = with_logging(tls_class{"commonName", "organizationName"})
    Ssl = with_logging(tls_class{"peerCertificatePresented", "peerCertificateValidated", "uriSanLocalCertificate",
      "dnsSansLocalCertificate", "oidsLocalCertificate", "uriSanPeerCertificate", "dnsSansPeerCertificate",
      "oidsPeerCertificate", "sha256PeerCertificateDigest", "serialNumberPeerCertificate",
      "issuerPeerCertificate", "subjectPeerCertificate", "subjectLocalCertificate",
      "urlEncodedPemEncodedPeerCertificate", "urlEncodedPemEncodedPeerCertificateChain",
      "validFromPeerCertificate", "expirationPeerCertificate", "sessionId", "ciphersuiteId",
      "ciphersuiteString", "tlsVersion"})
    function Ssl.parsedSubjectPeerCertificate(self)
      if self == nil or self.h ~= current then out_of_scope(self, "parsedSubjectPeerCertificate", 2) end
      if not py.tls("peerCertificatePresented") then return nil end
      return current:keep(setmetatable({h = current}, ParsedName))
    end
  end
  return current:keep(setmetatable({h = current}, Ssl))
end
local StreamInfo = {}
for _, name in rawipairs{"protocol", "routeName", "virtualClusterName", "downstreamLocalAddress",
    "downstreamDirectLocalAddress", "downstreamRemoteAddress", "downstreamDirectRemoteAddress",
    "requestedServerName"} do
  StreamInfo[name] = function(self)
    if self == nil or self.h ~= current then out_of_scope(self, name, 2) end
    return py.info(name)
  end
end
function StreamInfo.downstreamSslConnection(self)
  if self == nil or self.h ~= current then out_of_scope(self, "downstreamSslConnection", 2) end
  if not py.tls("") then return nil end
  return ssl_object()
end
function StreamInfo.dynamicMetadata(self)
  if self == nil or self.h ~= current then out_of_scope(self, "dynamicMetadata", 2) end
  local map = self.metadata
  if not map then
    map = setmetatable({h = current}, DynamicMetadata)
    self.metadata = map
    current:keep(map)
  end
  return map
end
function StreamInfo.dynamicTypedMetadata(self, ...)
  local name = ...
  if self == nil or self.h ~= current then out_of_scope(self, "dynamicTypedMetadata", 2) end
  if type(name) ~= "string" then name = text(name, 1, "dynamicTypedMetadata", select("#", ...)) end
  return py.typed_metadata(name, false)
end
function StreamInfo.filterState(self)
  if self == nil or self.h ~= current then out_of_scope(self, "filterState", 2) end
  return current:keep(setmetatable({h = current}, FilterState))
end
function StreamInfo.drainConnectionUponCompletion(self)
  if self == nil or self.h ~= current then out_of_scope(self, "drainConnectionUponCompletion", 2) end
  py.drain()
end
with_logging(StreamInfo)

local ConnectionStreamInfo = {}
function ConnectionStreamInfo.dynamicMetadata(self)
  if self == nil or self.h ~= current then out_of_scope(self, "dynamicMetadata", 2) end
  return current:keep(setmetatable({h = current}, ConnectionMetadata))
end
function ConnectionStreamInfo.dynamicTypedMetadata(self, ...)
  local name = ...
  if self == nil or self.h ~= current then out_of_scope(self, "dynamicTypedMetadata", 2) end
  if type(name) ~= "string" then name = text(name, 1, "dynamicTypedMetadata", select("#", ...)) end
  return py.typed_metadata(name, true)
end
with_logging(ConnectionStreamInfo)

local Connection = {}
function Connection.ssl(self)
  if self == nil or self.h ~= current then out_of_scope(self, "ssl", 2) end
  if not py.tls("") then return nil end
  return ssl_object()
end
with_logging(Connection)

local Route = {}
function Route.metadata(self)
  if self == nil or self.h ~= current then out_of_scope(self, "metadata", 2) end
  return current:keep(setmetatable({h = current, map = py.map(self.which)}, Map))
end
with_logging(Route)

-- Stats.  The scope ends at every wait as other objects do; counters, gauges and histograms do not end.
local function amount(value, name, kind, count)
  local number = type(value) == "string" and tonumber(value) or value
  if type(number) ~= "number" then bad_argument(1, name, "number", 3, count, value) end
  if number < 0 then
    if name == "recordValue" then error("histogram value must be non-negative", 3) end
    if name == "set" then error("gauge set value must be non-negative", 3) end
    error(kind .. " " .. name .. " amount must be non-negative", 3)
  end
  return floor(number)
end
local function stat_class(kind, methods)
  local class = {}
  for name, takes in rawpairs(methods) do
    class[name] = function(self, ...)
      if type(self) ~= "table" or getmetatable(self) ~= class then out_of_scope(self, name, 2) end
      return py.stat(self.kind, self.name, name, takes and amount((...), name, kind, select("#", ...)) or 0, self.unit)
    end
  end
  class.is_lasting = true
  return with_logging(class)
end
local Counter = stat_class("counter", {inc = false, add = true, value = false})
local Gauge = stat_class("gauge", {inc = false, dec = false, add = true, sub = true, set = true, value = false})
local Histogram = stat_class("histogram", {recordValue = true})
local Stats = {}
local function stat_maker(kind, class)
  return function(self, ...)
    local name, unit = ...
    if self == nil or self.h ~= current then out_of_scope(self, kind, 2) end
    if type(name) ~= "string" then name = text(name, 1, kind, select("#", ...)) end
    if kind ~= "histogram" then unit = nil end
    if unit ~= nil and type(unit) ~= "string" then unit = text(unit, 2, kind, 1) end
    give(#name + 1024)
    local problem = py.stat(kind, name, "make", 0, unit)
    if problem then error(problem, 2) end
    return setmetatable({kind = kind, name = name, unit = unit}, class)
  end
end
Stats.counter, Stats.gauge = stat_maker("counter", Counter), stat_maker("gauge", Gauge)
Stats.histogram = stat_maker("histogram", Histogram)
with_logging(Stats)

-- A key of importPublicKey().
local PublicKey = {}
function PublicKey.get(self)
  if self == nil or self.h ~= current then out_of_scope(self, "get", 2) end
  return self.key
end
with_logging(PublicKey)

-- The stream handle.
local Handle = {}

-- Objects other than the handle end at every wait.
local function forget(handle)
  local object = handle.hh
  if object then object.h, object.w = false, false; handle.hh = false end
  object = handle.bb
  if object then object.h = false; handle.bb = false end
  local others = handle.others
  if others then
    for i = 1, #others do others[i].h, others[i].w = false, false end
    handle.others = false
    handle.tt, handle.si = nil, nil
  end
end

function Handle.keep(self, object)
  local others = self.others
  if not others then others = {}; self.others = others end
  others[#others + 1] = object
  return object
end

function Handle.headers(self)
  if self ~= current then out_of_scope(self, "headers", 2) end
  local object = self.hh
  if not object then
    object = setmetatable({h = self, w = not self.continued and self, window = true}, Headers)
    self.hh = object
  end
  return object
end

function Handle.body(self, ...)
  if self ~= current then out_of_scope(self, "body", 2) end
  local always = ...
  if select("#", ...) > 0 and type(always) ~= "boolean" then bad_argument(1, "body", "boolean", 2, 1, always) end
  if self.ended then
    if self.streamed and not self.data then error("cannot call body() after body has been streamed", 2) end
    local object = self.bb
    if object then return object end
    if not self.data then
      if not always then return end
      py.make_body()
      self.data = ""
    end
  else
    if self.streamed then error("cannot call body() after body streaming has started", 2) end
    forget(self)
    local data = self.given
    if data then
      edit(READ_BODY, "", "")
    else
      data = py.body_now() or yield(BODY)
    end
    self.data, self.ended, self.streamed = data, true, true
  end
  local object = setmetatable({h = self, data = self.data, whole = true}, Buffer)
  self.bb = object
  return object
end

function Handle.bodyChunks(self)
  if self ~= current then out_of_scope(self, "bodyChunks", 2) end
  if self.streamed then error("cannot call bodyChunks after body processing has begun", 2) end
  return function()
    if self ~= current then out_of_scope(self, "bodyChunks", 2) end
    if self.ended then return nil end
    forget(self)
    self.continued = true
    local data = yield(CHUNK)
    if data == nil then return nil end
    local object = setmetatable({h = self, data = data}, Buffer)
    self.bb = object
    return object
  end
end

function Handle.trailers(self)
  if self ~= current then out_of_scope(self, "trailers", 2) end
  local object = self.tt
  if object then return object end
  local found
  if self.ended then
    found = py.has_trailers()
  else
    forget(self)
    self.continued = true
    found = yield(TRAILERS)
    self.ended = true
  end
  if not found then return end
  Trailers = Trailers or header_class("t_")
  object = self:keep(setmetatable({h = self}, Trailers))
  self.tt = object
  return object
end

function Handle.respond(self, headers, body)
  if self ~= current then out_of_scope(self, "respond", 2) end
  if self.continued then error("respond() cannot be called if headers have been continued", 2) end
  if type(headers) ~= "table" then bad_argument(1, "respond", "table", 2, headers == nil and 0 or 1, headers) end
  if body ~= nil and type(body) ~= "string" then body = text(body, 2, "respond", 1) end
  local flat, n = {}, 0
  for key, value in next, headers do
    if type(key) ~= "string" then key = text(key, 4, "respond", 1) end
    if type(value) == "table" then
      for _, one in next, value do
        if type(one) ~= "string" then one = text(one, 7, "respond", 1) end
        flat[n + 1], flat[n + 2] = key, one
        n = n + 2
      end
    else
      if type(value) ~= "string" then value = text(value, 5, "respond", 1) end
      flat[n + 1], flat[n + 2] = key, value
      n = n + 2
    end
  end
  local problem = py.respond(flat, n, body)
  if problem then error(problem, 2) end
  yield(RESPONDED)
end

local OPTIONS = {asynchronous = true, timeout_ms = true, trace_sampled = true, return_duplicate_headers = true,
  send_xff = true}
local function call_options(options, count, asynchronous)
  if type(options) == "table" then
    for key in next, options do
      if type(key) == "number" then key = tostring(key) end
      if not OPTIONS[key] then error('"' .. tostring(key) .. '" is not valid key for httpCall() options', 3) end
    end
    local timeout, send_xff = options.timeout_ms, options.send_xff
    if timeout ~= nil then
      local number = tonumber(timeout)
      if type(number) ~= "number" then bad_argument(7, "httpCall", "number", 3, 1, timeout) end
      timeout = number
    end
    return floor(timeout or 0), options.asynchronous and true or false, options.return_duplicate_headers and true or false,
      send_xff == nil or send_xff and true or false, options.trace_sampled
  end
  local number = tonumber(options)
  if type(number) ~= "number" then bad_argument(4, "httpCall", "number", 3, count > 3 and 1 or 0, options) end
  if count > 4 and type(asynchronous) ~= "boolean" then
    error("http call asynchronous flag must be 'true', 'false', or empty", 3)
  end
  return floor(number), asynchronous or false, false, true, nil
end

function Handle.httpCall(self, ...)
  if self ~= current then out_of_scope(self, "httpCall", 2) end
  local cluster, headers, body, options, flag = ...
  local timeout, asynchronous, keeps_all, send_xff, sampled = call_options(options, select("#", ...), flag)
  if type(cluster) ~= "string" then cluster = text(cluster, 1, "httpCall", cluster == nil and 0 or 1) end
  if type(headers) ~= "table" then bad_argument(2, "httpCall", "table", 2, headers == nil and 0 or 1, headers) end
  if body ~= nil and type(body) ~= "string" then body = text(body, 3, "httpCall", 1) end
  if timeout < 0 then error("http call timeout must be >= 0", 2) end
  local flat, n = {}, 0
  for key, value in next, headers do
    if type(key) ~= "string" then key = text(key, 6, "httpCall", 1) end
    if type(value) == "table" then
      for _, one in next, value do
        if type(one) ~= "string" then one = text(one, 9, "httpCall", 1) end
        flat[n + 1], flat[n + 2] = key, one
        n = n + 2
      end
    else
      if type(value) ~= "string" then value = text(value, 7, "httpCall", 1) end
      flat[n + 1], flat[n + 2] = key, value
      n = n + 2
    end
  end
  give(64 * 1024 + (body and #body or 0))
  local problem = py.http_call(cluster, flat, body, timeout, asynchronous, keeps_all, send_xff, sampled)
  if problem then error(problem, 2) end
  if asynchronous then return end
  forget(self)
  return yield(CALL)
end

function Handle.requestHeaders(self)
  if self ~= current then out_of_scope(self, "requestHeaders", 2) end
  RequestHeaders = RequestHeaders or header_class("q_")
  return self:keep(setmetatable({h = self}, RequestHeaders))
end

function Handle.setUpstreamOverrideHost(self, ...)
  if self ~= current then out_of_scope(self, "setUpstreamOverrideHost", 2) end
  local host, strict = ...
  local count = select("#", ...)
  if type(host) ~= "string" then host = text(host, 1, "setUpstreamOverrideHost", count) end
  if count > 1 and type(strict) ~= "boolean" then bad_argument(2, "setUpstreamOverrideHost", "boolean", 2, 1, strict) end
  local problem = py.override_host(host, strict or false)
  if problem then error(problem, 2) end
end

local function bytes_of(name, position, value, size, count)
  if type(value) ~= "string" then value = text(value, position, name, count >= position and 1 or 0, 3) end
  if type(size) ~= "number" then
    bad_argument(position + 1, name, "number", 3, count > position and 1 or 0, size)
  end
  size = floor(size)
  if size < 0 or size > #value then error("length is beyond the end of the string", 3) end
  return sub(value, 1, size)
end
function Handle.importPublicKey(self, ...)
  if self ~= current then out_of_scope(self, "importPublicKey", 2) end
  local key, size = ...
  local der = bytes_of("importPublicKey", 1, key, size, select("#", ...))
  local object = self.key
  if not object then
    object = setmetatable({h = self, key = py.import_key(der, key)}, PublicKey)
    self.key = object
  end
  return object
end
function Handle.verifySignature(self, ...)
  if self ~= current then out_of_scope(self, "verifySignature", 2) end
  local hash, key, signature, signature_size, data, data_size = ...
  local count = select("#", ...)
  if type(hash) ~= "string" then hash = text(hash, 1, "verifySignature", count) end
  if type(key) ~= "string" then key = text(key, 2, "verifySignature", count > 1 and 1 or 0) end
  if not py.has_key(key) then error("invalid public key", 2) end
  signature = bytes_of("verifySignature", 3, signature, signature_size, count)
  data = bytes_of("verifySignature", 5, data, data_size, count)
  return py.verify_signature(hash, key, signature, data)
end

function Handle.metadata(self)
  if self ~= current then out_of_scope(self, "metadata", 2) end
  return self:keep(setmetatable({h = self, map = py.map("metadata")}, Map))
end
function Handle.filterContext(self)
  if self ~= current then out_of_scope(self, "filterContext", 2) end
  return self:keep(setmetatable({h = self, map = py.map("filter_context")}, Map))
end
function Handle.virtualHost(self)
  if self ~= current then out_of_scope(self, "virtualHost", 2) end
  return self:keep(setmetatable({h = self, which = "virtual_host"}, Route))
end
function Handle.route(self)
  if self ~= current then out_of_scope(self, "route", 2) end
  return self:keep(setmetatable({h = self, which = "route"}, Route))
end
function Handle.streamInfo(self)
  if self ~= current then out_of_scope(self, "streamInfo", 2) end
  local object = self.si
  if not object then
    object = self:keep(setmetatable({h = self}, StreamInfo))
    self.si = object
  end
  return object
end
function Handle.connection(self)
  if self ~= current then out_of_scope(self, "connection", 2) end
  return self:keep(setmetatable({h = self}, Connection))
end
function Handle.connectionStreamInfo(self)
  if self ~= current then out_of_scope(self, "connectionStreamInfo", 2) end
  return self:keep(setmetatable({h = self}, ConnectionStreamInfo))
end
function Handle.stats(self)
  if self ~= current then out_of_scope(self, "stats", 2) end
  return self:keep(setmetatable({h = self}, Stats))
end
function Handle.clearRouteCache(self)
  if self ~= current then out_of_scope(self, "clearRouteCache", 2) end
  py.clear_route_cache()
end
function Handle.base64Escape(self, ...)
  local input = ...
  if self ~= current then out_of_scope(self, "base64Escape", 2) end
  if type(input) ~= "string" then input = text(input, 1, "base64Escape", select("#", ...)) end
  return py.base64(input)
end
function Handle.timestamp(self, resolution)
  if self ~= current then out_of_scope(self, "timestamp", 2) end
  if resolution ~= nil and (tonumber(resolution) or resolution) ~= 0 then error("timestamp format must be MILLISECOND.", 2) end
  return py.timestamp(0)
end
function Handle.timestampString(self, resolution)
  if self ~= current then out_of_scope(self, "timestampString", 2) end
  resolution = tonumber(resolution) or resolution
  if resolution == nil or resolution == 0 then return py.timestamp(1) end
  if resolution == 1 then return py.timestamp(2) end
  error("timestamp format must be MILLISECOND or MICROSECOND.", 2)
end
function Handle.base64Decode(self, ...)
  local input = ...
  if self ~= current then out_of_scope(self, "base64Decode", 2) end
  if type(input) ~= "string" then input = text(input, 1, "base64Decode", select("#", ...)) end
  return py.base64_decode(input)
end
for name, number in rawpairs(LEVELS) do
  Handle[name] = function(self, ...)
    local message = ...
    if self ~= current then out_of_scope(self, name, 2) end
    if type(message) ~= "string" then message = text(message, 1, name, select("#", ...)) end
    give(#message + 64)
    py.log(number, message)
  end
end
Handle.__index = Handle
classes[Handle] = true
-- Envoy's objects are userdata.
_G.type = function(...)
  local value = ...
  if value == nil then
    if select("#", ...) == 0 then error("bad argument #1 to 'type' (value expected)", 2) end
    return "nil"
  end
  local kind = type(value)
  if kind == "table" and classes[getmetatable(value)] then return "userdata" end
  return kind
end

-- Running.
local traced = nil         -- handles an error where it is raised, for stack traces
local function plain_worker(run, handle)
  while true do
    local ok, problem = pcall(run, handle)
    run, handle = yield(DONE, ok, problem)
  end
end
local function traced_worker(run, handle)
  while true do
    local ok, problem = raw_xpcall(run, traced, handle)
    run, handle = yield(DONE, ok, problem)
  end
end
local worker = plain_worker

local function told(problem)
  if type(problem) == "string" then return problem end
  if type(problem) == "number" then return tostring(problem) end
  if type(problem) == "userdata" then return tostring(problem) end  -- an exception of Python's
  return "unspecified lua error"
end

local function settle(thread, handle, alive, what, a, b)
  local is_well = end_step()
  current = nil
  if what == DONE then
    handle.h = false
    if idle_count < 64 then
      idle_count = idle_count + 1
      idle[idle_count] = thread
    end
    local count = edit_count
    if a and is_well and count > 0 then
      edit_count = 0
      if count == 3 then return 0, edits[1], edits[2], edits[3] end
      return 0, unpack(edits, 1, count)
    end
    if count > 0 then flush() end
    if not is_well then py.give_up() end
    if a then return end
    return 1, told(b)
  end
  if edit_count > 0 then flush() end
  if not is_well then py.give_up() end
  if alive then
    handle.thread = thread
    if what == BODY then return 2, handle end
    if what == CHUNK then return 3, handle end
    if what == TRAILERS then return 4, handle end
    if what == RESPONDED then return 5, false end
    if what == CALL then return 6, handle end
    return 1, "script performed an unexpected yield"
  end
  return 1, told(what)
end

local function starter(run)
  if type(run) ~= "function" then return nil end
  -- `given` is the whole body, where it is at hand and scripts have asked for it before.
  return function(ended, given)
    -- All that a usual script needs in a table that does not grow.
    local handle = setmetatable({ended = ended, given = given, h = false, hh = false, bb = false, data = false,
      streamed = false, continued = false}, Handle)
    handle.h = handle
    local thread
    if idle_count > 0 then
      thread = idle[idle_count]
      idle[idle_count] = nil
      idle_count = idle_count - 1
    else
      thread = create(worker)
    end
    current, edit_count = handle, 0
    begin_step()
    return settle(thread, handle, resume_thread(thread, run, handle))
  end
end

-- Functions that answer at once: envoy_on_route(handle) of cluster specifiers, envoy_match(value) of string matchers.
local function route_object()
  local Headers, Cluster, RouteHandle = {}, {}, {}
  function Headers.get(self, ...)
    local key = ...
    if self == nil or self.h ~= current then out_of_scope(self, "get", 2) end
    if type(key) ~= "string" then key = text(key, 1, "get", select("#", ...)) end
    local value = py.get(key)
    if value then return value end
  end
  for _, name in rawipairs{"numConnections", "numRequests", "numPendingRequests"} do
    Cluster[name] = function(self)
      if self == nil or self.h ~= current then out_of_scope(self, name, 2) end
      return py.cluster_use(self.name, name)
    end
  end
  function RouteHandle.headers(self)
    if self == nil or self.h ~= current then out_of_scope(self, "headers", 2) end
    return setmetatable({h = self}, Headers)
  end
  function RouteHandle.getCluster(self, ...)
    local name = ...
    if self == nil or self.h ~= current then out_of_scope(self, "getCluster", 2) end
    if type(name) ~= "string" then name = text(name, 1, "getCluster", select("#", ...)) end
    if not py.cluster_use(name, "") then return end
    return setmetatable({h = self, name = name}, Cluster)
  end
  with_logging(Headers)
  with_logging(Cluster)
  with_logging(RouteHandle)
  return function()
    local handle = setmetatable({}, RouteHandle)
    handle.h = handle
    return handle
  end
end

-- True and what the function gave, or false and the error.
local function answered(thread, alive, what, a, b)
  local is_well = end_step()
  current = nil
  if what == DONE and idle_count < 64 then
    idle_count = idle_count + 1
    idle[idle_count] = thread
  end
  if not is_well then py.give_up() end
  if what ~= DONE then
    if alive then return true end
    return false, told(what)
  end
  if not a then return false, told(b) end
  if type(b) == "number" then b = tostring(b) end
  if type(b) == "string" or type(b) == "boolean" then return true, b end
  return true
end

local function last(...)
  local count = select("#", ...)
  if count > 0 then return (select(count, ...)) end
end

local entry = {}
-- The global function of that name; nil where there is none.
function entry.answering(name, is_route)
  local run = _G[name]
  if type(run) ~= "function" then return nil end
  local make = is_route and route_object()
  if is_route then  -- Envoy takes the last of what it gives, of a matcher's the first
    local choose = run
    run = function(handle) return last(choose(handle)) end
  end
  return function(value)
    if make then value = make() end
    local thread
    if idle_count > 0 then
      thread = idle[idle_count]
      idle[idle_count] = nil
      idle_count = idle_count - 1
    else
      thread = create(worker)
    end
    current, edit_count = value, 0
    begin_step()
    return answered(thread, resume_thread(thread, run, value))
  end
end
local function go_on(handle, ...)
  current, edit_count = handle, 0
  begin_step()
  return settle(handle.thread, handle, resume_thread(handle.thread, ...))
end
-- The whole body for a script in body(); headers and body of an answer for one in httpCall().
entry.resume_body, entry.resume_call = go_on, go_on
-- A chunk (nil: there are no more) for a script in bodyChunks(); what it made of it is entry.changed().
function entry.resume_chunk(handle, data, ended)
  handle.changed = nil
  handle.ended = ended
  if data ~= nil then handle.streamed = true end
  return go_on(handle, data)
end
function entry.changed(handle) return handle.changed end
-- Body bytes went by while the script waits for trailers.
function entry.saw_body(handle) handle.streamed = true end
-- Headers went on while the script waits.
function entry.resume_trailers(handle, found)
  return go_on(handle, found)
end
-- Loads the user's script: nil, or the error and its line.
function entry.load(code, name)
  give, begin_step, end_step = shared.give, shared.begin_step, shared.end_step
  begin_step(true)
  local chunk, problem = shared.compile(code, name)
  if not chunk then return problem, match((select(2, shared.compile(code, "=script"))), "^script:(%d+):") end
  local ok
  ok, problem = pcall(chunk)
  local is_well = end_step()
  if not ok then
    problem = told(problem)
    return problem, match(problem, "[%]%w]:(%d+): ")
  end
  if not is_well then return "script uses too much memory" end
  shared.collect()
end
function entry.starters()
  return starter(envoy_on_request), starter(envoy_on_response)
end
-- Errors get a stack trace behind them.
function entry.trace()
  traced = function(problem) return traceback(told(problem), 2) end
  worker = traced_worker
end
return entry
