package http

import (
	"net/http"
	"strings"

	"github.com/proffer/proffer/agent/mesos"
)

// mesosPaths are where clients of Mesos look for the scheduler API.
var mesosPaths = []string{"/api/v1/scheduler", "/api/v1/scheduler/", "/master/api/v1/scheduler", "/master/api/v1/scheduler/"}

// mesos serves the scheduler API. Its calls are not in the table: their forms, and what they answer, are those of Mesos.
func (s *Service) mesos(w http.ResponseWriter, r *http.Request) {
	r.URL.Path = strings.TrimSuffix(r.URL.Path, "/")
	who := mesos.Caller{Actor: s.Actor(r)}
	if user, _, given := r.BasicAuth(); given && s.guard.token.Load() != nil {
		who.Principal = user // the password was the token
	}
	s.Mesos.Serve(w, r, who)
}
