// The rate limit service of Envoy's project, whole, on the Redis of REDIS_URL; without one, on miniredis.
package main

import (
	"os"

	"github.com/alicebob/miniredis/v2"
	"github.com/envoyproxy/ratelimit/src/service_cmd/runner"
	"github.com/envoyproxy/ratelimit/src/settings"
)

func main() {
	if os.Getenv("REDIS_URL") == "" {
		redis, err := miniredis.Run()
		if err != nil {
			panic(err)
		}
		os.Setenv("REDIS_URL", redis.Addr())
	}
	service := runner.NewRunner(settings.NewSettings())
	service.Run()
}
