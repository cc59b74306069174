//go:build linux

package stage

import _ "embed"

//go:embed stage_arm64
var program []byte
