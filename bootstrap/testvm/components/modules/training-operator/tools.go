//go:build tools

// Package tools pins what gpuctl's component mirror builds from this module.
package tools

import (
	_ "github.com/kubeflow/training-operator/cmd/training-operator.v1"
)
