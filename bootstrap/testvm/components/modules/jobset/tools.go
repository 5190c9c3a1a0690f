//go:build tools

// Package tools pins what gpuctl's component mirror builds from this module.
package tools

import (
	_ "sigs.k8s.io/jobset"
)
