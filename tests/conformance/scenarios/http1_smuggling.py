"""Every vector of request smuggling (tests/smuggling/corpus.py): what is answered, what the upstream sees."""

from __future__ import annotations

from typing import cast

from tests.smuggling.corpus import Vector, group

from ..configuration import TO_APP, bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..wire import Ended, head, read_response

SMUGGLING = Setup(
    "http1-smuggling",
    bootstrap(
        [
            listener("main", "delayed_close_timeout: 0.01s", routes=TO_APP),
            listener(
                "ten",
                "{delayed_close_timeout: 0.01s, http_protocol_options: {accept_http_10: true}}",
                routes=TO_APP,
            ),
        ],
        [cluster("app", "app")],
    ),
    {"app": "h1"},
)


def _differ(difference: str, *names: str) -> dict[str, str]:
    return dict.fromkeys(names, difference)


def _bare_cr(*names: str) -> dict[str, str]:
    return _differ("bare-cr-in-a-value", *names)


LAST = head("GET /last HTTP/1.1", "Host: a", "Connection: close")


async def try_out(s: Session, vectors: list[Vector], to: str = "main") -> None:
    """Each vector on a connection of its own, a last request behind it: what is answered, what is seen."""
    upstream = s.upstream()
    for number, vector in enumerate(vectors):
        if vector.waits:
            continue
        upstream.seen.clear()
        client = await s.connect(to)
        # A path of its own: the upstream may see a request that was refused only after the next was sent.
        await client.send(vector.data.replace(b" /a ", b" /a?%d " % number, 1) + LAST)
        replies: list[str] = []
        has_body = not vector.data.startswith(b"HEAD ")
        try:
            while True:
                reply = await read_response(client.wire, has_body=has_body)
                has_body = True
                replies += [message.start_line for message in [*reply.interim, reply]]
                if reply.cut or "close" in reply.values("connection"):
                    break
        except Ended as end:
            replies.append(f"closed after {end.partial.decode('latin-1')!r}")
        client.close()
        # What the upstream saw of a request that is refused inside its body is a race.
        is_refused = vector.group.startswith("chunk") and not replies[0].endswith(" 200 OK")
        seen = [] if is_refused else [_shown(call.shown()) for call in upstream.seen]
        seen = [text for text in seen if "/a?" not in text or f"/a?{number} " in text]
        s.see(vector.name, {"replies": replies, "upstream": seen})
    await s.quiet()
    upstream.seen.clear()


def _shown(call: dict[str, object]) -> str:
    fields = [str(field) for field in cast("list[str]", call["headers"])]
    shown = [field for field in fields if not field.startswith(("x-request-id", "x-envoy-", "x-forwarded-"))]
    return f"{call['start']} | {' | '.join(shown)} | {call.get('body', '-')}"


@scenario(SMUGGLING)
async def smuggling_cl_te(s: Session) -> None:
    """Content-Length and Transfer-Encoding together."""
    await try_out(s, group("CL.TE"))


@scenario(
    SMUGGLING,
    differs=_bare_cr("TE: bare CR in front", "TE: bare CR behind", "TE: behind a bare CR")
    | _differ("empty-transfer-encoding", "TE: two lines, empty first"),
)
async def smuggling_te(s: Session) -> None:
    """Spellings of Transfer-Encoding."""
    await try_out(s, group("TE"))


@scenario(SMUGGLING, differs=_bare_cr("TE beside CL: behind a bare CR"))
async def smuggling_te_beside_cl(s: Session) -> None:
    """The same beside a length."""
    await try_out(s, group("TE beside CL"))


@scenario(SMUGGLING, differs=_bare_cr("CL: behind a bare CR"))
async def smuggling_cl(s: Session) -> None:
    """Spellings of Content-Length."""
    await try_out(s, group("CL"))


@scenario(
    SMUGGLING,
    differs=_differ("chunk-longer-than-its-size", "chunk size: extension, quoted line end")
    | _differ("long-chunk-size", "chunk size: 40 digits"),
)
async def smuggling_chunk_sizes(s: Session) -> None:
    """Spellings of a chunk's size and its extensions."""
    await try_out(s, group("chunk size"))


@scenario(
    SMUGGLING,
    differs=_differ(
        "chunk-longer-than-its-size", "chunk: bare LF behind the data", "chunk: data longer than its size"
    )
    | _differ("folded-trailer", "chunk: folded trailer"),
)
async def smuggling_chunks(s: Session) -> None:
    """Line ends of chunks, last chunks and trailers."""
    await try_out(s, group("chunk"))


@scenario(
    SMUGGLING,
    differs=_bare_cr("lines: CR CR LF", "lines: bare CR hides a field", "lines: bare CR hides an end"),
)
async def smuggling_lines(s: Session) -> None:
    """Line ends and folded lines of the head."""
    await try_out(s, group("lines"))


@scenario(SMUGGLING)
async def smuggling_names(s: Session) -> None:
    """Bytes of names and values."""
    await try_out(s, group("names"))


@scenario(SMUGGLING, differs=_bare_cr("first line: CR"))
async def smuggling_first_lines(s: Session) -> None:
    """Methods, targets and versions."""
    await try_out(s, group("first line"))


@scenario(SMUGGLING, differs=_bare_cr("host: bare CR"))
async def smuggling_hosts(s: Session) -> None:
    """Hosts, beside a path."""
    await try_out(s, group("host"))


@scenario(SMUGGLING, differs=_bare_cr("host of an absolute target: bare CR"))
async def smuggling_hosts_of_absolute_targets(s: Session) -> None:
    """Hosts, beside an absolute target."""
    await try_out(s, group("host of an absolute target"))


@scenario(SMUGGLING)
async def smuggling_bodies(s: Session) -> None:
    """Bodies where none is expected, and requests behind them."""
    await try_out(s, group("bodies"))


@scenario(SMUGGLING)
async def smuggling_http_10(s: Session) -> None:
    """What HTTP/1.0 may mean where it is accepted."""
    vectors = [v for v in group("first line") if "version" in v.name]
    vectors += [v for of in ("chunk", "bodies") for v in group(of) if "HTTP/1.0" in v.name]
    await try_out(s, vectors, "ten")
