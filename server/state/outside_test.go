package state

// checkOutside compares the index of what storages call volumes with the volumes.
func (r *region) checkOutside(s *Snapshot) {
	n := 0
	for v := range s.Volumes() {
		k, has := outsideOf(v)
		if !has {
			continue
		}
		n++
		if _, ok := s.byOutside.Get(k); !ok {
			r.t.Fatalf("%v is not in the index of what storages call volumes", k)
		}
		if is := s.Outside(k.plugin, k.external); is != v {
			r.t.Fatalf("%v is found as %+v", k, is)
		}
	}
	if s.byOutside.Len() != n {
		r.t.Fatalf("%d volumes are in the index, want %d", s.byOutside.Len(), n)
	}
}
