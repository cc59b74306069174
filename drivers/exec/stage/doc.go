// Package stage starts processes in namespaces of their own, by a small program without a runtime (src/stage.c) that is
// embedded here as a binary. See DESIGN.md of the parent folder. Linux on amd64 and arm64 only.
package stage

//go:generate ./build.sh
