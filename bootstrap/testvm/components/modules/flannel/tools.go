//go:build tools

// Package tools pins what gpuctl's component mirror builds from this module.
package tools

import (
	_ "github.com/flannel-io/flannel"
	_ "github.com/flannel-io/flannel/cmd/install_conf"
)
