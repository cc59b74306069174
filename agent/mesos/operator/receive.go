package operator

//lint:file-ignore ST1005 what clients and people know of Mesos begins with a capital

import (
	"net/http"
	"time"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/wire"
)

// What the operator APIs of servers and of clients have in common.

// receive reads a call of the API of a process of Mesos, and refuses what is wrong with its form. The order of the checks is that of Mesos.
func receive(w http.ResponseWriter, r *http.Request, process string, call any) (wire.Encoding, error) {
	if err := take(w, r, process, call); err != nil {
		return 0, err
	}
	return mesos.Acceptable(r)
}

// take is receive without a look at what the client takes.
func take(w http.ResponseWriter, r *http.Request, process string, call any) error {
	if err := mesos.OnlyPost(w, r); err != nil {
		return err
	}
	if err := mesos.ReadCall(w, r, call); err != nil {
		return err
	}
	if what := wire.Missing(call); what != "" {
		return mesos.Refuse(http.StatusBadRequest, "Failed to validate %s::Call: Expecting '%s' to be present", process, what)
	}
	return nil
}

// reply sends what a call asked for.
func reply(w http.ResponseWriter, encoding wire.Encoding, answer any) {
	raw := encoding.Marshal(answer)
	w.Header().Set("Content-Type", encoding.ContentType())
	w.Write(raw) // an error: who asked went
}

// notServed refuses a call that this API does not have.
func notServed(kind interface{ String() string }) error {
	return mesos.Refuse(http.StatusNotImplemented, "%s is not served", kind)
}

func healthMessage() *wire.Health { return &wire.Health{Healthy: true} }

func versionMessage() *wire.GetVersion {
	return &wire.GetVersion{Info: wire.VersionInfo{Version: mesosVersion}}
}

// levelMessage is how much the log says: 1 when it says more than usual.
func levelMessage(a *About) *wire.LoggingLevel {
	out := &wire.LoggingLevel{}
	if a.LogLevel == "debug" {
		out.Level = 1
	}
	return out
}

// mostVerbose bounds for how long a log says more than it is configured to.
const mostVerbose = 24 * time.Hour

// setLevel has the log say more for a while, or as much as it is configured to.
func setLevel(verbose func(time.Duration), c *wire.SetLoggingLevel) error {
	long := time.Duration(c.Duration.Nanoseconds)
	switch {
	case verbose == nil:
		return mesos.Refuse(http.StatusNotImplemented, "The level of the log cannot be changed here")
	case c.Level > 1:
		return mesos.Refuse(http.StatusBadRequest, "Invalid level '%d': 0 is what log_level says, 1 is debug", c.Level)
	case c.Level == 0:
		long = 0
	case long <= 0 || long > mostVerbose:
		return mesos.Refuse(http.StatusBadRequest, "Invalid duration '%v': it is more than nothing and at most %v", long, mostVerbose)
	}
	verbose(long)
	return nil
}
