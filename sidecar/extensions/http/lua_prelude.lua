-- The Lua half of the Lua filter: the objects that scripts see, and how a script is run.
--
-- It is loaded into a new state before the user's script.  It gets one table of Python
-- functions (sidecar.extensions.http.lua_script.Script makes it) and returns the entry points that
-- Python calls.  Argument checks, scope checks and iterators live here, because Lua code costs nothing
-- beside a call into Python, and because only here ``error(text, 2)`` knows the script's line.
--
-- Envoy's objects are userdata, these are tables; ``type(handle)`` tells the difference.  An object is valid
-- while its invocation runs and until that invocation next waits (Envoy's markDead): objects point to their
-- handle in ``h``, and ``h ~= current`` is the whole check.
--
-- Every invocation runs in a coroutine that is taken from a pool and goes back to it, so that a script
-- which never waits makes no coroutine.
local py = ...
local error, type, tostring, next, pcall, select = error, type, tostring, next, pcall, select
local setmetatable, getmetatable, rawpairs, rawipairs = setmetatable, getmetatable, pairs, ipairs
local create, resume_thread, yield = coroutine.create, coroutine.resume, coroutine.yield
local floor, match, lower = math.floor, string.match, string.lower

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
python = nil
package.loaded.python = nil

local current              -- the handle of the running invocation
local DONE, BODY, CHUNK, TRAILERS, RESPONDED = {}, {}, {}, {}, {}
local idle, idle_count = {}, 0

local function kind_of(count, value)
  if count == 0 then return "no value" end
  return type(value)
end

-- Checks; `level` is that of the caller in the script.
local function out_of_scope(self, name, level)
  if type(self) ~= "table" then
    error("bad argument #1 to '" .. name .. "' (object expected, got " .. kind_of(self == nil and 0 or 1, self)
      .. ")", level + 1)
  end
  error("object used outside of proper scope", level + 1)
end

local function bad_argument(position, name, expected, level, count, value)
  error("bad argument #" .. position .. " to '" .. name .. "' (" .. expected .. " expected, got "
    .. kind_of(count, value) .. ")", level + 1)
end

local function text(value, position, name, count)
  if type(value) == "number" then return tostring(value) end
  bad_argument(position, name, "string", 3, count, value)
end

-- Logging: on every object.
local LEVELS = {logTrace = 5, logDebug = 10, logInfo = 20, logWarn = 30, logErr = 40, logCritical = 50}
local function with_logging(class)
  for name, number in rawpairs(LEVELS) do
    class[name] = function(self, ...)
      local message = ...
      if self == nil or self.h ~= current then out_of_scope(self, name, 2) end
      if type(message) ~= "string" then message = text(message, 1, name, select("#", ...)) end
      py.log(number, message)
    end
  end
  class.__index = class
  return class
end

-- Header maps.
local function header_class(get, values, add, replace, remove, all, reason)
  local H = {}
  local function check_modifiable(self)
    if self.iterating then error("header map cannot be modified while iterating", 3) end
    if self.window and current.continued then
      error("header map can no longer be modified", 3)
    end
  end
  function H.get(self, key, ...)
    if self == nil or self.h ~= current then out_of_scope(self, "get", 2) end
    if type(key) ~= "string" then key = text(key, 1, "get", key == nil and select("#", ...) or 1) end
    local value = get(key)
    if value then return value end
  end
  function H.getAtIndex(self, key, index)
    if self == nil or self.h ~= current then out_of_scope(self, "getAtIndex", 2) end
    if type(key) ~= "string" then key = text(key, 1, "getAtIndex", key == nil and 0 or 1) end
    if type(index) ~= "number" then bad_argument(2, "getAtIndex", "number", 2, index == nil and 0 or 1, index) end
    if index < 0 then return end
    local value = values(key, floor(index))
    if value then return value end
  end
  function H.getNumValues(self, key)
    if self == nil or self.h ~= current then out_of_scope(self, "getNumValues", 2) end
    if type(key) ~= "string" then key = text(key, 1, "getNumValues", key == nil and 0 or 1) end
    return values(key, -1)
  end
  function H.add(self, key, ...)
    local value = ...
    if self == nil or self.h ~= current then out_of_scope(self, "add", 2) end
    check_modifiable(self)
    if type(key) ~= "string" then key = text(key, 1, "add", 1) end
    if type(value) ~= "string" then value = text(value, 2, "add", select("#", ...)) end
    local problem = add(key, value)
    if problem then error(problem, 2) end
  end
  function H.replace(self, key, ...)
    local value = ...
    if self == nil or self.h ~= current then out_of_scope(self, "replace", 2) end
    check_modifiable(self)
    if type(key) ~= "string" then key = text(key, 1, "replace", 1) end
    if type(value) ~= "string" then value = text(value, 2, "replace", select("#", ...)) end
    local problem = replace(key, value)
    if problem then error(problem, 2) end
  end
  function H.remove(self, ...)
    local key = ...
    if self == nil or self.h ~= current then out_of_scope(self, "remove", 2) end
    check_modifiable(self)
    if type(key) ~= "string" then key = text(key, 1, "remove", select("#", ...)) end
    remove(key)
  end
  function H.setHttp1ReasonPhrase(self, ...)
    local phrase = ...
    if self == nil or self.h ~= current then out_of_scope(self, "setHttp1ReasonPhrase", 2) end
    if type(phrase) ~= "string" then phrase = text(phrase, 1, "setHttp1ReasonPhrase", select("#", ...)) end
    if reason then
      local problem = reason(phrase)
      if problem then error(problem, 2) end
    end
  end
  -- pairs() calls it in its place, so the script is the caller.
  function H.__pairs(self)
    if self.h ~= current then out_of_scope(self, "pairs", 2) end
    if self.iterating then error("cannot create a second iterator before completing the first", 2) end
    self.iterating = true
    local flat, position = all(), -1
    return function()
      if self.h ~= current then out_of_scope(self, "pairs", 2) end
      position = position + 2
      local key = flat[position]
      if key == nil then
        self.iterating = nil
        return nil
      end
      return key, flat[position + 1]
    end
  end
  return with_logging(H)
end

local Headers = header_class(py.get, py.values, py.add, py.replace, py.remove, py.all, py.reason)
local Trailers = header_class(py.t_get, py.t_values, py.t_add, py.t_replace, py.t_remove, py.t_all)

-- Bodies.
local Buffer = {}
function Buffer.length(self)
  if self == nil or self.h ~= current then out_of_scope(self, "length", 2) end
  return #self.data
end
function Buffer.getBytes(self, index, length)
  if self == nil or self.h ~= current then out_of_scope(self, "getBytes", 2) end
  if type(index) ~= "number" then bad_argument(1, "getBytes", "number", 2, index == nil and 0 or 1, index) end
  if type(length) ~= "number" then bad_argument(2, "getBytes", "number", 2, length == nil and 0 or 1, length) end
  index, length = floor(index), floor(length)
  if index < 0 or length < 0 or index + length > #self.data then
    error("index/length must be >= 0 and (index + length) must be <= buffer size", 2)
  end
  return self.data:sub(index + 1, index + length)
end
function Buffer.setBytes(self, ...)
  local bytes = ...
  if self == nil or self.h ~= current then out_of_scope(self, "setBytes", 2) end
  if type(bytes) ~= "string" then bytes = text(bytes, 1, "setBytes", select("#", ...)) end
  self.data = bytes
  if self.whole then py.set_body(bytes) else current.changed = bytes end
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
  if self.connection then return end
  local value = py.metadata_get(name)
  if value ~= nil then return value end
end
function DynamicMetadata.set(self, name, key, value)
  if self == nil or self.h ~= current then out_of_scope(self, "set", 2) end
  if self.connection then error("dynamic metadata of the connection cannot be set", 2) end
  if self.iterating then error("dynamic metadata map cannot be modified while iterating", 2) end
  if type(name) ~= "string" then name = text(name, 1, "set", 1) end
  if type(key) ~= "string" then key = text(key, 2, "set", 1) end
  local problem = py.metadata_set(name, key, value)
  if problem then error(problem, 2) end
end
function DynamicMetadata.__pairs(self)
  return (map_iterator(self, self.connection and {} or py.metadata_all()))
end
with_logging(DynamicMetadata)

local FilterState = {}
function FilterState.get(self, ...)
  local name = ...
  if self == nil or self.h ~= current then out_of_scope(self, "get", 2) end
  if type(name) ~= "string" then name = text(name, 1, "get", select("#", ...)) end
  local value = py.filter_state_get(name)
  if value ~= nil then return value end
end
function FilterState.set(self, name, factory, value)
  if self == nil or self.h ~= current then out_of_scope(self, "set", 2) end
  if type(name) ~= "string" then name = text(name, 1, "set", 1) end
  if type(factory) ~= "string" then factory = text(factory, 2, "set", 1) end
  if type(value) ~= "string" then value = text(value, 3, "set", 1) end
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
local ParsedName = with_logging(tls_class{"commonName", "organizationName"})
local Ssl = tls_class{"peerCertificatePresented", "peerCertificateValidated", "uriSanLocalCertificate",
    "dnsSansLocalCertificate", "oidsLocalCertificate", "uriSanPeerCertificate", "dnsSansPeerCertificate",
    "oidsPeerCertificate", "sha256PeerCertificateDigest", "serialNumberPeerCertificate",
    "issuerPeerCertificate", "subjectPeerCertificate", "subjectLocalCertificate",
    "urlEncodedPemEncodedPeerCertificate", "urlEncodedPemEncodedPeerCertificateChain",
    "validFromPeerCertificate", "expirationPeerCertificate", "sessionId", "ciphersuiteId",
    "ciphersuiteString", "tlsVersion"}
function Ssl.parsedSubjectPeerCertificate(self)
  if self == nil or self.h ~= current then out_of_scope(self, "parsedSubjectPeerCertificate", 2) end
  if not py.tls("peerCertificatePresented") then return nil end
  return current:keep(setmetatable({h = current}, ParsedName))
end
with_logging(Ssl)
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
  return current:keep(setmetatable({h = current}, Ssl))
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
function StreamInfo.dynamicTypedMetadata(self, name)
  if self == nil or self.h ~= current then out_of_scope(self, "dynamicTypedMetadata", 2) end
  return nil
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
  return current:keep(setmetatable({h = current, connection = true}, DynamicMetadata))
end
function ConnectionStreamInfo.dynamicTypedMetadata(self, name)
  if self == nil or self.h ~= current then out_of_scope(self, "dynamicTypedMetadata", 2) end
  return nil
end
with_logging(ConnectionStreamInfo)

local Connection = {}
function Connection.ssl(self)
  if self == nil or self.h ~= current then out_of_scope(self, "ssl", 2) end
  if not py.tls("") then return nil end
  return current:keep(setmetatable({h = current}, Ssl))
end
with_logging(Connection)

local Route = {}
function Route.metadata(self)
  if self == nil or self.h ~= current then out_of_scope(self, "metadata", 2) end
  return current:keep(setmetatable({h = current, map = py.map(self.which)}, Map))
end
with_logging(Route)

-- Stats.
local function amount(value, name)
  if type(value) ~= "number" then bad_argument(1, name, "number", 3, value == nil and 0 or 1, value) end
  return floor(value)
end
local function stat_class(methods)
  local class = {}
  for name, takes in rawpairs(methods) do
    class[name] = function(self, value)
      if self == nil or self.h ~= current then out_of_scope(self, name, 2) end
      return py.stat(self.kind, self.name, name, takes and amount(value, name) or 0)
    end
  end
  return with_logging(class)
end
local Counter = stat_class{inc = false, add = true, value = false}
local Gauge = stat_class{inc = false, dec = false, add = true, sub = true, set = true, value = false}
local Histogram = stat_class{recordValue = true}
local Stats = {}
local function stat_maker(kind, class)
  return function(self, name, unit)
    if self == nil or self.h ~= current then out_of_scope(self, kind, 2) end
    if type(name) ~= "string" then name = text(name, 1, kind, name == nil and 0 or 1) end
    local problem = py.stat(kind, name, "make", 0, unit)
    if problem then error(problem, 2) end
    return current:keep(setmetatable({h = current, kind = kind, name = name}, class))
  end
end
Stats.counter, Stats.gauge = stat_maker("counter", Counter), stat_maker("gauge", Gauge)
Stats.histogram = stat_maker("histogram", Histogram)
with_logging(Stats)

-- The stream handle.
local Handle = {}

-- Objects other than the handle end at every wait.
local function forget(handle)
  local object = handle.hh
  if object then object.h = false; handle.hh = nil end
  object = handle.bb
  if object then object.h = false; handle.bb = nil end
  local others = handle.others
  if others then
    for i = 1, #others do others[i].h = false end
    handle.others = nil
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
    object = setmetatable({h = self, window = true}, Headers)
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
    local data = py.body_now()
    if not data then data = yield(BODY) end
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

function Handle.httpCall(self, cluster, headers, body, timeout, asynchronous)
  if self ~= current then out_of_scope(self, "httpCall", 2) end
  if type(cluster) ~= "string" then cluster = text(cluster, 1, "httpCall", cluster == nil and 0 or 1) end
  error(py.http_call(cluster), 2)
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
  return self:keep(setmetatable({h = self, which = "metadata"}, Route))
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
  if resolution ~= nil and resolution ~= 0 then error("timestamp format must be MILLISECOND.", 2) end
  return py.timestamp(0)
end
function Handle.timestampString(self, resolution)
  if self ~= current then out_of_scope(self, "timestampString", 2) end
  if resolution == nil or resolution == 0 then return py.timestamp(1) end
  if resolution == 1 then return py.timestamp(2) end
  error("timestamp format must be MILLISECOND or MICROSECOND.", 2)
end
-- Known to Envoy, not to this release: they say so.
for _, name in rawipairs{"setUpstreamOverrideHost", "importPublicKey", "verifySignature"} do
  Handle[name] = function(self)
    if self ~= current then out_of_scope(self, name, 2) end
    error(py.unsupported(name), 2)
  end
end
for name, number in rawpairs(LEVELS) do
  Handle[name] = function(self, ...)
    local message = ...
    if self ~= current then out_of_scope(self, name, 2) end
    if type(message) ~= "string" then message = text(message, 1, name, select("#", ...)) end
    py.log(number, message)
  end
end
Handle.__index = Handle

-- Running.
local function worker(run, handle)
  while true do
    local ok, problem = pcall(run, handle)
    run, handle = yield(DONE, ok, problem)
  end
end

local function settle(thread, handle, alive, what, a, b)
  if what == DONE then
    current = nil
    if idle_count < 64 then
      idle_count = idle_count + 1
      idle[idle_count] = thread
    end
    if a then return end
    if type(b) == "string" or type(b) == "number" then return 1, tostring(b) end
    return 1, "unspecified lua error"
  end
  current = nil
  if what == BODY then handle.thread = thread; return 2, handle end
  if what == CHUNK then handle.thread = thread; return 3, handle end
  if what == TRAILERS then handle.thread = thread; return 4, handle end
  if what == RESPONDED then return 5 end
  if alive then return 1, "script performed an unexpected yield" end
  return 1, type(what) == "string" and what or "unspecified lua error"
end

local function starter(run)
  if type(run) ~= "function" then return nil end
  return function(ended)
    local handle = setmetatable({ended = ended}, Handle)
    handle.h = handle
    local thread
    if idle_count > 0 then
      thread = idle[idle_count]
      idle[idle_count] = nil
      idle_count = idle_count - 1
    else
      thread = create(worker)
    end
    current = handle
    return settle(thread, handle, resume_thread(thread, run, handle))
  end
end

local entry = {}
-- The whole body for a script in body().
function entry.resume_body(handle, data)
  current = handle
  return settle(handle.thread, handle, resume_thread(handle.thread, data))
end
-- A chunk (nil: there are no more) for a script in bodyChunks(); what it made of it is entry.changed().
function entry.resume_chunk(handle, data, ended)
  current = handle
  handle.changed = nil
  handle.ended = ended
  if data ~= nil then handle.streamed = true end
  return settle(handle.thread, handle, resume_thread(handle.thread, data))
end
function entry.changed(handle) return handle.changed end
-- Body bytes went by while the script waits for trailers.
function entry.saw_body(handle) handle.streamed = true end
function entry.resume_trailers(handle, found)
  current = handle
  return settle(handle.thread, handle, resume_thread(handle.thread, found))
end
-- Loads the user's script: nil, or the error and whether it is one of syntax.
function entry.load(code)
  local chunk, problem = loadstring(code)
  if not chunk then return problem, match(select(2, loadstring(code, "=script")), "^script:(%d+):") end
  local ok
  ok, problem = pcall(chunk)
  if not ok then
    if type(problem) ~= "string" then problem = "unspecified lua error" end
    return problem, match(problem, "%]:(%d+): ")
  end
end
function entry.starters()
  return starter(envoy_on_request), starter(envoy_on_response)
end
return entry
