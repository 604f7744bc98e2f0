//go:build tools

// Package tools names the program that is built, so that its module and all that it needs are pinned in go.sum.
package tools

import _ "github.com/summerwind/h2spec/cmd/h2spec"
