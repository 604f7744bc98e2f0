"""The sample application of `sidecar demo`: answers every request with what it saw of it, as JSON.

Started by `demo.py` as `python -m sidecar.cli.demo_app`. It listens on a free port of the loopback, writes
the port to standard output, and ends when its standard input does: it cannot outlive the demo.
"""

import json
import sys
from functools import partial

import h11
import trio

MAX_READ = 65536


async def serve() -> None:
    """Serves until standard input ends."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        print(listeners[0].socket.getsockname()[1], flush=True)
        nursery.start_soon(partial(trio.serve_listeners, answer_connection, listeners))
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        nursery.cancel_scope.cancel()


async def answer_connection(stream: trio.SocketStream) -> None:
    """Answers the requests of one connection, one after the other."""
    connection = h11.Connection(h11.SERVER)
    try:
        async with stream:
            while await _answer_request(stream, connection):
                connection.start_next_cycle()
    except (h11.RemoteProtocolError, trio.BrokenResourceError):
        return


async def _answer_request(stream: trio.SocketStream, connection: h11.Connection) -> bool:
    """Reads one request and answers it; False when there is none, or none can follow."""
    request: h11.Request | None = None
    body_bytes = 0
    while not isinstance(event := connection.next_event(), h11.EndOfMessage):
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some(MAX_READ))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body_bytes += len(event.data)
        else:
            return False
    assert request is not None
    for message in _answer(request, body_bytes):
        await stream.send_all(connection.send(message) or b"")
    return connection.our_state is h11.DONE and connection.their_state is h11.DONE


def _answer(request: h11.Request, body_bytes: int) -> list[h11.Response | h11.Data | h11.EndOfMessage]:
    seen = {
        "method": request.method.decode(),
        "path": request.target.decode("latin-1"),
        "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.headers],
        "body_bytes": body_bytes,
    }
    body = json.dumps(seen, indent=1).encode() + b"\n"
    headers = [("content-type", "application/json"), ("content-length", str(len(body)))]
    head = h11.Response(status_code=200, headers=[*headers, ("server", "demo-application")])
    if request.method == b"HEAD":
        return [head, h11.EndOfMessage()]
    return [head, h11.Data(data=body), h11.EndOfMessage()]


if __name__ == "__main__":
    trio.run(serve)
