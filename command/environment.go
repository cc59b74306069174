package command

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

// Environment is what a command has of the world. Tests make their own.
type Environment struct {
	In       io.Reader
	Out, Err io.Writer
	Getenv   func(string) string
	Environ  func() []string
	Terminal bool                   // Out is one
	Signals  func(chan<- os.Signal) // has interrupts sent to the channel, until the process ends
	Checks   structs.ConfigChecks   // of the drivers that jobs may name; nil: the server checks them
	Version  string
	Now      func() time.Time // for ages in tables

	context string // from -context
	address string // from -address
}

// System returns the environment of the process.
func System(version string, checks structs.ConfigChecks) *Environment {
	return &Environment{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv, Environ: os.Environ,
		Terminal: term.IsTerminal(int(os.Stdout.Fd())) && os.Getenv("TERM") != "dumb",
		Signals:  func(c chan<- os.Signal) { signal.Notify(c, os.Interrupt, syscall.SIGTERM) },
		Checks:   checks, Version: version, Now: time.Now}
}

// retryNotice is how long a call may be tried again before the user is told what is wrong.
const retryNotice = 2 * time.Second

// client returns a client of the agent that flags, environment and configuration name, in this order.
func (e *Environment) client() (*api.Client, error) {
	var told sync.Once
	begun := time.Now()
	c := api.Config{Address: e.address, Token: e.Getenv("PROFFER_TOKEN"), Actor: actor(e.Getenv), Retrying: func(err error) {
		if time.Since(begun) >= retryNotice {
			told.Do(func() { fmt.Fprintln(e.Err, "Trying again: "+clean(err.Error())) })
		}
	}}
	name := e.context
	if c.Address == "" && name == "" {
		c.Address = e.Getenv("PROFFER_ADDR")
	}
	if name == "" {
		name = e.Getenv("PROFFER_CONTEXT")
	}
	if c.Address == "" {
		chosen, err := readContext(e.configFile(), name)
		if err != nil {
			return nil, err
		}
		if chosen != nil {
			c.Address = chosen.Address
			if chosen.Token != "" && (c.Token == "" || e.context != "") {
				c.Token = chosen.Token
			}
		}
	}
	return api.New(c)
}

// configFile returns the path of the user's configuration; it need not exist.
func (e *Environment) configFile() string {
	if path := e.Getenv("PROFFER_CONFIG"); path != "" {
		return path
	}
	base := e.Getenv("XDG_CONFIG_HOME")
	if base == "" {
		home := e.Getenv("HOME")
		if home == "" {
			home = e.Getenv("USERPROFILE")
		}
		if home == "" {
			return ""
		}
		base = filepath.Join(home, ".config")
	}
	hcl := filepath.Join(base, "proffer", "config.hcl")
	if _, err := os.Stat(hcl); err != nil {
		if json := filepath.Join(base, "proffer", "config.json"); exists(json) {
			return json
		}
	}
	return hcl
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// actor says who runs the command, for the record: a name without spaces, or nothing.
func actor(getenv func(string) string) string {
	name := getenv("PROFFER_ACTOR")
	if name == "" {
		name = getenv("USER")
	}
	if name == "" {
		if u, err := user.Current(); err == nil {
			name = u.Username
		}
	}
	clean := strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '_'
		}
		return r
	}, name)
	return clean[:min(len(clean), 128)]
}

// interruptible returns a context that the first interrupt ends.
func (e *Environment) interruptible() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(context.Background())
	if e.Signals != nil {
		signals := make(chan os.Signal, 1)
		e.Signals(signals)
		go func() {
			select {
			case <-signals:
				cancel(errInterrupted)
			case <-ctx.Done():
			}
		}()
	}
	return ctx, func() { cancel(nil) }
}

var errInterrupted = exitCode(exitInterrupt)
