// Package command is the command line: one file a command. Every command talks to the HTTP API through agent/api; the
// agent and the supervisor, which are the same binary, are passed in by main.
//
// A command writes what it was asked for to stdout and everything else to stderr. Its exit code is one of those in
// exit.go.
package command
