"""Random snapshots: a world of resources that changes a little at each step, now and then for the worse.

What a step may do is chosen so that the answers to the same questions do not depend on chance: hosts of equal
weights in turn, priorities and health that leave nothing to be drawn.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from google.protobuf import any_pb2

from tests.conformance.configuration import HCM, ROUTER
from tests.support.pki import Authority

from .plane import pack

__all__ = ["ADDRESSES", "HOSTS", "PATHS", "UPSTREAMS", "World"]

#: Where listeners listen, each at a port that it chose: Envoy lets a new one take over the socket of any that
#: drains and was to listen at the same address and port 0.
ADDRESSES = {"main": "127.0.0.1", "second": "127.0.0.2", "tls": "127.0.0.3", "bad": "127.0.0.4"}

UPSTREAMS = ("u0", "u1", "u2", "u3")
HOSTS = ("a.test", "b.test", "other.test")
PATHS = ("/r0", "/r1/x", "/r2", "/r3?q=1")
_ADS = {"ads": {}, "resource_api_version": "V3"}
#: A cluster that changed asks for endpoints that it was told before, and no server says them again: both
#: proxies then wait for as long as they may, and use what they had.
_EDS = {**_ADS, "initial_fetch_timeout": "0.2s"}
_TYPE = "type.googleapis.com/"
CLUSTER = "envoy.config.cluster.v3.Cluster"
ENDPOINTS = "envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = "envoy.config.listener.v3.Listener"
ROUTES = "envoy.config.route.v3.RouteConfiguration"
SECRET = "envoy.extensions.transport_sockets.tls.v3.Secret"
RUNTIME = "envoy.service.runtime.v3.Runtime"
Tree = dict[str, Any]


class World:
    """See the module."""

    def __init__(self, seed: int, ports: dict[str, int], *, is_delta: bool = False) -> None:
        """``ports`` of the upstreams; ``is_delta``: only changes are told."""
        self._is_delta = is_delta
        #: The next step does nothing but to break endpoints.
        self._is_next_wrong = False
        self._random = random.Random(seed)
        self._ports = ports
        authority = Authority("root")
        self._certificates = [authority.leaf(f"cert{number}", "DNS:tls.test") for number in range(2)]
        self.clusters: dict[str, Tree] = {}
        self.assignments: dict[str, list[tuple[int, str, str]]] = {}
        self.routes: dict[str, list[Tree]] = {"a.test": [], "*": []}
        self.manager: Tree = {}
        self.second: Tree | None = None
        self.certificate = 0
        self._fault = 0
        #: What the last step did.
        self.done: list[str] = []
        #: Resources that are wrong, of the last step alone.
        self._wrong: list[tuple[str, Tree]] = []
        self._broken_routes: Tree | None = None
        self._broken_secret = False
        self.assignments["steady"] = [(0, "u0", ""), (0, "u1", "")]
        for _ in range(4):
            self._change_cluster()
            self._change_routes()

    # -- a step ----------------------------------------------------------------------------------------
    def step(self, *, is_right: bool = False) -> None:
        """Change something, rightly or, without ``is_right``, wrongly."""
        self.done, self._wrong, self._broken_routes, self._broken_secret = [], [], None, False
        if self._is_next_wrong and not is_right:
            self._is_next_wrong = False
            self._break_endpoints()
            return
        ways: list[tuple[Callable[[], None], int]] = [
            (self._change_cluster, 3),
            (self._drop_cluster, 1),
            (self._change_endpoints, 5),
            (self._change_steady, 2),
            (self._change_routes, 5),
            (self._drop_route, 1),
            (self._change_manager, 1),
            (self._change_second, 2),
            (self._change_certificate, 1),
        ]
        for _ in range(self._random.randint(1, 3)):
            self._random.choices([way for way, _ in ways], [weight for _, weight in ways])[0]()
        if not is_right and self._random.random() < 0.35:
            self._break()

    def _say(self, what: str) -> None:
        self.done.append(what)

    def _hosts(self, at_least: int = 0) -> list[tuple[int, str, str]]:
        pick = self._random
        hosts = [(0, name, "") for name in pick.sample(UPSTREAMS, pick.randint(at_least, 3))]
        turn = pick.random()
        if turn < 0.2 and hosts:
            hosts[0] = (0, hosts[0][1], "UNHEALTHY")
        elif turn < 0.4:
            hosts = [(0, name, "UNHEALTHY") for _, name, _ in hosts]
            rest = [name for name in UPSTREAMS if all(name != each[1] for each in hosts)]
            if hosts and rest:
                hosts.append((1, rest[0], ""))
        return hosts

    def _change_cluster(self) -> None:
        pick = self._random
        name = f"c{pick.randrange(5)}"
        self._say(f"cluster {name}")
        kind = pick.choice(("EDS", "EDS", "STATIC"))
        made: Tree = {"name": name, "type": kind, "connect_timeout": f"{pick.randint(1, 9)}s"}
        if pick.random() < 0.3:
            made["common_lb_config"] = {"healthy_panic_threshold": {"value": pick.choice((0, 50))}}
        if pick.random() < 0.2:
            made["circuit_breakers"] = {"thresholds": [{"max_requests": pick.choice((0, 100))}]}
        if pick.random() < 0.2:
            made["outlier_detection"] = {"consecutive_5xx": pick.randint(5, 9)}
        if pick.random() < 0.2:
            made["alt_stat_name"] = f"other_{name}"
        hosts = self._hosts()
        if kind == "STATIC":
            made["load_assignment"] = self._assignment(name, hosts)
            self.assignments.pop(name, None)
        else:
            made["eds_cluster_config"] = {"eds_config": _EDS}
            if name not in self.assignments or pick.random() < 0.3:
                self.assignments[name] = hosts
        self.clusters[name] = made

    def _drop_cluster(self) -> None:
        if self.clusters:
            name = self._random.choice(sorted(self.clusters))
            self._say(f"no cluster {name}")
            del self.clusters[name]
            self.assignments.pop(name, None)

    def _change_endpoints(self) -> None:
        names = sorted(set(self.assignments) - {"steady"})
        if names:
            name = self._random.choice(names)
            self._say(f"endpoints {name}")
            self.assignments[name] = self._hosts()

    def _change_steady(self) -> None:
        self._say("endpoints steady")
        self.assignments["steady"] = [
            (0, name, "") for name in self._random.sample(UPSTREAMS, self._random.randint(1, 3))
        ]

    def _change_routes(self) -> None:
        pick = self._random
        host = pick.choice(sorted(self.routes))
        self._say(f"routes {host}")
        path = pick.choice(PATHS).partition("?")[0]
        match: Tree = pick.choice(
            [{"path": path}, {"prefix": path}, {"prefix": path[:2]}, {"safe_regex": {"regex": f"{path}.*"}}]
        )
        if pick.random() < 0.3:
            match = {**match, "headers": [{"name": "x-probe", "string_match": {"exact": "1"}}]}
        if pick.random() < 0.15:
            fraction = {"numerator": pick.choice((0, 100)), "denominator": "HUNDRED"}
            match = {**match, "runtime_fraction": {"default_value": fraction}}
        route: Tree = {"match": match}
        turn = pick.random()
        first, second = (f"c{pick.randrange(6)}" for _ in range(2))
        if turn < 0.55:
            route["route"] = {"cluster": first}
        elif turn < 0.7:
            weights = [{"name": first, "weight": 1}, {"name": second, "weight": 0}]
            route["route"] = {"weighted_clusters": {"clusters": weights}}
        elif turn < 0.85:
            body = {"inline_string": f"direct {pick.randrange(100)}"}
            route["direct_response"] = {"status": pick.choice((200, 404, 503)), "body": body}
        else:
            route["redirect"] = {"path_redirect": f"/to/{pick.randrange(100)}"}
        if pick.random() < 0.3:
            header = {"key": "x-route", "value": str(pick.randrange(100))}
            route["response_headers_to_add"] = [{"header": header}]
        if "route" in route and pick.random() < 0.2:
            route["route"]["prefix_rewrite"] = "/rewritten"
        self.routes[host].insert(0, route)
        del self.routes[host][6:]

    def _drop_route(self) -> None:
        host = self._random.choice(sorted(self.routes))
        if self.routes[host]:
            self._say(f"fewer routes {host}")
            self.routes[host].pop(self._random.randrange(len(self.routes[host])))

    def _change_manager(self) -> None:
        self._say("listener main")
        pick = self._random
        self.manager = {"server_name": f"s{pick.randrange(100)}"}
        if pick.random() < 0.5:
            self.manager["via"] = "here"
        self._fault = pick.choice((0, 503, 418))

    def _change_second(self) -> None:
        pick = self._random
        if self.second is not None and pick.random() < 0.4:
            self._say("no listener second")
            self.second = None
            return
        self._say("listener second")
        manager: Tree = {"server_name": f"s{pick.randrange(100)}"}
        if pick.random() < 0.5:
            manager["rds"] = {"route_config_name": "main", "config_source": _ADS}
        else:
            body = {"inline_string": f"second {pick.randrange(100)}"}
            route = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": body}}
            hosts = [{"name": "all", "domains": ["*"], "routes": [route]}]
            manager["route_config"] = {"name": "own", "virtual_hosts": hosts}
        self.second = _listener("second", manager)
        if pick.random() < 0.3:
            self.second["per_connection_buffer_limit_bytes"] = pick.randint(10_000, 20_000)

    def _change_certificate(self) -> None:
        self._say("certificate")
        self.certificate = 1 - self.certificate

    def _break(self) -> None:
        """Add what is wrong."""
        pick = self._random
        clusters: list[Tree] = [
            {"name": "bad", "connect_timeout": "-1s"},
            {"name": "bad", "type": "EDS", "connect_timeout": "1s"},
            {
                "name": "bad",
                "type": "STATIC",
                "load_assignment": {
                    "cluster_name": "bad",
                    "endpoints": [{"lb_endpoints": [_endpoint("no address", 1)]}],
                },
            },
            {"name": "bad", "type": "STATIC", "eds_cluster_config": {"eds_config": _ADS}},
            {"name": "bad", "type": "STRICT_DNS", "lb_policy": "CLUSTER_PROVIDED"},
        ]
        listeners: list[Tree] = [
            {"name": "bad", "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
            {**_listener("bad", {}), "address": {"socket_address": {"address": "nowhere", "port_value": 0}}},
            _listener("bad", {"http_filters": []}),
            _listener("bad", {"stat_prefix": ""}),
            {**_listener("bad", {}), "listener_filters": [{"name": "unknown.filter"}]},
        ]
        where = pick.randrange(5)
        if where == 0:
            number = pick.randrange(len(clusters))
            self._say(f"wrong cluster {number}")
            self._wrong.append((CLUSTER, clusters[number]))
        elif where == 1:
            number = pick.randrange(len(listeners))
            self._say(f"wrong listener {number}")
            self._wrong.append((LISTENER, listeners[number]))
        elif where == 2:
            number = pick.randrange(4)
            self._say(f"wrong routes {number}")
            match, action = {"prefix": "/"}, {"cluster": "c0"}
            broken: list[Tree] = [
                {"match": {"safe_regex": {"regex": "["}}, "route": action},
                {"match": match},
                {"match": match, "route": {"weighted_clusters": {"clusters": [{"name": "c0", "weight": 0}]}}},
                {"match": match, "route": {"cluster": "c0", "regex_rewrite": {"substitution": "\\9"}}},
            ]
            self._broken_routes = broken[number]
        elif where == 3:
            self._say("wrong secret")
            self._broken_secret = True
        elif self._is_delta:
            # Which assignments Envoy takes that come with a wrong one is chance.
            self._is_next_wrong = True
        else:
            self._break_endpoints()

    def _break_endpoints(self) -> None:
        self._say("wrong endpoints")
        self._wrong.append(("endpoints", {}))

    # -- resources -------------------------------------------------------------------------------------
    def _assignment(self, name: str, hosts: list[tuple[int, str, str]]) -> Tree:
        places: dict[int, list[Tree]] = {}
        for priority, upstream, health in hosts:
            made = _endpoint("127.0.0.1", self._ports[upstream])
            if health:
                made["health_status"] = health
            places.setdefault(priority, []).append(made)
        return {
            "cluster_name": name,
            "endpoints": [
                {"priority": priority, "lb_endpoints": each} for priority, each in sorted(places.items())
            ],
        }

    def resources(self) -> list[any_pb2.Any]:
        """The snapshot."""
        steady = {
            "name": "steady",
            "type": "EDS",
            "connect_timeout": "2s",
            "eds_cluster_config": {"eds_config": _ADS},
        }
        wrong = self._wrong
        out = [
            pack(CLUSTER, each)
            for each in (steady, *self.clusters.values(), *(r for t, r in wrong if t == CLUSTER))
        ]
        wrong_endpoints = any(kind == "endpoints" for kind, _ in wrong)
        for name, hosts in self.assignments.items():
            assignment = self._assignment(name, hosts)
            if wrong_endpoints and name == max(self.assignments):
                assignment["endpoints"] = [{"lb_endpoints": [_endpoint("no address", 1)]}]
            out.append(pack(ENDPOINTS, assignment))
        rds = {"rds": {"route_config_name": "main", "config_source": _ADS}}
        main = _listener("main", {**rds, **self.manager}, fault=self._fault)
        tls = _listener("tls", {**rds, "stat_prefix": "tls"})
        sds = [{"name": "cert", "sds_config": _ADS}]
        context = {"common_tls_context": {"tls_certificate_sds_secret_configs": sds}}
        kind = f"{_TYPE}envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
        tls["filter_chains"][0]["transport_socket"] = {
            "name": "tls",
            "typed_config": {"@type": kind, **context},
        }
        listeners = [main, tls, *([self.second] if self.second is not None else [])]
        out += [pack(LISTENER, each) for each in (*listeners, *(r for t, r in wrong if t == LISTENER))]
        steadily = {"match": {"path": "/steady"}, "route": {"cluster": "steady"}}
        hosts_of_routes = [
            {
                "name": domain,
                "domains": [domain],
                "routes": [
                    steadily,
                    *routes,
                    *([self._broken_routes] if self._broken_routes and domain == "*" else []),
                ],
            }
            for domain, routes in self.routes.items()
        ]
        out.append(pack(ROUTES, {"name": "main", "virtual_hosts": hosts_of_routes}))
        leaf = self._certificates[self.certificate]
        chain = "garbage" if self._broken_secret else leaf.cert_pem.decode()
        certificate = {
            "certificate_chain": {"inline_string": chain},
            "private_key": {"inline_string": leaf.key_pem.decode()},
        }
        out.append(pack(SECRET, {"name": "cert", "tls_certificate": certificate}))
        return out


def _endpoint(address: str, port: int) -> Tree:
    return {"endpoint": {"address": {"socket_address": {"address": address, "port_value": port}}}}


def _listener(name: str, manager: Tree, fault: int = 0) -> Tree:
    filters: list[Tree] = []
    if fault:
        percentage = {"numerator": 100, "denominator": "HUNDRED"}
        matching = [{"name": "x-fault", "present_match": True}]
        config = {
            "@type": f"{_TYPE}envoy.extensions.filters.http.fault.v3.HTTPFault",
            "abort": {"http_status": fault, "percentage": percentage},
            "headers": matching,
        }
        filters.append({"name": "fault", "typed_config": config})
    filters.append({"name": "router", "typed_config": {"@type": ROUTER}})
    made = {"@type": HCM, "stat_prefix": name, "http_filters": filters, **manager}
    return {
        "name": name,
        "address": {"socket_address": {"address": ADDRESSES[name], "port_value": 0}},
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": made}]}],
    }
