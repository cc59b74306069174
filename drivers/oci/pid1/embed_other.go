//go:build !linux || (!amd64 && !arm64)

package pid1

var program []byte
