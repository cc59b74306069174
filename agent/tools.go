package agent

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/proffer/proffer/agent/mesos/operator"
	"github.com/proffer/proffer/structs"
)

// about is what the agent says of itself to tools that were made for Mesos.
func (a *Agent) about() operator.About {
	a.mu.Lock()
	cfg := a.live
	a.mu.Unlock()
	out := operator.About{Region: cfg.Region, Zone: cfg.Datacenter, Name: cfg.NodeName, Version: a.version, Started: structs.At(a.started), LogLevel: strings.ToLower(a.logs.level.Level().String()),
		Flags: map[string]string{}}
	raw, err := json.Marshal(cfg) // secrets write themselves as such
	var settings map[string]any
	if err == nil && json.Unmarshal(raw, &settings) == nil {
		flatten(out.Flags, "", settings)
	}
	return out
}

// flatten puts settings into a list of names and values.
func flatten(into map[string]string, prefix string, settings map[string]any) {
	for name, value := range settings {
		switch v := value.(type) {
		case map[string]any:
			flatten(into, prefix+name+".", v)
		case string:
			into[prefix+name] = v
		case []any:
			raw, _ := json.Marshal(v) // it was JSON
			into[prefix+name] = string(raw)
		default:
			into[prefix+name] = fmt.Sprint(v)
		}
	}
}
