//go:build linux

package pid1

import _ "embed"

//go:embed init_arm64
var program []byte
