// Package registry gets manifests and blobs from registries of images, by the distribution protocol of the OCI: from mirrors first, with
// the credentials that a node or a task has, and resumed where a connection broke. What arrives goes to whoever asks; nothing is stored.
package registry
