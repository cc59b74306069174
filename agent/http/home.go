package http

import (
	"fmt"
	"html"
	"net/http"
	"strings"

	"github.com/proffer/proffer/structs"
)

// home answers / with the state of the region, until there is a console.
func (s *Service) home(w http.ResponseWriter, r *http.Request) {
	var b strings.Builder
	b.WriteString("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Proffer</title>" +
		"<style>body{font:16px/1.5 system-ui,sans-serif;max-width:40em;margin:3em auto;padding:0 1em}" +
		"td{padding:.1em 1.5em .1em 0;vertical-align:top}</style><h1>Proffer</h1><table>")
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "<tr><td>%s<td>%s", html.EscapeString(name), html.EscapeString(fmt.Sprintf(format, args...)))
	}
	if self, err := s.Agent.Self(r.Context()); err == nil {
		row("agent", "%s (Proffer %s)", self.Name, self.Version)
		row("region", "%s", self.Region)
	}
	if err := s.Agent.Healthy(r.Context()); err != nil {
		row("health", "%v", err)
	} else {
		row("health", "good")
	}
	if s.Region != nil {
		if leader := s.Region.Leadership(); leader.Known {
			row("leader", "%s", leader.Name)
		} else {
			row("leader", "none is known")
		}
		snap := s.Region.Store().Snapshot()
		ready := 0
		for n := range snap.Nodes() {
			if n.Status == structs.NodeReady {
				ready++
			}
		}
		row("nodes", "%d, %d of them ready", snap.NodeCount(), ready)
		row("jobs", "%d", snap.JobCount())
		all, ended := snap.AllocCount()
		row("allocations", "%d, %d of them have not ended", all, all-ended)
		row("index", "%d", snap.Index())
	}
	b.WriteString("</table><p>")
	if s.Docs != nil {
		b.WriteString(`<a href="/docs/">Documentation</a> · `)
	}
	b.WriteString(`<a href="/v1/openapi.json">API</a> · <a href="/v1/jobs">jobs</a> · <a href="/v1/nodes">nodes</a> · ` +
		`<a href="/v1/allocations">allocations</a> · <a href="/v1/agent/metrics">metrics</a>` + "\n")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	w.Write([]byte(b.String()))
}
