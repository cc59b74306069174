//go:build linux && system

package docker_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/proffer/proffer/drivers/docker"
	"github.com/proffer/proffer/drivers/docker/dockertest"
	"github.com/proffer/proffer/structs"
)

// patience bounds what must happen; it says nothing about how long it takes.
const patience = 5 * time.Minute

// shared is the engine of the tests that do not harm it for good.
var shared *dockertest.Engine

func TestMain(m *testing.M) {
	e, err := dockertest.Start()
	if err != nil {
		fmt.Fprintln(os.Stderr, "the tests of the docker driver cannot begin:", err)
		os.Exit(1)
	}
	shared = e
	code := m.Run()
	if err := e.End(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// driver makes a driver over an engine that ends with the test.
func driver(t *testing.T, e *dockertest.Engine, change func(*docker.Options)) *docker.Driver {
	o := docker.Options{Endpoint: e.Endpoint(), Owner: "tests"}
	if change != nil {
		change(&o)
	}
	d := docker.New(o)
	t.Cleanup(d.Close)
	return d
}

// healthy waits until the engine tells how it is, for which an agent leaves it some seconds.
func healthy(t *testing.T, d *docker.Driver) (f *structs.Driver) {
	t.Helper()
	await(t, "the engine to be well", func() bool {
		f = d.Fingerprint(within(t))
		return f.Healthy
	})
	return f
}
