// Package operator is what tools that were made for Mesos ask of a region: the JSON that dashboards poll (/state and its like), and the
// operator API with its stream of events.
package operator
