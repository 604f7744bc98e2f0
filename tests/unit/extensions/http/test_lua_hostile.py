"""Hostile scripts: whatever they do, their step ends soon, and the next request is served."""

from __future__ import annotations

import time
from typing import Any

import pytest

from sidecar.api.stream import Stream
from sidecar.extensions.http.lua import LuaFilter, LuaStats
from sidecar.extensions.http.lua_script import Limits, ScriptOptions, Source
from sidecar.observability.stats import Store

LIMITS = Limits(instructions=300_000, seconds=2.0, memory_bytes=16 * 1024 * 1024)

BUDGET = "script ran for more than 300000 instructions"


class Hostile:
    """A filter whose script does something bad where the header x-bad says so."""

    def __init__(self, body: str, before: str = "") -> None:
        code = f"{before}\nfunction envoy_on_request(h)\nif h:headers():get('x-bad') then\n{body}\nend\nh:headers():add('x-done', '1')\nend"
        self.store = Store()
        scope = self.store.scope("lua")
        self.source = Source(code.encode(), ScriptOptions(limits=LIMITS))
        stats = LuaStats(scope.counter("errors"), scope.counter("executions"))
        self.filter = LuaFilter(self.source, {}, stats, scope=scope, find_cluster=lambda name: None)

    def run(self, stream: Stream, *, bad: bool) -> bool:
        """Whether the script came to its end."""
        if bad:
            stream.request.headers.add(b"x-bad", b"1")
        result: Any = self.filter.decode_headers(stream)
        assert result is None
        return stream.request.headers.get(b"x-done") == b"1"

    @property
    def errors(self) -> int:
        return self.store.counters["lua.errors"].value


BOMBS = {
    "endless loop": ("while true do end", BUDGET),
    "endless repeat": ("repeat local x = 1 until false", BUDGET),
    "goto": ("::top:: goto top", BUDGET),
    "recursion": ("local function f() return 1 + f() end f()", "stack overflow"),
    "tail calls": ("local function f() return f() end f()", BUDGET),
    "pcall loop": ("while true do pcall(function() while true do end end) end", BUDGET),
    "pcall of pcall": ("local function f() pcall(f) while true do end end while true do pcall(f) end", BUDGET),
    "xpcall with a handler that loops": (
        "xpcall(function() while true do end end, function() while true do end end) while true do end",
        BUDGET,
    ),
    "error in the handler": ("while true do xpcall(error, error) end", BUDGET),
    "coroutine loop": ("local co = coroutine.wrap(function() while true do end end) while true do pcall(co) end", BUDGET),
    "coroutine resume": (
        "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
        BUDGET,
    ),
    "coroutines in coroutines": (
        "local function f() coroutine.wrap(f)() end f()",
        "",
    ),
    "endless yields": ("local co = coroutine.wrap(function() while true do coroutine.yield() end end) while true do co() end", BUDGET),
    "metamethods": ("local t = setmetatable({}, {__index = function(t, k) return t[k + 1] end}) local x = t[1]", ""),
    "table bomb": ("local t = {} for i = 1, 1e9 do t[i] = {i} end", ""),
    "string bomb": ("local s = 'x' while true do s = s .. s end", ""),
    "string bomb in pcall": ("local s = 'x' while true do pcall(function() while true do s = s .. s end end) end", ""),
    "rep bomb": ("local s = string.rep('x', 1e9)", ""),
    "rep loop": ("while true do pcall(string.rep, 'x', 1e9) end", ""),
    "many long strings": ("local t = {} for i = 1, 1e6 do t[i] = string.rep('x', 100000) .. i end", ""),
    "concat bomb": ("local t = {} for i = 1, 5000 do t[i] = string.rep('x', 1000) end while true do local s = table.concat(t) .. math.random() end", ""),
    "gsub bomb": ("local s = string.rep('x', 1e6) s = s:gsub('x', '%0%0%0%0%0%0%0%0%0%0%0%0%0%0%0%0%0%0%0%0%0%0%0%0%0%0%0%0%0%0%0%0%0%0%0%0')", ""),
    "format bomb": ("local s = string.rep('x', 4e6) while true do s = string.format('%s%s', s, s) end", ""),
    "pattern bomb": ("local s = string.rep('a', 30) .. 'b' for i = 1, 30 do s:find(string.rep('a*', 30) .. 'c') end while true do end", BUDGET),
    "pattern with back references": ("string.rep('ab', 20000):find('(.-)(.-)%1x')", "pattern too complex"),
    "balanced pattern": ("string.rep('(', 200000):find('%b()')", "pattern too complex"),
    "plain find bomb": ("local s = string.rep('a', 2e6) local p = string.rep('a', 1e6) .. 'b' for i = 1, 50 do s:find(p, 1, true) end while true do end", BUDGET),
    "sort": ("local s = string.rep('a', 1e5) local t = {} for i = 1, 1e5 do t[i] = s end table.sort(t) while true do end", ""),
    "sort without an order": ("local t = {} for i = 1, 10000 do t[i] = i end table.sort(t, function() return true end) while true do end", ""),
    "finalizer": ("local p = newproxy(true)", "newproxy is not available"),
    "collect loop": ("while true do collectgarbage('collect') end", BUDGET),
    "load bomb": ("while true do loadstring('return ' .. string.rep('(', 150) .. '1' .. string.rep(')', 150))() end", BUDGET),
    "load reader": ("load(function() return 'x = 1;' end)", ""),
    "tostring loop": ("local t = setmetatable({}, {__tostring = function() while true do end end}) h:logInfo(tostring(t))", BUDGET),
    "error object": ("error(setmetatable({}, {__tostring = function() while true do end end}))", "unspecified lua error"),
    "rebound string functions": ("string.find = nil string.sub = function() while true do end end h:headers():get('x') while true do end", BUDGET),
    "hook": ("debug.sethook()", "attempt to call field 'sethook'"),
    "jit": ("jit.on() require('jit').on() while true do end", BUDGET),
    "unpack": ("while true do pcall(unpack, {}, 1, 1e8) end", BUDGET),
    "insert": ("local t = {} for i = 1, 1e5 do t[i] = 1 end while true do table.insert(t, 1, 1) end", ""),
    "global in memory": ("kept = kept or {} for i = 1, 1e9 do kept[i] = tostring(i) end", ""),
    "header of memory": ("local t = {} for i = 1, 150 do t[i] = string.rep('x', 100000) .. i end while true do h:headers():get('x-bad') t[#t + 1] = string.rep('x', 1000) .. #t end", ""),
    "headers without end": ("while true do h:headers():add('x', string.rep('y', 100000)) end", "hands over more than"),
    "metadata without end": ("for i = 1, 1e9 do h:streamInfo():dynamicMetadata():set('a', 'k' .. i, string.rep('y', 100000)) end", "hands over more than"),
    "tables of metadata": ("for i = 1, 1e9 do h:streamInfo():dynamicMetadata():set('a', 'k' .. i, {{string.rep('y', 100000)}}) end", "hands over more than"),
    "logs without end": ("while true do h:logInfo(string.rep('y', 100000)) end", "hands over more than"),
    "stats without end": ("for i = 1, 1e9 do h:stats():counter('c' .. i):inc() end", ""),
    "captures of captures": ("local s = string.rep('a', 6e6) for i = 1, 40 do pcall(string.match, s, string.rep('(', 20) .. 'a*' .. string.rep(')', 20) .. 'a*a*a*') end while true do end", ""),
    "long base64": ("local s = string.rep('a', 12e6) for i = 1, 40 do pcall(h.base64Escape, h, s) end while true do end", ""),
    "long header": ("local s = string.rep('a', 7e6) h:headers():add('x', s) h:headers():add('x', s) for i = 1, 50 do pcall(function() return #h:headers():get('x') end) end while true do end", ""),
    "tampered handle": ("h.ended, h.hh, h.bb, h.others, h.thread = 5, 5, 5, 5, 5 h:body() h:trailers() h:metadata() error('end')", ""),
    "metatable gone": ("setmetatable(h, nil) h:headers()", "attempt to call method 'headers'"),
    "handle as function": ("local m = getmetatable(h) m.headers = function() while true do end end h:headers()", BUDGET),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_hostile_script_ends_and_the_next_request_is_served(name, make_stream, caplog):
    body, text = BOMBS[name]
    hostile = Hostile(body)
    for _ in range(2):
        start = time.monotonic()
        assert not hostile.run(make_stream(), bad=True)
        assert time.monotonic() - start < 30  # a bomb would take hours
        said = [record.getMessage() for record in caplog.records if "script log" in record.getMessage()]
        assert any(text in line for line in said)
        caplog.clear()
        if name == "handle as function":
            return  # what a script does to its own classes it does to itself
        assert hostile.run(make_stream(), bad=False)
    assert hostile.errors == 2


def test_script_that_loops_as_it_is_loaded_refuses_the_configuration():
    from sidecar.core.errors import LuaError

    with pytest.raises(LuaError, match="script ran for more than"):
        Source(b"while true do end", ScriptOptions(limits=LIMITS))


def test_memory_that_globals_keep_is_given_back_by_a_new_state(make_stream):
    hostile = Hostile("", before="kept = {}")
    first = hostile.source.script
    hostile = Hostile(
        "for i = 1, 1e9 do kept[#kept + 1] = 'x' .. i end", before="kept = {} loads = (loads or 0) + 1"
    )
    assert not hostile.run(make_stream(), bad=True)
    assert hostile.source.script is not first
    assert hostile.run(make_stream(), bad=False)


ESCAPES = {
    "io": "return io.open('/etc/passwd')",
    "io lines": "for line in io.lines('/etc/passwd') do return line end",
    "popen": "return io.popen('id')",
    "execute": "return os.execute('id')",
    "exit": "os.exit(1)",
    "remove": "return os.remove('/tmp/x')",
    "rename": "return os.rename('/tmp/x', '/tmp/y')",
    "tmpname": "return os.tmpname()",
    "loadlib": "return package.loadlib('libc.so.6', 'system')",
    "ffi": "return require('ffi')",
    "ffi in loaded": "return package.loaded.ffi.C",
    "ffi in preload": "return package.preload.ffi()",
    "jit.util": "return require('jit.util')",
    "jit.opt": "return jit.opt.start()",
    "python": "return python.eval('1')",
    "python in loaded": "return package.loaded.python.eval('1')",
    "require python": "return require('python')",
    "registry": "return debug.getregistry()",
    "upvalues": "return debug.getupvalue(h.headers, 1)",
    "set upvalues": "return debug.setupvalue(h.headers, 1, print)",
    "locals": "return debug.getlocal(1, 1)",
    "debug metatable": "return debug.setmetatable('', {})",
    "string metatable": "getmetatable('').__index = nil",
    "getinfo function": "local info = debug.getinfo(1) return info.func.x",
    "dump": "return string.dump(function() end)",
    "bytecode": "return assert(loadstring('\\27LJ\\2\\0'))",
    "bytecode by load": "return assert(load(function() if not sent then sent = true return '\\27LJ' end end))",
    "loadfile": "return assert(loadfile('/etc/passwd'))",
    "dofile": "return dofile('/etc/passwd')",
    "package path": "package.path = '/etc/passwd' return require('x')",
    "package path with an end": "package.path = '/etc/passwd?.lua' return require('x')",
    "searchpath": "return package.searchpath('x', '/etc/?')",
    "loaders": "return package.loaders[1]",
    "module": "module('x')",
    "newproxy": "return newproxy(true)",
    "getfenv of python's callers": "return getfenv(0).python.eval",
    "exception": """
        local ok, problem = pcall(function() return h:timestampString(setmetatable({}, {__tostring = error})) end)
        if type(problem) ~= 'string' then return problem.__class__ end
        error('a string')""",
    "attribute of an exception": """
        local ok, problem = pcall(string.match, 'x', 1, {})
        if type(problem) ~= 'string' then return problem.__traceback__ end
        error('a string')""",
}  # fmt: skip


@pytest.mark.parametrize("name", ESCAPES)
def test_script_does_not_escape(name, make_stream, caplog):
    code = f"escaped = function(h) {ESCAPES[name]} end"
    hostile = Hostile(
        "local ok, problem = pcall(escaped, h) if ok then h:headers():add('x-escaped', tostring(problem)) end",
        before=code,
    )
    stream = make_stream()
    assert hostile.run(stream, bad=True)
    assert stream.request.headers.get(b"x-escaped") is None


def test_no_object_of_pythons_can_be_reached(make_stream):
    """Everything that a script can get hold of, through tables, metatables and environments, is Lua's own."""
    hostile = Hostile("""
        local seen, found, queue = {}, {}, {_G, h, h:headers(), h:streamInfo(), h:stats(), h:metadata(), getfenv(0), getfenv(1)}
        local function look(value)
          local kind = type(value)
          if seen[value] then return end
          seen[value] = true
          if kind == "userdata" and getmetatable(value) and getmetatable(value) ~= false and not getmetatable(value).logInfo then
            found[#found + 1] = tostring(value)
          end
          local meta = getmetatable(value)
          if type(meta) == "table" then queue[#queue + 1] = meta end
          if kind == "table" or (kind == "userdata" and meta and meta.logInfo) then
            for k, v in next, value do queue[#queue + 1] = k queue[#queue + 1] = v end
          elseif kind == "function" then
            local env = getfenv(value)
            queue[#queue + 1] = env
          end
        end
        while #queue > 0 do look(table.remove(queue)) end
        h:headers():add("x-found", #found .. " " .. table.concat(found, ";"))""")
    stream = make_stream()
    assert hostile.run(stream, bad=True)
    assert stream.request.headers.get(b"x-found") == b"0 "


def test_library_beside_a_script_is_loaded_by_require(make_stream, tmp_path):
    (tmp_path / "greet.lua").write_text("return {hello = function(name) return 'hello ' .. name end}")
    hostile = Hostile(
        "h:headers():add('x-hello', greet.hello('you'))",
        before=f"package.path = package.path .. ';{tmp_path}/?.lua' greet = require('greet')",
    )
    stream = make_stream()
    assert hostile.run(stream, bad=True)
    assert stream.request.headers.get(b"x-hello") == b"hello you"
