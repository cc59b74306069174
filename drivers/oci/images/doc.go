// Package images is the store of container images of a node: it pulls them from registries, OCI layouts and docker archives,
// unpacks each layer once, and says which folders a container's root is made of. See DESIGN.md.
package images
