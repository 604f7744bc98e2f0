# What the tests ask of OPA: each answer shows another part of CheckResponse.
package e2e

http := input.attributes.request.http

default answer := {"allowed": false}

# Headers for the upstream and for the client, and such as are taken out; metadata for whom it concerns.
answer := {
	"allowed": true,
	"headers": {"x-user": user, "x-many": ["1", "2"]},
	"request_headers_to_remove": ["x-secret", "authorization"],
	"response_headers_to_add": {"x-policy": "e2e", "x-set": ["a", "b"]},
	"dynamic_metadata": {"who": user, "roles": ["reader"]},
} if {
	input.parsed_path[0] == "user"
	user
}

# Everything of a refusal.
answer := {
	"allowed": false,
	"http_status": 402,
	"body": "not for you",
	"headers": {"x-why": "the law", "www-authenticate": "Basic"},
} if input.parsed_path[0] == "law"

# A refusal that says no more.
answer := false if input.parsed_path[0] == "plain"

answer := true if {
	input.parsed_path[0] == "yes"
	http.method == "GET"
}

# The query, changed.
answer := {
	"allowed": true,
	"query_parameters_to_set": {"seen": input.parsed_query.q[0], "new": "n"},
	"query_parameters_to_remove": ["secret"],
} if input.parsed_path[0] == "query"

# A body, read; one that is cut is none.
answer := {"allowed": true, "headers": {"x-sum": format_int(sum(input.parsed_body.numbers), 10)}} if {
	input.parsed_path[0] == "body"
	not input.truncated_body
}

answer := {"allowed": false, "http_status": 413} if {
	input.parsed_path[0] == "body"
	input.truncated_body
}

# What the route and the connection say.
answer := {"allowed": true, "headers": {
	"x-tenant": input.attributes.contextExtensions.tenant,
	"x-protocol": http.protocol,
	"x-host": http.host,
	"x-scheme": http.scheme,
}} if input.parsed_path[0] == "tenant"

# What a filter in front has found out, and from where the request comes.
answer := {"allowed": true, "headers": {
	"x-tier": input.attributes.metadataContext.filterMetadata.shop.tier,
	"x-from": input.attributes.source.address.socketAddress.address,
	"x-path": concat("|", input.parsed_path),
}} if input.parsed_path[0] == "metadata"

# A method and a path for a role, as policies mostly are.
roles := {"ann": "admin", "bob": "reader"}

allowed := {"admin": {"GET", "PUT", "DELETE"}, "reader": {"GET"}}

answer := {"allowed": allows, "http_status": 403, "body": sprintf("%s may not %s", [user, http.method])} if {
	input.parsed_path[0] == "shop"
	user
	allows := http.method in allowed[roles[user]]
}

# The policy fails: OPA gives no answer.
answer := {"allowed": "perhaps"} if input.parsed_path[0] == "fails"

user := claims.sub if {
	[_, claims, _] := io.jwt.decode(trim_prefix(http.headers.authorization, "Bearer "))
	io.jwt.verify_hs256(trim_prefix(http.headers.authorization, "Bearer "), "a secret of this test")
}
