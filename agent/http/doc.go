// Package http is the HTTP API of an agent: one table of routes under /v1/, from which the handlers, the OpenAPI
// description and the reference take their shape.
package http
