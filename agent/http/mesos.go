package http

import (
	"net/http"
	"strings"

	"github.com/proffer/proffer/agent/mesos"
)

// mesosPaths are where clients of Mesos look for the scheduler API.
var mesosPaths = []string{"/api/v1/scheduler", "/api/v1/scheduler/", "/master/api/v1/scheduler", "/master/api/v1/scheduler/"}

// mesos serves the scheduler API, or has the leader serve it. What was passed on once is not passed on again: two servers may each
// take the other one for the leader.
func (s *Service) mesos(w http.ResponseWriter, r *http.Request) {
	who := s.Caller(r)
	if s.Leader != nil && !who.Passed {
		if leader := s.Leader(); leader != nil {
			if r.ContentLength != 0 {
				r.Body = &patientBody{http.MaxBytesReader(w, r.Body, mesos.MaxCall), http.NewResponseController(w)}
			}
			leader.ServeHTTP(w, r)
			return
		}
	}
	r.URL.Path = strings.TrimSuffix(r.URL.Path, "/")
	s.Mesos.Serve(w, r, who)
}
