// Package api is the Go client of Proffer's HTTP API, and the types that travel over it beside those of package structs.
package api
