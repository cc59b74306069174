// Package oci is the driver that runs containers of images without any daemon: the store in images gets them, overlayfs makes their
// roots, and an OCI runtime (crun, runc) makes the container and leaves it to the node's supervisor. See DESIGN.md.
package oci
