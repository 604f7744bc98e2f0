-- What a script may use of Lua, and how much: run once in each state, ahead of the user's script.
--
-- It gets the Python functions, the limits and the prelude's table of shared things, and changes the globals.
-- Budget: a hook sees every 200th instruction (compiled traces run no hooks, so the JIT is off) and ends a step
-- that runs for too long.  Nothing that ended that way can be caught: pcall, xpcall and coroutine.resume throw
-- it on.  Memory: what lupa's own limit would do is refuse the allocation, which is only safe inside of Lua's
-- code; `check_memory` is therefore asked ahead of every call into Python (see docs/adr/0012).
-- Patterns: Lua's matcher tries exponentially many ways; those that could take long go to RE2.
local py, limits, shared = ...
local error, type, tostring, select, rawget, rawset, next = error, type, tostring, select, rawget, rawset, next
local raw_pcall, raw_xpcall, raw_setmetatable, raw_getmetatable = pcall, xpcall, setmetatable, getmetatable
local create, resume, wrap, yield, status = coroutine.create, coroutine.resume, coroutine.wrap, coroutine.yield,
  coroutine.status
local sub, len, raw_find, byte, format = string.sub, string.len, string.find, string.byte, string.format
local raw_match, raw_gmatch, raw_gsub, concat, sort = string.match, string.gmatch, string.gsub, table.concat, table.sort
local loadstring, clock, gcinfo, collect = loadstring, os.clock, gcinfo, collectgarbage
local getinfo, traceback, sethook, floor = debug.getinfo, debug.traceback, debug.sethook, math.floor
local unpack, setfenv = unpack, setfenv

jit.off()
jit.flush()

-- Instructions, time and memory.
local STEP = 200
local used, most_used, started, most_seconds = 0, limits.instructions / STEP, false, limits.seconds
local soft_kib, over = limits.memory_kib, false

-- Scripts run in coroutines, or are being loaded; what runs outside is the prelude's own, which may not fail.
local running, is_loading = coroutine.running, false

local function fail(text, level)
  if not is_loading and not running() then return end
  over = text
  error(text, level and level + 1 or 0)
end

local function hook()
  used = used + 1
  if over then return fail(over, 2) end
  if used > most_used then fail("script ran for more than " .. limits.instructions .. " instructions", 2) end
  if not started then
    if used > 1 then started = clock() end  -- what a usual script takes is not measured: to ask costs more
  elseif clock() - started > most_seconds then
    fail("script ran for more than " .. most_seconds .. " seconds", 2)
  end
  if gcinfo() > soft_kib then
    collect()
    if gcinfo() > soft_kib then fail("script uses more than " .. soft_kib .. " KiB of memory", 2) end
  end
end

function shared.check_memory()
  if gcinfo() > soft_kib then
    collect()
    if gcinfo() > soft_kib then fail("script uses more than " .. soft_kib .. " KiB of memory") end
  end
end

-- What loading left behind is given back: there may be very many states.
function shared.collect() collect() end

-- What is handed to Python lies outside of the state: as much as the state may hold, and no more, for each step.
local given, most_given = 0, soft_kib * 1024
function shared.give(size)
  given = given + size
  if given > most_given then fail("script hands over more than " .. soft_kib .. " KiB") end
end

-- A step begins: a new budget.
function shared.begin_step(loads)
  used, started, over, is_loading, given = 0, false, false, loads, 0
end

-- A step is over: whether the state can go on.
function shared.end_step()
  is_loading = false
  if over or gcinfo() > soft_kib then
    over = false
    collect()
    return gcinfo() <= soft_kib
  end
  return true
end

local function caught(ok, ...)
  if ok then return ok, ... end
  local problem = ...
  if problem == "not enough memory" then over = over or "script uses too much memory" end
  if over then error(over, 0) end
  if type(problem) == "userdata" then problem = tostring(problem) end  -- an exception of Python's
  return false, problem, select(2, ...)
end

function pcall(...) return caught(raw_pcall(...)) end
function xpcall(run, handler, ...)
  return caught(raw_xpcall(run, function(problem)
    if over then return problem end
    if type(problem) == "userdata" then problem = tostring(problem) end
    return handler(problem)
  end, ...))
end

-- Coroutines of the script's own: a wait of the proxy's (its first value is one of `waits`) goes out to where
-- the script itself was started, and what comes back goes in again.
local waits = shared.waits
local function passed(thread, ok, what, ...)
  if ok and what ~= nil and waits[what] then
    return passed(thread, resume(thread, yield(what, ...)))
  end
  return caught(ok, what, ...)
end
function coroutine.resume(thread, ...)
  if type(thread) ~= "thread" then error("bad argument #1 to 'resume' (coroutine expected)", 2) end
  return passed(thread, resume(thread, ...))
end
local function or_throw(ok, ...)
  if ok then return ... end
  error((...), 0)
end
coroutine.isyieldable = coroutine.isyieldable or function() return coroutine.running() ~= nil end
local raw_running = coroutine.running
function coroutine.running() return raw_running(), false end
rawlen = rawlen or function(value)
  if type(value) ~= "table" and type(value) ~= "string" then error("table or string expected", 2) end
  return #value
end
function coroutine.wrap(run)
  if type(run) ~= "function" then error("bad argument #1 to 'wrap' (function expected)", 2) end
  local thread = create(run)
  return function(...) return or_throw(passed(thread, resume(thread, ...))) end
end

-- Patterns.  `degrees` says for each how the ways to match grow with the subject: (n + 1) ^ degree.
local degrees, known = {}, 0
local WAYS = limits.ways
local function degree_of(pattern)
  local degree = degrees[pattern]
  if degree then return degree end
  degree = py.pattern_degree(pattern)
  if known > 500 then degrees, known = {}, 0 end
  degrees[pattern], known = degree, known + 1
  return degree
end
local function is_cheap(text, pattern)
  local size = #text + 1
  return size ^ degree_of(pattern) <= WAYS
end
local function string_of(value, position, name)
  if type(value) == "string" then return value end
  if type(value) == "number" then return tostring(value) end
  error("bad argument #" .. position .. " to '" .. name .. "' (string expected, got "
    .. (value == nil and "no value" or type(value)) .. ")", 3)
end
local function first(init, size)
  if type(init) ~= "number" then init = tonumber(init) or 1 end
  if init < 0 then init = init + size + 1 end
  if init < 1 then init = 1 end
  return floor(init)
end
local function found(problem, ...)
  hook()  -- it may have taken long
  if problem then error(problem, 3) end
  return ...
end

function string.find(text, pattern, init, plain)
  text, pattern = string_of(text, 1, "find"), string_of(pattern, 2, "find")
  if init ~= nil then
    init = first(init, #text)
    if init > #text + 1 then return nil end  -- as Envoy's LuaJIT, which has the 5.2 compatibility
  end
  if plain then
    if #text * #pattern <= WAYS then return raw_find(text, pattern, init, plain) end
    return found(py.plain_find(text, pattern, init or 1))
  end
  if is_cheap(text, pattern) then return raw_find(text, pattern, init) end
  hook()
  return found(py.pattern_find(text, pattern, init or 1, true))
end
function string.match(text, pattern, init)
  text, pattern = string_of(text, 1, "match"), string_of(pattern, 2, "match")
  if init ~= nil then
    init = first(init, #text)
    if init > #text + 1 then return nil end
  end
  if is_cheap(text, pattern) then return raw_match(text, pattern, init) end
  hook()
  return found(py.pattern_find(text, pattern, init or 1, false))
end

-- The matches of a pattern, some at a time: start, end, then `count` captures, one after another.
local function matches(text, pattern, level)
  local position, flat, at, width = 0, nil, 0, 0
  return function()
    if flat == nil or at > #flat then
      if position == nil then return nil end
      local problem
      hook()
      problem, flat, width, position = py.pattern_some(text, pattern, position)
      hook()
      if problem then error(problem, level) end
      at = 1
      if #flat == 0 then return nil end
    end
    local here = at
    at = at + width
    return flat, here, width
  end
end
function string.gmatch(text, pattern)
  text, pattern = string_of(text, 1, "gmatch"), string_of(pattern, 2, "gmatch")
  if is_cheap(text, pattern) then return raw_gmatch(text, pattern) end
  if byte(pattern) == 94 then pattern = "%" .. pattern end  -- no anchor here
  local step = matches(text, pattern, 3)
  return function()
    local flat, at, width = step()
    if flat == nil then return nil end
    if width == 2 then return sub(text, flat[at], flat[at + 1]) end
    return unpack(flat, at + 2, at + width - 1)
  end
end
string.gfind = nil

local function replaced(with, whole, flat, at, width)
  local kind = type(with)
  local value
  if kind == "function" then
    if width == 2 then value = with(whole) else value = with(unpack(flat, at + 2, at + width - 1)) end
  elseif kind == "table" then
    if width == 2 then value = with[whole] else value = with[flat[at + 2]] end
  else
    return raw_gsub(with, "%%(.)", function(mark)
      if mark == "0" then return whole end
      local number = byte(mark) - 48
      if number < 1 or number > 9 then return mark end
      if width == 2 and number == 1 then return whole end
      if number > width - 2 then error("invalid capture index", 0) end
      return tostring(flat[at + 1 + number])
    end), nil
  end
  if not value then return whole end
  if type(value) == "number" then return tostring(value) end
  if type(value) ~= "string" then error("invalid replacement value (a " .. type(value) .. ")", 3) end
  return value
end
function string.gsub(text, pattern, with, most)
  text, pattern = string_of(text, 1, "gsub"), string_of(pattern, 2, "gsub")
  if is_cheap(text, pattern) then return raw_gsub(text, pattern, with, most) end
  if type(with) == "number" then with = tostring(with) end
  local out, n, count, position = {}, 0, 0, 1
  local step = matches(text, pattern, 3)
  while not most or count < most do
    local flat, at, width = step()
    if flat == nil then break end
    local from, to = flat[at], flat[at + 1]
    out[n + 1], out[n + 2] = sub(text, position, from - 1), (replaced(with, sub(text, from, to), flat, at, width))
    n, count, position = n + 2, count + 1, to + 1
    if sub(pattern, 1, 1) == "^" then break end
  end
  out[n + 1] = sub(text, position)
  return concat(out), count
end
-- Lua's own order of strings compares all their bytes, without a hook: each comparison counts.
local function less(a, b)
  local one, other = type(a), type(b)
  if one ~= other then error("attempt to compare " .. one .. " with " .. other, 0) end
  return a < b
end
function table.sort(list, before)
  return sort(list, before or less)
end
string.dump = nil

-- Source, never bytecode: a forged one breaks out of the machine.
local MOST_SOURCE = 4 * 1024 * 1024
local function compile(code, name, environment)
  if sub(code, 1, 1) == "\27" then return nil, "attempt to load bytecode: scripts are loaded as text" end
  if #code > MOST_SOURCE then return nil, "chunk is too long" end
  local chunk, problem = loadstring(code, name)
  if chunk and environment then setfenv(chunk, environment) end
  return chunk, problem
end
function shared.compile(code, name) return compile(code, name) end
_G.loadstring = function(code, name)
  return compile(string_of(code, 1, "loadstring"), name)
end
function load(code, name, mode, environment)
  if type(code) == "function" then
    local pieces = {}
    while true do
      local piece = code()
      if piece == nil or piece == "" then break end
      if type(piece) ~= "string" then return nil, "reader function must return a string" end
      pieces[#pieces + 1] = piece
    end
    code = concat(pieces)
    name = name or "=(load)"
  end
  return compile(string_of(code, 1, "load"), name, environment)
end
-- Files: text of files that end in .lua, for libraries beside a script.
local function read(path)
  if not raw_find(path, "%.lua$") then return nil, "cannot open " .. path .. ": scripts may load .lua files" end
  return py.read_source(path)
end
function loadfile(path)
  local code, problem = read(string_of(path, 1, "loadfile"))
  if not code then return nil, problem end
  return compile(code, "@" .. path)
end
function dofile(path)
  local chunk, problem = loadfile(path)
  if not chunk then error(problem, 0) end
  return chunk()
end
local loaded = {_G = _G, string = string, table = table, math = math, bit = bit, coroutine = coroutine}
local preload = {}
shared.preload = preload
package = {loaded = loaded, preload = preload, path = package.path, config = package.config, cpath = ""}
function require(name)
  name = string_of(name, 1, "require")
  local value = loaded[name]
  if value ~= nil then return value end
  local run = preload[name]
  if not run then
    local tried = {}
    local file = raw_gsub(name, "%.", "/")
    for template in raw_gmatch(tostring(package.path), "[^;]+") do
      local path = raw_gsub(template, "%?", (raw_gsub(file, "%%", "%%%%")))
      local code = read(path)
      if code then
        local chunk, problem = compile(code, "@" .. path)
        if not chunk then error("error loading module '" .. name .. "' from file '" .. path .. "':\n\t" .. problem, 2) end
        run = chunk
        break
      end
      tried[#tried + 1] = "\n\tno file '" .. path .. "'"
    end
    if not run then
      error("module '" .. name .. "' not found:\n\tno field package.preload['" .. name .. "']" .. concat(tried), 2)
    end
  end
  loaded[name] = true
  local result = run(name)
  if result ~= nil then loaded[name] = result end
  return loaded[name]
end
module = nil

-- What leads out of the machine is named, so that a script's author learns why it is not there.
local function closed(name)
  return function() error(name .. " is not available to scripts of this proxy", 2) end
end
io = raw_setmetatable({}, {__index = function(_, key) return closed("io." .. tostring(key)) end, __metatable = false})
os = {clock = clock, date = os.date, difftime = os.difftime, getenv = os.getenv, time = os.time}
for _, name in next, {"execute", "exit", "remove", "rename", "setlocale", "tmpname"} do os[name] = closed("os." .. name) end
package.loadlib = closed("package.loadlib")
jit = {version = jit.version, version_num = jit.version_num, os = jit.os, arch = jit.arch,
  status = function() return false end, on = function() end, off = function() end, flush = function() end}
loaded.jit, loaded.io, loaded.os, loaded.package = jit, io, os, package
newproxy = closed("newproxy")  -- its finalizers would run without a hook
local SHOWN = {"source", "short_src", "what", "currentline", "linedefined", "lastlinedefined", "name", "namewhat", "nups"}
debug = {traceback = traceback, getinfo = function(of)
  if type(of) == "number" then of = of + 1 end
  local all = getinfo(of, "Slnu")
  if not all then return nil end
  local out = {}
  for _, key in next, SHOWN do out[key] = all[key] end
  return out
end}
loaded.debug = debug
function collectgarbage(option)
  if option == "count" then return gcinfo() end
  return 0
end
function print(...)
  local parts = {}
  for i = 1, select("#", ...) do parts[i] = tostring((select(i, ...))) end
  local line = concat(parts, "\t")
  shared.give(#line + 64)
  py.log(20, line)
end
raw_getmetatable("").__metatable = false
python = nil

sethook(hook, "", STEP)
