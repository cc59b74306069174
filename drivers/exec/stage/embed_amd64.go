//go:build linux

package stage

import _ "embed"

//go:embed stage_amd64
var program []byte
