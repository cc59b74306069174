package server

import (
	"context"
	"sync"
	"time"

	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// lead runs what only the leader does, for one term. It returns when all of it has ended.
func (s *Server) lead(term context.Context, number uint64) {
	log := s.log.With("term", number)
	defer log.Info("this server leads no more")
	s.elected.Store(time.Now().UnixNano())
	defer s.elected.Store(0)
	for _, name := range []string{structs.ServiceJob, structs.BatchJob} {
		if s.store.Snapshot().Framework(structs.FrameworkID(name)) != nil {
			continue
		}
		if _, _, err := s.raft.Propose(term, "", "server "+s.config.Name, &state.PutFramework{Framework: &structs.Framework{
			ID: structs.FrameworkID(name), Name: name, BuiltIn: true, Connected: true, Since: structs.At(time.Now()),
		}}); err != nil {
			if term.Err() == nil {
				log.Error("cannot register a built-in framework", "framework", name, "err", err)
			}
			return
		}
	}
	if err := s.cutOff(term); err != nil {
		if term.Err() == nil {
			log.Error("cannot record that frameworks must subscribe again", "err", err)
		}
		return
	}
	var services sync.WaitGroup
	services.Go(func() { s.reconcileMembers(term) })
	services.Go(func() { newLeaseWatch(s).run(term) })
	services.Go(func() { s.collect(term) })
	services.Go(func() { s.release(term) })
	services.Go(func() { s.purge(term) })
	services.Go(func() { s.keepStorage(term) })
	services.Go(func() { s.expire(term) })
	services.Go(func() { s.reseal(term) })
	services.Go(func() { s.watchDrains(term) })
	services.Go(func() { s.watchMaintenance(term) })
	services.Go(func() { s.watchFrameworks(term) })
	services.Go(func() { s.runLoop(term) })
	services.Wait()
}

// Elected returns since when this server leads; zero: it does not.
func (s *Server) Elected() structs.Time { return structs.Time(s.elected.Load()) }
