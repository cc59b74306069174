package agent

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/proffer/proffer/agent/config"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// featureLevel is the newest that this binary knows.
const featureLevel = state.FeatureLevel

// stopWithin bounds an orderly stop.
const stopWithin = 30 * time.Second

// Main is `proffer agent`: it runs an agent until SIGTERM or SIGINT and returns the exit code. SIGHUP reloads the
// configuration.
func Main(version string, args []string, stderr io.Writer) int {
	flags := flag.NewFlagSet("proffer agent", flag.ContinueOnError)
	flags.SetOutput(stderr)
	bound := config.Bind(flags)
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "proffer agent takes no arguments, only flags: %q is too much\n", flags.Arg(0))
		return 2
	}
	cfg, sources, err := bound.Config()
	if err != nil {
		fmt.Fprintf(stderr, "The agent cannot start: %v\n", err)
		return 1
	}
	logs := newLogs(stderr, cfg.LogJSON)
	logs.configure(level(cfg.LogLevel))
	a := &Agent{config: cfg, live: cfg, sources: sources, reload: bound.Config, version: version, logs: logs, log: logs.Logger()}

	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt, syscall.SIGHUP)
	defer signal.Stop(signals)
	// A signal ends a start that hangs, too; after one that went through it is still in the channel.
	starting, started := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err = a.start(starting)
	started()
	if err != nil {
		fmt.Fprintf(stderr, "The agent cannot start: %v\n", err)
		return 1
	}
	a.welcome(stderr)
	for {
		select {
		case err := <-a.ended:
			a.log.Error("the agent cannot go on and stops", "err", err)
			a.stopWithin(signals)
			return 1
		case sig := <-signals:
			if sig == syscall.SIGHUP {
				if _, err := a.reloadConfig(); err != nil {
					a.log.Error("nothing was reloaded", "err", err)
				}
				continue
			}
			a.log.Info("stopping", "signal", sig.String())
			a.stopWithin(signals)
			a.log.Info("stopped")
			return 0
		}
	}
}

// stopWithin stops in order; a second signal, or the end of the time, gives up waiting for what hangs.
func (a *Agent) stopWithin(signals <-chan os.Signal) {
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	done := make(chan struct{})
	go func() { a.stop(ctx); close(done) }()
	hurry := time.NewTimer(stopWithin + 5*time.Second)
	defer hurry.Stop()
	for {
		select {
		case <-done:
			return
		case sig := <-signals:
			if sig == syscall.SIGHUP {
				continue
			}
			a.log.Warn("stopping at once", "signal", sig.String())
			return
		case <-hurry.C:
			a.log.Error("some part did not stop in time: giving up on it")
			return
		}
	}
}

// welcome says what runs and where, and what isolation is missing.
func (a *Agent) welcome(w io.Writer) {
	var parts []string
	if a.server != nil {
		parts = append(parts, "server")
	}
	if a.client != nil {
		parts = append(parts, "client")
	}
	fmt.Fprintf(w, "Proffer %s: %s %q of region %q\n", a.version, strings.Join(parts, " and "), a.config.NodeName, a.config.Region)
	fmt.Fprintf(w, "  HTTP API and docs  http://%s/\n  cluster port       %s\n  data folder        %s\n",
		a.listener.Addr(), a.port.Addr(), a.dir)
	if a.client == nil {
		return
	}
	node := a.client.Node()
	if os.Geteuid() != 0 {
		fmt.Fprintf(w, "  isolation          none: the agent is not root, so tasks run as its user without namespaces or limits\n")
	}
	if d := node.Drivers["exec"]; d != nil && !d.Healthy {
		fmt.Fprintf(w, "  driver exec        not usable: %s\n", d.Why)
	}
}

func level(s string) slog.Level {
	var l slog.Level
	if err := l.UnmarshalText([]byte(s)); err != nil {
		return slog.LevelInfo // validated by config
	}
	return l
}

// reloadConfig reads the configuration again and lets take effect what can; it says what cannot.
func (a *Agent) reloadConfig() (changed []string, err error) {
	cfg, sources, err := a.reload()
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	changed, restart := config.Reloadable(a.live, cfg)
	if len(restart) > 0 {
		a.log.Warn("changed settings need a restart of the agent", "settings", strings.Join(restart, " "))
	}
	a.needRestart = restart
	next := *a.live
	for _, path := range changed {
		a.apply(&next, cfg, path)
	}
	a.live, a.sources = &next, sources
	a.rereadProfiles()
	a.log.Info("configuration read again", "changed", strings.Join(changed, " "))
	return changed, nil
}

// apply takes over one reloadable setting.
func (a *Agent) apply(into, from *config.Config, path string) {
	switch top, _, _ := strings.Cut(path, "."); top {
	case "log_level":
		into.LogLevel = from.LogLevel
		a.logs.configure(level(from.LogLevel))
	case "token":
		into.Token = from.Token
		a.service.SetToken(from.Token.Reveal())
		if a.node != nil {
			a.node.SetToken(from.Token.Reveal())
		}
	case "mesos":
		into.Mesos = from.Mesos
		a.takeMesos(from.Mesos)
	case "join":
		into.Join = from.Join
		a.joinTo(from.Join)
	case "client":
		if into.Client == nil || from.Client == nil {
			return // the agent is no client, or is told to be none: that needs a restart
		}
		c := *into.Client
		c.Meta, c.Attributes = from.Client.Meta, from.Client.Attributes
		c.Resources, c.Reserved, c.GC = from.Client.Resources, from.Client.Reserved, from.Client.GC
		c.Reserve, c.HostVolumes, c.Disks = from.Client.Reserve, from.Client.HostVolumes, from.Client.Disks
		c.Profiles = from.Client.Profiles
		into.Client = &c
		a.reconfigure(&c)
	case "server":
		if into.Server == nil || from.Server == nil {
			return
		}
		s := *into.Server
		s.MaxFinished, s.FinishedAge, s.NodeAge, s.MaxJobs = from.Server.MaxFinished, from.Server.FinishedAge, from.Server.NodeAge, from.Server.MaxJobs
		s.OrphanAge, s.Offers = from.Server.OrphanAge, from.Server.Offers
		shared := s
		shared.Sorter, shared.FairShareExclude, shared.KeepRoomAfter = from.Server.Sorter, from.Server.FairShareExclude, from.Server.KeepRoomAfter
		shared.SealedRoles = from.Server.SealedRoles
		if a.server != nil {
			if err := a.server.SetSharing(sharing(&shared)); err != nil {
				a.log.Error("how the region is shared was not changed", "err", err)
				shared = s
			}
		}
		s = shared
		if s.Raft != nil && from.Server.Raft != nil {
			raft := *s.Raft
			raft.TrailingLogs = from.Server.Raft.TrailingLogs
			s.Raft = &raft
		}
		into.Server = &s
		if a.server != nil {
			a.server.SetRetention(s.MaxFinished, s.FinishedAge.Std(), s.NodeAge.Std(), s.OrphanAge.Std())
			a.server.SetMaxJobs(s.MaxJobs)
			a.server.SetOffering(offerOptions(s.Offers))
			if s.Raft != nil {
				a.server.Raft().SetTrailing(uint64(s.Raft.TrailingLogs))
			}
		}
	default:
		panic(structs.Errorf(structs.Internal, "setting "+path, "reloadable, and nothing reloads it"))
	}
}
