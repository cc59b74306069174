package operator

//lint:file-ignore ST1005 what clients and people know of Mesos begins with a capital

import (
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/wire"
)

// TogglePaths are those that Toggle answers, on servers and on clients.
var TogglePaths = []string{"/logging/toggle", "/logging/toggle/"}

// Toggle says how much the log says, or has it say more for a while: the older form of GET_LOGGING_LEVEL and SET_LOGGING_LEVEL.
func (s *Servers) Toggle(w http.ResponseWriter, r *http.Request) {
	mesos.Answer(w, r, toggle(w, r, s.about(), s.Verbose))
}

// Toggle is that of a client.
func (c *Clients) Toggle(w http.ResponseWriter, r *http.Request) {
	mesos.Answer(w, r, toggle(w, r, c.About(), c.Verbose))
}

// toggle takes a GET for a change as well, as tools send it, but not of a page of another site that leads a browser there.
func toggle(w http.ResponseWriter, r *http.Request, self About, verbose func(time.Duration)) error {
	if methods := []string{http.MethodGet, http.MethodPost, http.MethodPut}; !slices.Contains(methods, r.Method) {
		w.Header().Set("Allow", strings.Join(methods, ", "))
		return mesos.Refuse(http.StatusMethodNotAllowed, "Expecting one of { 'GET', 'POST', 'PUT' }, but received '%s'", r.Method)
	}
	q := r.URL.Query()
	given, long := q.Get("level"), q.Get("duration")
	switch {
	case given == "" && long == "":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(w, strconv.Itoa(int(levelMessage(&self).Level))+"\n") // an error: who asked went
		return nil
	case given == "":
		return mesos.Refuse(http.StatusBadRequest, "Expecting 'level=value' in query")
	case long == "":
		return mesos.Refuse(http.StatusBadRequest, "Expecting 'duration=value' in query")
	case !slices.Contains([]string{"", "none", "same-origin"}, r.Header.Get("Sec-Fetch-Site")):
		return mesos.Refuse(http.StatusForbidden, "A page of another site may not change the level of the log")
	}
	level, err := strconv.ParseUint(given, 10, 32)
	if err != nil {
		return mesos.Refuse(http.StatusBadRequest, "Invalid level '%.50s': it is no number", given)
	}
	d, ok := durationIn(long)
	if !ok {
		return mesos.Refuse(http.StatusBadRequest, "Invalid duration '%.50s': it is a number with ns, us, ms, secs, mins, hrs, days or weeks, such as 10mins", long)
	}
	if err := setLevel(verbose, &wire.SetLoggingLevel{Level: uint32(level), Duration: wire.DurationInfo{Nanoseconds: int64(d)}}); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// units of a duration, as Mesos writes it.
var units = map[string]time.Duration{"ns": time.Nanosecond, "us": time.Microsecond, "ms": time.Millisecond, "secs": time.Second, "mins": time.Minute,
	"hrs": time.Hour, "days": 24 * time.Hour, "weeks": 7 * 24 * time.Hour}

// durationIn reads a duration as Mesos writes it, such as 10mins or 1.5hrs.
func durationIn(text string) (time.Duration, bool) {
	at := strings.IndexFunc(text, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	number, err := strconv.ParseFloat(text[:max(at, 0)], 64)
	unit := units[text[max(at, 0):]]
	d := number * float64(unit)
	return time.Duration(d), err == nil && unit > 0 && d < math.MaxInt64
}
