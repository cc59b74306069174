//go:build linux

package pid1

import _ "embed"

//go:embed init_amd64
var program []byte
