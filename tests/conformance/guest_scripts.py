"""What the conformance guest is told to do, and the setup in which it does.

One listener for each script; `filters_rust/conformance-guest/src/script.rs` says how they read. All share one
VM where they do not name another.
"""

from __future__ import annotations

import json
from pathlib import Path

from .configuration import bootstrap, cluster, listener
from .scenario import Setup

WASM = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"
STRING = "type.googleapis.com/google.protobuf.StringValue"
MODULES = Path(__file__).parent / "modules"
ROUTES = """
- {match: {prefix: /h2}, route: {cluster: h2app}}
- {match: {prefix: /}, name: the-route, route: {cluster: app}}
"""


def guest(name: str, script: str, extra: str = "", vm: str = "", abi: str = "0_2_1") -> str:
    """The guest as a filter, with this script."""
    return f"""
- name: {name}
  typed_config:
    "@type": {WASM}
    config:
      name: {name}
      root_id: {name}
      configuration: {{"@type": {STRING}, value: {json.dumps(script)}}}
      vm_config:
        runtime: envoy.wasm.runtime.v8
        code: {{local: {{filename: FILE(guest_{abi}.wasm)}}}}
        {vm}
      {extra}
"""


def modules(*versions: str) -> dict[str, bytes]:
    return {f"guest_{abi}.wasm": (MODULES / f"conformance_guest_{abi}.wasm").read_bytes() for abi in versions}


HEADERS = """
@on_request_headers:maps
get_header_map_value 0 ":path"
get_header_map_value 0 "X-Upper"
get_header_map_value 0 "absent"
get_header_map_value 0 "x-twice"
get_header_map_value 2 ":status"
get_header_map_value 8 "x"
add_header_map_value 0 "x-Added" "one"
add_header_map_value 0 "x-added" "two"
replace_header_map_value 0 "x-upper" "replaced"
replace_header_map_value 0 "x-new" "new"
remove_header_map_value 0 "x-twice"
remove_header_map_value 0 "absent"
get_header_map_value 0 "x-added"
add_header_map_value 1 "t" "v"
add_header_map_value 2 "t" "v"
add_header_map_value 3 "t" "v"
add_header_map_value 4 "t" "v"
add_header_map_value 6 "t" "v"
add_header_map_value 9 "t" "v"
get_header_map_pairs 1
get_header_map_pairs 2
get_header_map_pairs 4
get_header_map_pairs 6
get_header_map_pairs 99
get_header_map_size 1
get_header_map_size 4
get_header_map_size 99
set_header_map_pairs 2 [a: b]
set_header_map_pairs 99 [a: b]
remove_header_map_value 2 "a"
replace_header_map_value 3 "a" "b"
set_header_map_pairs 0 [:authority: set.example, :path: /set, :method: GET, :scheme: http, x-set: yes]
get_header_map_pairs 0
get_header_map_size 0
@on_response_headers:maps
get_header_map_value 2 ":status"
get_header_map_value 0 ":path"
get_header_map_pairs 0
get_header_map_size 0
add_header_map_value 0 "x" "y"
set_header_map_pairs 2 [:status: 201, x-set: yes]
get_header_map_pairs 2
@on_log:maps
get_header_map_value 0 "x-set"
get_header_map_value 2 "x-set"
get_header_map_pairs 0
get_header_map_pairs 3
get_header_map_value 3 "a"
get_header_map_size 2
add_header_map_value 2 "x" "y"
@on_done:maps
get_header_map_pairs 0
get_header_map_pairs 2
@on_delete:maps
get_header_map_pairs 2
"""

CALLS = """
@on_request_headers:ok
http_call "app" [:method: POST, :path: /call, :authority: call.example, x-call: 1] "hello" "" 1000
return 1
@on_http_call_response:ok
get_status
get_header_map_value 6 ":status"
get_header_map_value 6 "x-answer"
get_header_map_value 6 "absent"
get_header_map_pairs 6
get_header_map_size 6
get_header_map_pairs 7
get_buffer_status 4
get_buffer_bytes 4 0 100
get_buffer_bytes 4 2 3
get_buffer_bytes 4 100 1
set_buffer_bytes 4 0 1 "x"
set_header_map_pairs 6 [a: b]
add_header_map_value 6 "a" "b"
add_header_map_value 0 "x-early" "root"
set_effective_context $context
get_header_map_value 6 "x-answer"
add_header_map_value 0 "x-called" "yes"
continue_stream 0
@on_request_headers:after
http_call "other" [:method: GET, :path: /call, :authority: a] "" "" 1000
@on_response_headers:after
get_header_map_value 6 ":status"
get_buffer_bytes 4 0 10
get_status
@on_request_headers:bad
http_call "nowhere" [:method: GET, :path: /, :authority: a] "" "" 1000
http_call "" [:method: GET, :path: /, :authority: a] "" "" 1000
http_call "app" [:path: /, :authority: a] "" "" 1000
http_call "app" [:method: GET, :authority: a] "" "" 1000
http_call "app" [:method: GET, :path: /] "" "" 1000
http_call "app" "" "" "" 1000
http_call "app" "rubbish" "" "" 1000
http_call "app" [:method: GET, :path: /, :authority: a] "" "" -1
http_call "app" [:method: GET, :path: /host, host: by-host] "" "" 1000
raw http_call -1 5 0 0 0 0 0 0 1000 100
raw http_call 0 0 0 0 -1 5 0 0 1000 100
raw http_call 0 0 0 0 0 0 0 0 1000 -1
raw http_call 0 0 0 0 0 0 -4 8 1000 100
return 1
@on_http_call_response:bad
set_effective_context $context
continue_stream 0
@on_request_headers:dead
http_call "dead" [:method: GET, :path: /, :authority: a] "" "" 1000
return 1
@on_http_call_response:dead
get_status
get_header_map_pairs 6
get_buffer_bytes 4 0 300
set_effective_context $context
send_local_response 500 "call failed" "sorry" [x-why: dead] -1
@on_request_headers:empty
http_call "empty" [:method: GET, :path: /, :authority: a] "" "" 1000
@on_request_headers:late
http_call "app" [:method: GET, :path: /hang, :authority: a] "" "" 30
return 1
@on_http_call_response:late
get_status
get_header_map_pairs 6
get_buffer_bytes 4 0 300
set_effective_context $context
continue_stream 0
@on_request_headers:gone
http_call "app" [:method: GET, :path: /slow, :authority: a] "" "" 1000
return 1
@on_http_call_response:gone
get_header_map_value 6 ":status"
set_effective_context $context
@on_request_headers:trailers
http_call "h2app" [:method: POST, :path: /trailers, :authority: a] "body" [x-trailer: sent] 1000
return 1
@on_http_call_response:trailers
get_header_map_pairs 6
get_header_map_pairs 7
get_header_map_value 7 "x-trailer"
get_buffer_bytes 4 0 10
set_effective_context $context
continue_stream 0
@on_request_headers:twice
http_call "app" [:method: GET, :path: /one, :authority: a] "" "" 1000
return 1
@on_http_call_response:twice
nth 1 http_call "app" [:method: GET, :path: /two, :authority: a] "" "" 1000
nth 2 set_effective_context $context
nth 2 send_local_response 200 "" "twice" "" -1
"""

RESTRICTED = """
@on_request_headers:restricted
get_current_time_nanoseconds
get_header_map_value 0 ":path"
set_effective_context 77
wasi.random_get 4
wasi.clock_time_get 0 0
wasi.sched_yield
@on_response_headers:restricted
say "not called"
@on_log:restricted
say "called"
"""
ALLOWED = (
    "proxy_log proxy_get_header_map_value proxy_get_buffer_bytes clock_time_get proxy_on_context_create "
)
ALLOWED += "proxy_on_vm_start proxy_on_configure proxy_on_request_headers proxy_on_log proxy_on_delete"
RESTRICTION = f"""capability_restriction_config:
        allowed_capabilities: {{{", ".join(f"{name}: {{}}" for name in ALLOWED.split())}}}"""

# Of its own: what get_status says of a failure stays.
BROKEN = """
@on_request_headers:broken
http_call "app" [:method: GET, :path: /broken, :authority: a] "" "" 1000
return 1
@on_http_call_response:broken
get_status
get_header_map_pairs 6
get_header_map_value 6 ":status"
get_buffer_bytes 4 0 300
set_effective_context $context
get_status
continue_stream 0
@on_response_headers:broken
get_status
"""

# A VM of its own, so that its name is known.
SHARED = """
@on_request_headers:data
get_shared_data "absent"
set_shared_data "k" "one" 0
get_shared_data "k" =cas
set_shared_data "k" "two" $cas
set_shared_data "k" "three" $cas
get_shared_data "k" =cas
set_shared_data "k" "" $cas
get_shared_data "k" =cas
set_shared_data "new" "made" 99
get_shared_data "new" =cas
set_shared_data "" "empty key" 0
get_shared_data "" =cas
set_shared_data "k\\0k" "key with a NUL" 0
get_shared_data "k\\0k" =cas
raw get_shared_data -1 4 8 8 8
raw get_shared_data 0 0 -1 8 8
raw get_shared_data 0 0 8 8 -1
raw set_shared_data -1 4 0 0 0
raw set_shared_data 0 0 -1 4 0
@on_request_headers:queue
resolve_shared_queue "" "absent" =r
register_shared_queue "q" =q
register_shared_queue "q" =again
resolve_shared_queue "" "q" =r
resolve_shared_queue "shared" "q" =r
resolve_shared_queue "another" "q" =r
enqueue_shared_queue $q "one"
enqueue_shared_queue $q ""
dequeue_shared_queue $q
dequeue_shared_queue $r
dequeue_shared_queue $q
enqueue_shared_queue 99999 "x"
dequeue_shared_queue 99999
enqueue_shared_queue 0 "x"
raw register_shared_queue -1 4 8
raw register_shared_queue 0 0 -1
raw resolve_shared_queue 0 0 -1 4 8
raw enqueue_shared_queue 1 -1 4
enqueue_shared_queue $q "left for on_queue_ready"
@on_queue_ready
nth 3 dequeue_shared_queue $q
nth 3 dequeue_shared_queue $q
"""

METRICS = """
@on_request_headers:metrics
define_metric 0 "conformance.counter" =c
increment_metric $c 2
increment_metric $c 0
increment_metric $c -1
record_metric $c 5
get_metric $c
define_metric 0 "conformance.counter" =c2
increment_metric $c2 1
get_metric $c
define_metric 1 "conformance.gauge" =g
increment_metric $g 5
increment_metric $g -2
get_metric $g
record_metric $g 7
get_metric $g
increment_metric $g 0
get_metric $g
define_metric 2 "conformance.histogram" =h
record_metric $h 3
increment_metric $h 1
get_metric $h
define_metric 3 "x" =x
define_metric -1 "x" =x
increment_metric 4000 1
increment_metric 4001 1
increment_metric 4002 1
increment_metric 4003 1
record_metric 4000 1
record_metric 4001 1
record_metric 4002 1
record_metric 4003 1
get_metric 4000
get_metric 4001
get_metric 4002
get_metric 4003
raw get_metric $c -1
raw define_metric 0 -1 4 8
raw define_metric 0 0 0 -1
"""

TIMERS = """
@on_request_headers:tick
set_tick_period_milliseconds 20
send_local_response 200 "" "" "" -1
@on_tick
nth 1 get_header_map_pairs 0
nth 1 get_buffer_bytes 0 0 10
nth 1 get_property "request\\0path"
nth 1 get_property "plugin_name"
nth 1 set_property "x" "y"
nth 1 add_header_map_value 0 "x" "y"
nth 1 continue_stream 0
nth 1 close_stream 0
nth 1 send_local_response 200 "" "" "" -1
nth 1 done
nth 1 set_effective_context 0
nth 1 set_effective_context 123456
nth 3 set_tick_period_milliseconds 0
"""

GENERAL = """
@on_request_headers:log
log 0 "trace"
log 1 "debug"
log 2 "info"
log 3 "warning"
log 4 "error"
log 5 "critical"
log 6 "too much"
log -1 "too little"
log 3 ""
raw log 3 -1 4
get_log_level
@on_request_headers:time
get_current_time_nanoseconds
raw get_current_time_nanoseconds -1
raw get_current_time_nanoseconds -4
raw get_log_level -1
raw get_status -1 8 8
raw get_status 8 -1 8
raw get_status 8 8 -1
get_status
done
set_effective_context 0
set_effective_context 999999
set_effective_context -1
@on_done:time
done
return 0
@on_request_headers:wasi
wasi.args_sizes_get
wasi.args_get 4 4
wasi.environ_sizes_get
wasi.environ_get 16 32
wasi.clock_res_get 0
wasi.clock_res_get 1
wasi.clock_res_get 2
wasi.clock_time_get 0 0
wasi.clock_time_get 1 0
wasi.clock_time_get 2 0
wasi.random_get 8
wasi.random_get 65537
wasi.fd_write 1 "to stdout\\n"
wasi.fd_write 2 "to stderr\\n\\n"
wasi.fd_write 1 ""
wasi.fd_write 0 "x"
wasi.fd_write 3 "x"
wasi.fd_pwrite 1 "at an offset" 7
wasi.fd_read 0 "xxxx"
wasi.fd_pread 0 "xxxx" 0
wasi.fd_fdstat_get 1
wasi.fd_fdstat_get 2
wasi.fd_fdstat_get 0
wasi.fd_fdstat_set_flags 1 0
wasi.fd_fdstat_set_rights 1 0 0
wasi.fd_fdstat_set_rights 0 0 0
wasi.fd_advise 1 0 0 0
wasi.fd_advise 5 0 0 0
wasi.fd_allocate 1 0 0
wasi.fd_datasync 1
wasi.fd_sync 1
wasi.fd_tell 1
wasi.fd_tell 0
wasi.fd_filestat_get 1
wasi.fd_filestat_set_size 1 0
wasi.fd_filestat_set_times 1 0 0 0
wasi.fd_prestat_get 3
wasi.fd_prestat_dir_name 3 4
wasi.fd_readdir 3 4 0
wasi.fd_renumber 1 2
wasi.fd_renumber 1 3
wasi.path_open 3 0 "x" 0 0 0 0
wasi.path_create_directory 3 "x"
wasi.path_filestat_get 3 0 "x"
wasi.path_filestat_set_times 3 0 "x" 0 0 0
wasi.path_readlink 3 "x" 4
wasi.path_remove_directory 3 "x"
wasi.path_rename 3 "x" 3 "y"
wasi.path_unlink_file 3 "x"
wasi.poll_oneoff 0 0 1
wasi.sched_yield
wasi.sock_accept 3 0
wasi.sock_recv 3 "xxxx" 0
wasi.sock_send 3 "xxxx" 0
wasi.sock_shutdown 3 0
wasi.fd_close 1
wasi.fd_close 9
wasi.fd_seek 1 0 0
env.proc_exit 3
env.pthread_equal 7 7
env.pthread_equal 7 8
env.emscripten_notify_memory_growth 0
wasi_unstable.fd_write 1 "by the old name"
wasi_unstable.random_get 4
wasi_unstable.clock_res_get 0
wasi_unstable.environ_sizes_get
raw wasi.fd_write 1 -1 1 8
raw wasi.fd_write 1 -8 1 8
raw wasi.random_get -1 8
raw wasi.clock_time_get 0 0 -1
raw wasi.environ_sizes_get -1 8
@on_request_headers:pointers
raw set_property -1 4 0 0
raw set_property 0 0 -1 4
raw get_property -1 4 8 8
raw get_header_map_value 0 -1 4 8 8
raw get_header_map_pairs 0 -1 8
raw get_header_map_pairs 0 8 -1
raw set_header_map_pairs 0 -1 4
raw add_header_map_value 0 -1 4 0 0
raw add_header_map_value 0 0 0 -1 4
raw replace_header_map_value 0 -1 4 0 0
raw remove_header_map_value 0 -1 4
raw get_header_map_size 0 -1
raw get_buffer_bytes 7 0 10 -1 8
raw get_buffer_bytes 6 0 10 8 -1
raw get_buffer_status 0 -1 8
raw get_buffer_status 0 8 -1
raw set_buffer_bytes 0 0 0 -1 4
raw send_local_response 200 -1 4 0 0 0 0 -1
raw send_local_response 200 0 0 -1 4 0 0 -1
raw send_local_response 200 0 0 0 0 -1 4 -1
raw call_foreign_function -1 4 0 0 8 8
raw call_foreign_function 0 0 -1 4 8 8
raw grpc_send 2 -1 4 0
raw grpc_call -1 4 0 0 0 0 0 0 0 0 10 8
raw grpc_stream -1 4 0 0 0 0 0 0 8
raw set_effective_context -1
get_header_map_value 0 ":path"
@on_request_headers:enums
get_buffer_bytes 9 0 1
get_buffer_bytes -1 0 1
get_buffer_status 9
set_buffer_bytes 9 0 0 "x"
get_buffer_bytes 0 0 1
get_buffer_bytes 1 0 1
get_buffer_bytes 2 0 1
get_buffer_bytes 3 0 1
get_buffer_bytes 4 0 1
get_buffer_bytes 5 0 1
get_buffer_bytes 6 0 99
get_buffer_bytes 7 0 1
get_buffer_status 0
get_buffer_status 4
get_buffer_status 6
get_buffer_status 7
set_buffer_bytes 0 0 0 "x"
set_buffer_bytes 1 0 0 "x"
set_buffer_bytes 4 0 0 "x"
set_buffer_bytes 6 0 0 "x"
set_buffer_bytes 7 0 0 "x"
continue_stream 2
continue_stream 3
continue_stream 4
continue_stream -1
close_stream 2
close_stream 4
grpc_send 1 "x" 0
grpc_send 2 "x" 0
grpc_send 6 "x" 0
grpc_cancel 0
grpc_cancel 5
grpc_cancel 6
grpc_close 0
grpc_close 5
grpc_close 6
get_header_map_value 0 ":path"
"""
GENERAL_VM = f"""environment_variables: {{key_values: {{KEY: value}}}}
        configuration: {{"@type": {STRING}, value: "the configuration of the VM"}}"""

# A cluster by its name, and the same as a GrpcService message.
SERVICE = "\\x0a\\x07\\x0a\\x05h2app"
GRPC = f"""
@on_request_headers:call
grpc_call "h2app" "pkg.Service" "Method" [x-md: 1, x-bin-bin: raw] "hello" 1000
return 1
@on_grpc_receive_initial_metadata:call
get_header_map_pairs 4
@on_grpc_receive:call
get_buffer_status 5
get_buffer_bytes 5 0 100
get_buffer_bytes 5 1 2
get_status
get_header_map_pairs 4
set_buffer_bytes 5 0 1 "x"
add_header_map_value 4 "a" "b"
set_effective_context $context
get_buffer_bytes 5 0 3
continue_stream 0
@on_grpc_close:call
get_status
@on_response_headers:call
get_buffer_bytes 5 0 10
get_header_map_pairs 4
@on_request_headers:service
grpc_call "{SERVICE}" "pkg.Service" "Method" "" "hello" 1000
return 1
@on_grpc_receive:service
set_effective_context $context
continue_stream 0
@on_request_headers:fails
grpc_call "h2app" "pkg.Service" "Fails" "" "" 0
return 1
@on_grpc_receive_initial_metadata:fails
get_header_map_pairs 4
@on_grpc_receive_trailing_metadata:fails
get_header_map_pairs 5
@on_grpc_close:fails
get_status
set_effective_context $context
continue_stream 0
@on_request_headers:late
grpc_call "h2app" "pkg.Service" "Hang" "" "" 30
return 1
@on_grpc_close:late
get_status
set_effective_context $context
continue_stream 0
@on_request_headers:dead
grpc_call "dead" "pkg.Service" "Method" "" "" 1000
return 1
@on_grpc_close:dead
get_status
set_effective_context $context
continue_stream 0
@on_request_headers:bad
grpc_call "nowhere" "s" "m" "" "" 1000
grpc_stream "nowhere" "s" "m" ""
grpc_call "\\x0a\\x09\\x0a\\x07nowhere" "s" "m" "" "" 1000
grpc_stream "\\x0a\\x09\\x0a\\x07nowhere" "s" "m" ""
@on_request_headers:stream
grpc_stream "h2app" "pkg.Service" "Stream" [x-md: 1] =s
grpc_send $s "one" 0
return 1
@on_grpc_receive_initial_metadata:stream
get_header_map_pairs 4
get_header_map_value 4 "x-initial"
@on_grpc_receive:stream
get_buffer_bytes 5 0 100
nth 1 grpc_send $s "two" 1
nth 1 grpc_close $s
nth 1 grpc_send $s "three" 0
@on_grpc_receive_trailing_metadata:stream
get_header_map_pairs 5
get_header_map_value 5 "x-trailing"
@on_grpc_close:stream
get_status
grpc_send $s "four" 0
grpc_close $s
grpc_cancel $s
set_effective_context $context
continue_stream 0
@on_request_headers:quiet
grpc_call "h2app" "pkg.Service" "Quiet" "" "" 1000
return 1
@on_grpc_close:quiet
get_status
set_effective_context $context
continue_stream 0
@on_request_headers:odd
grpc_call "h2app" "pkg.Service" "Odd" "" "" 1000
return 1
@on_grpc_close:odd
get_status
set_effective_context $context
continue_stream 0
@on_request_headers:cancel
grpc_stream "h2app" "pkg.Service" "Hang" "" =s
grpc_cancel $s
grpc_cancel $s
grpc_send $s "x" 0
grpc_call "h2app" "pkg.Service" "Hang" "" "" 0 =c
grpc_send $c "x" 0
grpc_close $c
grpc_close $c
"""

# What the older versions of the ABI have in the place of others.
OLD = """
@on_request_headers:headers
get_header_map_value 0 "absent"
get_header_map_value 0 ":path"
get_header_map_value 2 ":status"
add_header_map_value 0 "x-added" "yes"
get_buffer_bytes 6 0 10
get_buffer_bytes 7 0 10
set_effective_context 0
get_current_time_nanoseconds
get_property "plugin_name"
@on_response_headers:headers
get_header_map_value 2 "absent"
get_header_map_value 2 ":status"
@on_request_body:headers
get_buffer_bytes 0 0 10
@on_response_body:headers
get_buffer_bytes 1 0 10
@on_log:headers
get_header_map_value 2 "absent"
get_header_map_value 0 "absent"
@on_request_headers:answer
send_local_response 418 "by the old one" "teapot" [x-old: yes] -1
"""
OLDEST = f"""{OLD}
@on_request_headers:pause
get_configuration
clear_route_cache
http_call "app" [:method: GET, :path: /call, :authority: a] "" "" 1000
return 1
@on_http_call_response:pause
get_header_map_value 6 ":status"
get_header_map_value 6 "absent"
nth 1 set_effective_context $context
nth 1 continue_request
nth 2 set_effective_context $context
nth 2 continue_response
@on_response_headers:pause
http_call "app" [:method: GET, :path: /again, :authority: a] "" "" 1000
return 1
"""
OLDER = f"""{OLD}
@on_request_headers:pause
http_call "app" [:method: GET, :path: /call, :authority: a] "" "" 1000
return 1
@on_http_call_response:pause
get_header_map_value 6 ":status"
get_header_map_value 6 "absent"
nth 1 set_effective_context $context
nth 1 continue_stream 0
nth 2 set_effective_context $context
nth 2 continue_stream 1
@on_response_headers:pause
http_call "app" [:method: GET, :path: /again, :authority: a] "" "" 1000
return 1
"""

# A call whose answer lets things go on.
CALL = 'http_call "other" [:method: GET, :path: /call, :authority: a] "" "" 1000'


def _resumed(case: str, direction: int) -> str:
    """The answer to CALL lets that direction of the case go on."""
    resume = f"set_effective_context $context\ncontinue_stream {direction}"
    return f"@on_http_call_response:{case}\n{resume}\n"


def _actions(direction: str, number: int) -> str:
    """A case for each result of a headers callback, which a call's answer undoes."""
    return "".join(
        f"@on_{direction}_headers:{direction}{result}\n{CALL}\nreturn {result}\n"
        + _resumed(f"{direction}{result}", number)
        for result in (1, 3, 4, 9)
    )


ACTIONS = _actions("request", 0) + _actions("response", 1)
HELD = """
@on_request_headers:held
return 1
@on_request_body:held
get_header_map_value 0 ":path"
more? add_header_map_value 0 "x-late" "yes"
@on_response_headers:held
return 1
@on_response_body:held
get_header_map_value 2 ":status"
more? add_header_map_value 2 "x-late" "yes"
"""
BODIES = f"""
@on_request_body:buffer
get_buffer_status 0
get_buffer_bytes 0 0 100
more? return 1
@on_response_body:buffer
get_buffer_status 1
get_buffer_bytes 1 0 100
more? return 1
@on_request_body:watermark
get_buffer_bytes 0 0 100
more? return 2
@on_request_headers:drop
remove_header_map_value 0 "content-length"
@on_request_headers:odd
remove_header_map_value 0 "content-length"
@on_request_body:drop
get_buffer_bytes 0 0 100
more? return 3
@on_request_body:odd
get_buffer_bytes 0 0 100
more? return 9
@on_request_headers:ranges
remove_header_map_value 0 "content-length"
@on_request_body:ranges
more? return 1
set_buffer_bytes 0 0 2 "XX"
get_buffer_bytes 0 0 100
set_buffer_bytes 0 0 0 "pre-"
get_buffer_bytes 0 0 100
set_buffer_bytes 0 1000 0 "-app"
get_buffer_bytes 0 0 100
set_buffer_bytes 0 1 1 "bad"
get_buffer_bytes 0 1 3
get_buffer_bytes 0 1000 3
get_buffer_bytes 0 0 0
get_buffer_bytes 0 -1 2
set_buffer_bytes 0 0 1000 "all"
get_buffer_status 0
set_buffer_bytes 0 3 0 "+"
get_buffer_bytes 0 0 100
set_buffer_bytes 1 0 0 "not mine"
@on_response_headers:ranges
remove_header_map_value 2 "content-length"
get_buffer_bytes 0 0 100
@on_response_body:ranges
more? return 1
set_buffer_bytes 1 0 -1 "replaced"
get_buffer_bytes 1 0 100
get_buffer_bytes 0 0 100
@on_request_body:hold
end? {CALL}
return 1
{_resumed("hold", 0)}
@on_response_body:holdback
end? {CALL}
return 1
{_resumed("holdback", 1)}
@on_response_body:answer
send_local_response 422 "in a body" "no" [x-phase: body] -1
@on_response_headers:answer3
send_local_response 423 "in headers" "no" [x-phase: headers] 3
@on_request_headers:answer4
send_local_response 424 "in headers" "" "" 5
return 0
@on_request_headers:answer5
{CALL}
return 1
@on_http_call_response:answer5
set_effective_context $context
send_local_response 425 "in a call" "no" "" -1
@on_request_headers:twice
send_local_response 427 "one" "one" "" -1
send_local_response 428 "two" "two" "" -1
@on_request_headers:close
close_stream 0
@on_response_headers:close2
close_stream 1
@on_request_headers:close3
{CALL}
return 1
@on_http_call_response:close3
set_effective_context $context
close_stream 0
"""
TRAILERS = f"""
@on_request_trailers:read
get_header_map_pairs 1
get_header_map_value 1 "x-t"
add_header_map_value 1 "x-added" "by the guest"
replace_header_map_value 1 "x-t" "replaced"
get_header_map_size 1
get_header_map_pairs 0
@on_response_trailers:read
get_header_map_pairs 3
remove_header_map_value 3 "x-t"
add_header_map_value 3 "x-added" "by the guest"
@on_log:read
get_header_map_pairs 3
get_header_map_pairs 1
@on_request_trailers:hold
{CALL}
return 1
{_resumed("hold", 0)}
@on_response_trailers:holdback
{CALL}
return 1
{_resumed("holdback", 1)}
@on_request_body:buffer
return 1
@on_request_trailers:buffer
get_buffer_bytes 0 0 100
"""

SETUP = Setup(
    "wasm-guest",
    bootstrap(
        [
            listener("headers", routes=ROUTES, filters=guest("headers", HEADERS)),
            listener("shared", routes=ROUTES, filters=guest("shared", SHARED, vm="vm_id: shared")),
            listener("metrics", routes=ROUTES, filters=guest("metrics", METRICS)),
            listener("timers", routes=ROUTES, filters=guest("timers", TIMERS)),
            listener("general", routes=ROUTES, filters=guest("general", GENERAL, vm=GENERAL_VM)),
            listener("grpc", routes=ROUTES, filters=guest("grpc", GRPC)),
            listener("oldest", routes=ROUTES, filters=guest("oldest", OLDEST, abi="0_1_0")),
            listener("older", routes=ROUTES, filters=guest("older", OLDER, abi="0_2_0")),
            listener("actions", routes=ROUTES, filters=guest("actions", ACTIONS)),
            listener(
                "allowed",
                routes=ROUTES,
                filters=guest("allowed", HELD, "allow_on_headers_stop_iteration: true"),
            ),
            listener("bodies", routes=ROUTES, filters=guest("bodies", BODIES)),
            listener("trailers", routes=ROUTES, filters=guest("trailers", TRAILERS)),
            listener("calls", routes=ROUTES, filters=guest("calls", CALLS)),
            listener(
                "restricted",
                routes=ROUTES,
                filters=guest("restricted", RESTRICTED, RESTRICTION, "vm_id: restricted"),
            ),
            listener("broken", routes=ROUTES, filters=guest("broken", BROKEN)),
        ],
        [
            cluster("app", "app"),
            cluster("h2app", "h2app", http2=True),
            cluster("other", "other"),
            cluster("dead", "dead"),
            cluster("empty"),
        ],
        "node: {id: node-1, cluster: cluster-1}",
    ),
    {"app": "h1", "h2app": "h2", "other": "h1", "dead": "dead"},
    modules("0_1_0", "0_2_0", "0_2_1"),
)
