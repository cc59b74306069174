// Package mesos serves the Mesos v1 HTTP APIs: the messages of package wire come in, values of server and structs go out, and the
// other way round. It decides nothing. See DESIGN.md.
package mesos
